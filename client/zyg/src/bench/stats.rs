//! Order statistics of samples: percentiles, how sure they are, and whether the first samples were
//! like the last.

/// Samples of one row in order of size, whatever their unit.
#[derive(Debug, Clone, Default)]
pub struct Sorted(Vec<f64>);

/// What may lie beyond each end of an interval: 95 % lie within.
const TAIL: f64 = 0.025;

impl Sorted {
    /// Sorts them.
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The samples as something else.
    pub fn map(&self, act: impl Fn(f64) -> f64) -> Self {
        Self::new(self.0.iter().copied().map(act).collect())
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

    /// The confidence interval of a quantile, 95 % at the least, from the ranks that a binomial
    /// distribution leaves (Conover, Practical Nonparametric Statistics, section 3.2): no assumption
    /// about how the samples are distributed. An end for which there are too few samples is infinite:
    /// a median takes six, a 99th percentile 368.
    pub fn interval(&self, share: f64) -> (f64, f64) {
        let count = self.0.len();
        let (mut below, mut above) = (0, 0);
        // `below` and `above` samples lie left of the quantile no more often than that.
        let mut sum = 0.0;
        for (successes, probability) in binomial(count, share).enumerate() {
            sum += probability;
            if sum <= TAIL {
                below = successes + 1;
            }
            if sum >= 1.0 - TAIL {
                above = successes + 1;
                break;
            }
        }
        let low = below.checked_sub(1).map_or(f64::NEG_INFINITY, |rank| self.0[rank]);
        let high = above.checked_sub(1).and_then(|rank| self.0.get(rank).copied());
        (low, high.unwrap_or(f64::INFINITY))
    }
}

/// How probable each number of successes is, of so many trials of which each succeeds with this
/// probability. By logarithms: of many trials none is less probable than there are numbers for.
fn binomial(trials: usize, share: f64) -> impl Iterator<Item = f64> {
    let odds = (share / (1.0 - share)).ln();
    let none = trials as f64 * (1.0 - share).ln();
    let rest = (0..trials).scan(none, move |at, successes| {
        *at += ((trials - successes) as f64 / (successes + 1) as f64).ln() + odds;
        Some(at.exp())
    });
    std::iter::once(none.exp()).chain(rest)
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

/// By which share the medians of thirds of the samples, in the order in which they were taken, are apart:
/// a later one above (or, negative, below) an earlier one, of the two that are the farthest apart; `None`
/// for fewer than nine samples, whose thirds say nothing.
pub fn drift(in_order: &[f64]) -> Option<f64> {
    let third = in_order.len() / 3;
    if third < 3 {
        return None;
    }
    let median = |samples: &[f64]| Sorted::new(samples.to_vec()).quantile(0.5);
    let rest = in_order.len() - third;
    let thirds = [&in_order[..third], &in_order[third..rest], &in_order[rest..]].map(median);
    let pairs = [(0, 1), (0, 2), (1, 2)].map(|(early, late)| thirds[late] / thirds[early] - 1.0);
    pairs.into_iter().max_by(|a, b| a.abs().total_cmp(&b.abs()))
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
        assert_eq!(Sorted::default().interval(0.5), (f64::NEG_INFINITY, f64::INFINITY));
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
            assert!(width(5000, share) < width(500, share), "{share}");
        }
    }

    /// Those of the median of a few samples are in every table of the sign test: of 10 samples the
    /// second and the ninth. Of 1,001 they are the 470th and the 532nd, by the normal approximation.
    #[test]
    fn an_interval_has_the_ranks_of_the_binomial_distribution() {
        let infinite = (f64::NEG_INFINITY, f64::INFINITY);
        for (count, ends) in [
            (5, infinite),
            (6, (0.0, 5.0)),
            (9, (1.0, 7.0)),
            (10, (1.0, 8.0)),
            (1001, (469.0, 531.0)),
        ] {
            assert_eq!(ascending(count).interval(0.5), ends, "{count}");
        }
        assert_eq!(ascending(367).interval(0.99).1, f64::INFINITY);
        assert_eq!(ascending(368).interval(0.99).1, 367.0);
        assert!(ascending(20_000).interval(0.5).1.is_finite(), "of many there are ranks as well");
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
        assert!((945..=985).contains(&covered), "{covered} of 1000");
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
    fn drift_is_between_the_thirds_that_are_farthest_apart() {
        let of = |thirds: [f64; 3]| drift(&thirds.map(|third| [third; 10]).concat()).unwrap();
        for (thirds, apart) in [
            ([100.0, 110.0, 130.0], 0.3),
            ([130.0, 110.0, 100.0], 100.0 / 130.0 - 1.0),
            ([100.0, 500.0, 100.0], 4.0),
            ([100.0, 100.0, 100.0], 0.0),
        ] {
            assert!((of(thirds) - apart).abs() < 1e-9, "{thirds:?}");
        }
        assert_eq!(drift(&[1.0; 8]), None);
    }
}
