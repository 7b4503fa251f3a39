//! How many zygotes are wanted: at this stage a fixed number warm, and one for each waiter.

/// How many spawns would bring the pool to what is wanted. Those under way count as warm, so that
/// a burst is not built for twice.
pub(super) fn shortfall(target: u32, waiters: u32, warm: u32, spawning: u32) -> u32 {
    target.saturating_add(waiters).saturating_sub(warm.saturating_add(spawning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_zygotes_count_as_warm() {
        assert_eq!(shortfall(4, 0, 0, 0), 4);
        assert_eq!(shortfall(4, 0, 1, 3), 0);
        assert_eq!(shortfall(4, 3, 0, 4), 3);
        assert_eq!(shortfall(4, 0, 9, 9), 0);
    }
}
