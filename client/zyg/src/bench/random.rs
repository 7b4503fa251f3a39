//! Numbers that a seed determines, so that a run can be repeated in the same order.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is small: the bias of the remainder is of no consequence.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Puts things into an order of which each is as likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_order_and_another_one_another() {
        let order = |seed| {
            let mut things: Vec<u32> = (0..20).collect();
            Random::new(seed).shuffle(&mut things);
            things
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    /// What a row follows must not be the same in every round: it would pay for it every time.
    #[test]
    fn every_thing_follows_every_other_one_now_and_then() {
        let mut random = Random::new(1);
        let mut things: Vec<usize> = (0..6).collect();
        let mut follows = [[0_u32; 6]; 6];
        for _ in 0..600 {
            random.shuffle(&mut things);
            for pair in things.windows(2) {
                follows[pair[1]][pair[0]] += 1;
            }
        }
        for (of, row) in follows.iter().enumerate() {
            for (what, times) in row.iter().enumerate().filter(|(what, _)| *what != of) {
                assert!((60..=140).contains(times), "{of} follows {what} {times} times of 600");
            }
        }
    }
}
