//! Order statistics of samples: percentiles, how sure they are, and whether the first samples were
//! like the last.

/// Samples of one row in order of size, whatever their unit.
#[derive(Debug, Clone, Default)]
pub struct Sorted(Vec<f64>);

/// The standard normal distribution's 97.5 % quantile: what lies within it on both sides is 95 %.
const Z95: f64 = 1.96;

impl Sorted {
    /// Sorts them.
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which this share of the samples lies; NaN without samples.
    pub fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::NAN };
        let place = share.clamp(0.0, 1.0) * last as f64;
        let (low, high) = (self.0[place.floor() as usize], self.0[place.ceil() as usize]);
        low + (high - low) * place.fract()
    }

    /// The 95 % confidence interval of a quantile, from the ranks that a binomial distribution
    /// leaves (Conover, Practical Nonparametric Statistics, section 3.2): no assumption about how
    /// the samples are distributed. Few samples leave no rank beyond the least and the largest, and
    /// then those are its ends.
    pub fn interval(&self, share: f64) -> (f64, f64) {
        let reach = Z95 * (share * (1.0 - share) / self.0.len().max(1) as f64).sqrt();
        (self.quantile(share - reach), self.quantile(share + reach))
    }
}

/// A quantile of one row in units of another row's median, with the widest interval that the two
/// intervals allow: at least 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub p50: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    /// Median to median.
    pub fn new(of: &Sorted, to: &Sorted) -> Self {
        Self::at(of, 0.5, to)
    }

    /// The quantile `share` of one to the median of the other.
    pub fn at(of: &Sorted, share: f64, to: &Sorted) -> Self {
        let ((of_low, of_high), (to_low, to_high)) = (of.interval(share), to.interval(0.5));
        Self {
            p50: of.quantile(share) / to.quantile(0.5),
            low: of_low / to_high,
            high: of_high / to_low,
        }
    }

    /// The quantity itself, where the goal is no ratio.
    pub fn alone(of: &Sorted) -> Self {
        let (low, high) = of.interval(0.5);
        Self { p50: of.quantile(0.5), low, high }
    }
}

/// By which share the median of the last third of samples, in the order in which they were taken,
/// is above (or, negative, below) that of the first; `None` for fewer than nine, whose thirds say
/// nothing.
pub fn drift(in_order: &[f64]) -> Option<f64> {
    let third = in_order.len() / 3;
    if third < 3 {
        return None;
    }
    let median = |samples: &[f64]| Sorted::new(samples.to_vec()).quantile(0.5);
    let (first, last) = (median(&in_order[..third]), median(&in_order[in_order.len() - third..]));
    Some(last / first - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascending(count: u32) -> Sorted {
        Sorted::new((0..count).map(f64::from).collect())
    }

    #[test]
    fn quantiles_are_interpolated_between_ranks() {
        let sorted = Sorted::new(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(sorted.quantile(0.0), 1.0);
        assert_eq!(sorted.quantile(0.5), 2.5);
        assert_eq!(sorted.quantile(1.0), 4.0);
        assert!(Sorted::default().quantile(0.5).is_nan());
        assert!(Sorted::default().interval(0.5).0.is_nan());
    }

    #[test]
    fn an_interval_holds_its_quantile_and_narrows_with_samples() {
        let width = |count, share| {
            let (low, high) = ascending(count).interval(share);
            let value = ascending(count).quantile(share);
            assert!(low <= value && value <= high, "{count} {share}");
            (high - low) / f64::from(count)
        };
        for share in [0.5, 0.9, 0.99] {
            assert!(width(1000, share) < width(10, share), "{share}");
        }
    }

    /// Of 1,000 samples the median's 95 % interval goes from the 469th to the 532nd (Conover's
    /// table by the normal approximation).
    #[test]
    fn an_interval_has_the_ranks_of_the_binomial_distribution() {
        let (low, high) = ascending(1001).interval(0.5);
        assert!((low - 469.0).abs() < 1.0 && (high - 531.0).abs() < 1.0, "{low} {high}");
    }

    #[test]
    fn an_interval_covers_the_true_median_nineteen_times_of_twenty() {
        let mut random = super::super::random::Random::new(7);
        let covers = (0..1000).filter(|_| {
            let samples = (0..101).map(|_| random.below(1 << 20) as f64).collect();
            let (low, high) = Sorted::new(samples).interval(0.5);
            let median = f64::from(1 << 19);
            low <= median && median <= high
        });
        let covered = covers.count();
        assert!((930..=980).contains(&covered), "{covered} of 1000");
    }

    #[test]
    fn a_row_is_once_itself() {
        let row = Sorted::new(vec![2.0; 20]);
        assert_eq!(Ratio::new(&row, &row), Ratio { p50: 1.0, low: 1.0, high: 1.0 });
        assert_eq!(Ratio::at(&row, 0.99, &row).p50, 1.0);
        assert_eq!(Ratio::alone(&row).p50, 2.0);
    }

    #[test]
    fn a_ratios_interval_holds_the_ratio_of_two_uncertain_medians() {
        let [of, to] = [ascending(101), ascending(201)];
        let Ratio { p50, low, high } = Ratio::new(&of, &to);
        assert_eq!(p50, 0.5);
        assert!(low < 0.5 && 0.5 < high);
    }

    #[test]
    fn drift_is_of_the_last_third_against_the_first() {
        let mut samples = vec![100.0; 10];
        samples.extend([500.0; 10]);
        samples.extend([130.0; 10]);
        assert!((drift(&samples).unwrap() - 0.3).abs() < 1e-9);
        samples.reverse();
        assert!((drift(&samples).unwrap() + 0.3 / 1.3).abs() < 1e-9);
        assert_eq!(drift(&[1.0; 8]), None);
    }
}
