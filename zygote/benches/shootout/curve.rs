//! Cold share against mean idle zygotes: what a policy makes of one trace as it is set to keep more.

/// A curve through what was measured. Between two settings it is what somebody gets who knows both and
/// switches from the one to the other in the midst of the trace.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Mean idle zygotes and cold share: the one grows, the other falls.
    points: Vec<(f64, f64)>,
    floor: f64,
}

impl Curve {
    /// Through these points. A setting that keeps more and is colder is not on the curve: whoever has
    /// that many zygotes would take the better setting. Shares below half an acquire cannot be told
    /// from it.
    #[must_use]
    pub fn new(mut measured: Vec<(f64, f64)>, acquires: usize) -> Self {
        let floor = 0.5 / acquires as f64;
        measured.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (idle, cold) in measured {
            let cold = cold.max(floor);
            if points.last().is_none_or(|(_, before)| cold < *before) {
                points.push((idle, cold));
            }
        }
        Self { points, floor }
    }

    /// The cold share with so many idle zygotes; `None` if no setting keeps so few.
    #[must_use]
    pub fn cold_at(&self, idle: f64) -> Option<f64> {
        let after = self.points.partition_point(|point| point.0 <= idle);
        let (x0, y0) = *self.points.get(after.checked_sub(1)?)?;
        let Some((x1, y1)) = self.points.get(after) else { return Some(y0) };
        Some(y0 + (y1 - y0) * (idle - x0) / (x1 - x0))
    }

    /// The idle zygotes that such a cold share takes; `None` if no setting is that good.
    #[must_use]
    pub fn idle_at(&self, cold: f64) -> Option<f64> {
        let cold = cold.max(self.floor);
        let after = self.points.partition_point(|point| point.1 > cold);
        let (x1, y1) = *self.points.get(after)?;
        let Some(before) = after.checked_sub(1) else { return Some(x1) };
        let (x0, y0) = self.points[before];
        Some(x0 + (x1 - x0) * (cold - y0) / (y1 - y0))
    }

    /// A share that can be divided by.
    #[must_use]
    pub fn at_least_floor(&self, cold: f64) -> f64 {
        cold.max(self.floor)
    }
}

/// The mean of a few samples and how far the true one may be above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Of the samples.
    pub mean: f64,
    /// With a confidence of 95 % the true mean is not above this.
    pub upper: f64,
    /// The least sample.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Estimate {
    /// Of samples that are independent of each other; there is at least one.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        // Student's t, one-sided at 95 %, by degrees of freedom.
        const T: [f64; 9] = [6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83];
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let squares = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
        let upper = match samples.len() {
            0 | 1 => mean,
            n => mean + T[(n - 2).min(T.len() - 1)] * (squares / (count - 1.0) / count).sqrt(),
        };
        let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { mean, upper, low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_points_a_curve_is_straight() {
        let curve = Curve::new(vec![(2.0, 0.01), (0.0, 1.0), (4.0, 0.0)], 5_000);
        assert!((curve.cold_at(1.0).unwrap() - 0.505).abs() < 1e-12);
        assert!((curve.idle_at(0.505).unwrap() - 1.0).abs() < 1e-12);
        assert!((curve.cold_at(3.0).unwrap() - 0.005_05).abs() < 1e-12);
        assert!((curve.idle_at(0.0).unwrap() - 4.0).abs() < 1e-12);
        assert!((curve.cold_at(9.0).unwrap() - 0.0001).abs() < 1e-12);
    }

    #[test]
    fn a_worse_setting_with_more_is_not_on_the_curve() {
        let curve = Curve::new(vec![(1.0, 0.5), (2.0, 0.6), (3.0, 0.05)], 1_000);
        assert!((curve.cold_at(2.0).unwrap() - 0.275).abs() < 1e-12);
        assert_eq!(curve.cold_at(0.5), None);
        assert_eq!(curve.idle_at(0.01), None);
        assert_eq!(curve.idle_at(0.9), Some(1.0));
    }

    #[test]
    fn an_estimate_is_wider_where_samples_differ() {
        let [same, apart] = [Estimate::of(&[1.0; 5]), Estimate::of(&[0.5, 1.5, 1.0, 0.8, 1.2])];
        assert_eq!((same.mean, same.upper), (1.0, 1.0));
        assert!(apart.upper > 1.2 && (apart.low, apart.high) == (0.5, 1.5));
    }
}
