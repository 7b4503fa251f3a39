//! What was learned: in which grade of activity how many acquires came, and how many zygotes they
//! would have needed.

use super::activity::{GRADES, Span};
use super::levels::{bucket_of, top_of};

/// A grade believes its neighbours up to this distance as much as itself: acquires come in bursts, so
/// what one grade has seen alone are few independent events, and sizes that fit them too well do not
/// fit what comes next. Further ones are too different: with twice the distance the shoot-out's
/// on-off trace has a fifth more cold acquires, with three times its MMPP has three times as many.
const REACH: usize = 1;

/// A grade that has seen less than this many acquires, neighbours included, looks further.
const WEIGHT_MIN: f64 = 16.0;

/// What is older than this many half-lives is nothing, to the precision of the numbers.
const AGE_MAX: f64 = 64.0;

/// Old acquires and old time fade. The weight of what is added grows instead of all else shrinking,
/// which makes no difference to a ratio; all is scaled down before the numbers get large.
#[derive(Debug)]
pub(super) struct Learned {
    grades: [Grade; GRADES],
    /// Half-lives since what was added weighed one.
    age: f64,
}

#[derive(Debug)]
struct Grade {
    /// Acquires, by the bucket of what they would have needed.
    acquires: Vec<f64>,
    /// All of them together.
    weight: f64,
    /// Seconds.
    time: f64,
}

impl Default for Learned {
    fn default() -> Self {
        const NONE: Grade = Grade { acquires: Vec::new(), weight: 0.0, time: 0.0 };
        Self { grades: [NONE; GRADES], age: 0.0 }
    }
}

impl Learned {
    pub(super) fn fade(&mut self, half_lives: f64) {
        self.age += half_lives;
        if self.age > AGE_MAX {
            let scale = (-self.age).exp2();
            for grade in &mut self.grades {
                grade.time *= scale;
                grade.weight *= scale;
                grade.acquires.iter_mut().for_each(|weight| *weight *= scale);
            }
            self.age = 0.0;
        }
    }

    /// An acquire came that a pool of `level` would have served warm, and no smaller one.
    pub(super) fn acquired(&mut self, grade: usize, level: u32) {
        let (grade, bucket) = (&mut self.grades[grade], bucket_of(level));
        if bucket >= grade.acquires.len() {
            grade.acquires.resize(bucket + 1, 0.0);
        }
        grade.acquires[bucket] += self.age.exp2();
        grade.weight += self.age.exp2();
    }

    pub(super) fn spent(&mut self, Span { grade, from, until }: Span) {
        self.grades[grade].time += (until - from) * self.age.exp2();
    }

    /// How many zygotes are worth keeping in each grade, so that all in all a share `epsilon` of
    /// acquires would have been cold, in all grades at the same rate in time.
    ///
    /// That is what makes the most of idle zygotes: one more of them saves as many cold acquires in
    /// an hour of this grade as in an hour of that.
    pub(super) fn sizes(&self, epsilon: f64) -> [u32; GRADES] {
        if epsilon >= 1.0 {
            // Sums of the same in another order differ in their last digits.
            return [0; GRADES];
        }
        let tails: Vec<Tail> = (0..GRADES).map(|grade| self.tail(grade)).collect();
        let total: f64 = self.grades.iter().map(|grade| grade.weight).sum();
        // In most grades no time was spent: they have a size, but no share in what is cold.
        let spent: Vec<&Tail> = tails.iter().filter(|tail| tail.own_time > 0.0).collect();
        let cold_at = |rate: f64| -> f64 { spent.iter().map(|tail| tail.cold(rate)).sum() };
        // Cold acquires per second, by their logarithm: from one in some days to a million, to one in
        // a hundred.
        let (mut low, mut high) = (-20.0, 20.0);
        for _ in 0..12 {
            let middle = f64::midpoint(low, high);
            if cold_at(f64::exp2(middle)) > epsilon * total { high = middle } else { low = middle }
        }
        let mut sizes = [0; GRADES];
        for (size, tail) in sizes.iter_mut().zip(&tails) {
            *size = tail.size(f64::exp2(low));
        }
        sizes
    }

    fn tail(&self, grade: usize) -> Tail {
        let weight_min = WEIGHT_MIN * self.age.exp2();
        let (mut low, mut high) = (grade.saturating_sub(REACH), (grade + REACH + 1).min(GRADES));
        let mut weight: f64 = self.grades[low..high].iter().map(|near| near.weight).sum();
        while weight < weight_min && high - low < GRADES {
            if low > 0 {
                low -= 1;
                weight += self.grades[low].weight;
            }
            if high < GRADES {
                weight += self.grades[high].weight;
                high += 1;
            }
        }
        Tail::of(&self.grades[low..high], self.grades[grade].time)
    }
}

/// How often more is needed than so much.
struct Tail {
    /// Acquires that needed a bucket or a higher one.
    needed: Vec<f64>,
    /// The seconds in which they came.
    time: f64,
    /// Those of them in the grade itself.
    own_time: f64,
}

impl Tail {
    fn of(grades: &[Grade], own_time: f64) -> Self {
        let buckets = grades.iter().map(|grade| grade.acquires.len()).max().unwrap_or(0);
        let mut needed = vec![0.0; buckets];
        for grade in grades {
            for (sum, weight) in needed.iter_mut().zip(&grade.acquires) {
                *sum += weight;
            }
        }
        let mut sum = 0.0;
        for weight in needed.iter_mut().rev() {
            sum += *weight;
            *weight = sum;
        }
        Self { needed, time: grades.iter().map(|grade| grade.time).sum(), own_time }
    }

    /// The lowest bucket with which no more acquires per second are cold.
    fn bucket(&self, rate: f64) -> usize {
        self.needed.partition_point(|needed| *needed > rate * self.time).saturating_sub(1)
    }

    fn size(&self, rate: f64) -> u32 {
        if self.needed.is_empty() { 0 } else { top_of(self.bucket(rate)) }
    }

    /// Acquires that would be cold in the grade itself.
    fn cold(&self, rate: f64) -> f64 {
        let needed = self.needed.get(self.bucket(rate) + 1).copied().unwrap_or(0.0);
        if self.time > 0.0 { needed * self.own_time / self.time } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(learned: &mut Learned, grade: usize, levels: &[u32], seconds: f64) {
        learned.spent(Span { grade, from: 0.0, until: seconds });
        levels.iter().for_each(|level| learned.acquired(grade, *level));
    }

    #[test]
    fn a_rare_need_is_left_to_the_grade_in_which_time_is_cheap() {
        let mut learned = Learned::default();
        // A thousand acquires in ten seconds, and a hundred in a thousand, all of them in need of 9.
        learn(&mut learned, 30, &[9; 1_000], 10.0);
        learn(&mut learned, 10, &[9; 100], 1_000.0);
        let sizes = learned.sizes(0.1);
        assert_eq!((sizes[30], sizes[10]), (9, 0));
        assert_eq!(learned.sizes(0.01)[10], 9, "but a share is a share");
    }

    #[test]
    fn a_grade_without_acquires_believes_its_neighbours() {
        let mut learned = Learned::default();
        learn(&mut learned, 30, &[5; 100], 1.0);
        assert_eq!(learned.sizes(0.01), [5; GRADES]);
    }

    #[test]
    fn what_is_old_fades_and_numbers_stay_small() {
        let mut learned = Learned::default();
        learn(&mut learned, 30, &[50; 1_000], 10.0);
        for _ in 0..100 {
            learned.fade(30.0);
            learn(&mut learned, 30, &[3; 100], 1.0);
        }
        assert_eq!(learned.sizes(0.01)[30], 3);
        assert!(learned.grades[30].time < 1e30);
    }
}
