//! Levels of the shadow queue, in buckets: exact where levels are low, and to an eighth above.

/// Levels below this have a bucket each; the others share one with their neighbours, eight to an
/// octave.
const EXACT: u32 = 32;

pub(super) fn bucket_of(level: u32) -> usize {
    if level < EXACT {
        return level as usize;
    }
    let octave = level.ilog2() - EXACT.ilog2();
    let eighth = (level >> (level.ilog2() - 3)) & 7;
    (EXACT + 8 * octave + eighth) as usize
}

/// The highest level of a bucket.
pub(super) fn top_of(bucket: usize) -> u32 {
    let Some(above) = (bucket as u32).checked_sub(EXACT) else { return bucket as u32 };
    let (octave, eighth) = (above / 8, above % 8);
    let width = u64::from(EXACT / 8) << octave;
    u32::try_from(width * u64::from(8 + eighth + 1) - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_at_most_an_eighth_below_the_top_of_its_bucket() {
        for level in (0..100_000).chain([u32::MAX - 1, u32::MAX]) {
            let top = top_of(bucket_of(level));
            assert!(top >= level, "{level}: {top}");
            assert!(u64::from(top) * 8 <= u64::from(level) * 9 + 8, "{level}: {top}");
            assert_eq!(bucket_of(top), bucket_of(level), "{level}: {top}");
        }
    }
}
