//! Order statistics of samples: percentiles, and how sure a median is.

/// Samples of one row, in microseconds, in order of size.
#[derive(Debug, Clone, Default)]
pub struct Sorted(Vec<f64>);

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

    /// The 95 % confidence interval of the median, from the ranks that a binomial distribution
    /// leaves (Conover, Practical Nonparametric Statistics, section 3.2): no assumption about how
    /// the samples are distributed.
    pub fn median_interval(&self) -> (f64, f64) {
        let count = self.0.len() as f64;
        let reach = 1.96 * count.sqrt() / 2.0 / count;
        (self.quantile(0.5 - reach), self.quantile(0.5 + reach))
    }
}

/// A ratio of medians with the widest interval that the two medians' intervals allow.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    pub p50: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    /// `of` in units of `to`.
    pub fn new(of: &Sorted, to: &Sorted) -> Self {
        let ((of_low, of_high), (to_low, to_high)) = (of.median_interval(), to.median_interval());
        Self {
            p50: of.quantile(0.5) / to.quantile(0.5),
            low: of_low / to_high,
            high: of_high / to_low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_between_ranks() {
        let sorted = Sorted::new(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(sorted.quantile(0.0), 1.0);
        assert_eq!(sorted.quantile(0.5), 2.5);
        assert_eq!(sorted.quantile(1.0), 4.0);
        assert!(Sorted::default().quantile(0.5).is_nan());
    }

    #[test]
    fn an_interval_holds_its_median_and_narrows_with_samples() {
        let of = |count: u32| Sorted::new((0..count).map(f64::from).collect());
        for count in [10, 1000] {
            let (low, high) = of(count).median_interval();
            assert!(low <= of(count).quantile(0.5) && of(count).quantile(0.5) <= high);
        }
        let width = |count| {
            let (low, high) = of(count).median_interval();
            (high - low) / f64::from(count)
        };
        assert!(width(1000) < width(10));
    }

    #[test]
    fn a_row_is_once_itself() {
        let row = Sorted::new(vec![2.0; 20]);
        let ratio = Ratio::new(&row, &row);
        assert_eq!((ratio.p50, ratio.low, ratio.high), (1.0, 1.0, 1.0));
    }
}
