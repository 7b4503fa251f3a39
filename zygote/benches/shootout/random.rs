//! Numbers that look random and can be had again from their seed.

/// `SplitMix64` (Steele, Lea and Flood 2014): 64 bits of state, any seed is good.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed and each use of it.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        Self(random.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// More than 0 and at most 1, so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Pareto distributed; for a shape of 2 or less the variance is infinite.
    pub fn pareto(&mut self, shape: f64, mean: f64) -> f64 {
        let least = mean * (shape - 1.0) / shape;
        least * self.unit().powf(-1.0 / shape)
    }

    /// Geometrically distributed from 1 on.
    pub fn geometric(&mut self, mean: f64) -> u32 {
        1 + (self.unit().ln() / (1.0 - 1.0 / mean).ln()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..200_000).map(|_| draw()).sum::<f64>() / 200_000.0
    }

    #[test]
    fn distributions_have_their_means() {
        let mut random = Random::new(1, 0);
        assert!((mean(|| random.unit()) - 0.5).abs() < 0.01);
        assert!((mean(|| random.exponential(3.0)) / 3.0 - 1.0).abs() < 0.02);
        assert!((mean(|| f64::from(random.geometric(10.0))) / 10.0 - 1.0).abs() < 0.02);
        // Of a shape at which a sample's mean settles in a test's time.
        assert!((mean(|| random.pareto(3.0, 2.0)) / 2.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_a_stream_others() {
        let draws = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(draws(7, 1), draws(7, 1));
        assert_ne!(draws(7, 1), draws(7, 2));
        assert_ne!(draws(7, 1), draws(8, 1));
    }
}
