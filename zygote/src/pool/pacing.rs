//! How fast the part above the floor is refilled: after a quiet time, doubling from tick to tick, or
//! at the least at a steady rate, so that a load that never rests cannot starve it.

use super::settings::Pace;
use super::time::Time;

#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// The present or latest tick, when it ends, and what may be built in it.
    tick_ends: Option<Time>,
    burst: u32,
    built: u32,
    latest: Option<Time>,
}

impl Pacing {
    /// How many builds may be ordered at `now`; if none, when one may be.
    pub(super) fn allows(
        &self,
        now: Time,
        pace: &Pace,
        acquired: Option<Time>,
    ) -> Result<u32, Time> {
        let quiet_at = acquired.map_or(now, |acquired| acquired.after(pace.quiet));
        if now < quiet_at {
            let due = self.latest.map_or(now, |latest| latest.after(pace.interval_max));
            return if due <= now { Ok(1) } else { Err(due.min(quiet_at)) };
        }
        match self.tick_ends.filter(|ends| now < *ends) {
            None => Ok(self.next_burst(now, pace, acquired)),
            Some(ends) if self.built >= self.burst => Err(ends),
            Some(_) => Ok(self.burst - self.built),
        }
    }

    /// A build was ordered.
    pub(super) fn ordered(&mut self, now: Time, pace: &Pace, acquired: Option<Time>) {
        if self.tick_ends.is_none_or(|ends| ends <= now) {
            self.burst = self.next_burst(now, pace, acquired);
            self.built = 0;
            self.tick_ends = Some(now.after(pace.tick));
        }
        self.built += 1;
        self.latest = Some(now);
    }

    fn next_burst(&self, now: Time, pace: &Pace, acquired: Option<Time>) -> u32 {
        let burst_max = pace.burst_max.max(1);
        let goes_on = self.tick_ends.is_some_and(|ends| now.since(ends) <= pace.tick);
        let disturbed = self.latest < acquired;
        if pace.quiet.is_zero() {
            burst_max
        } else if goes_on && !disturbed {
            self.burst.saturating_mul(2).min(burst_max)
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const fn ms(milliseconds: u64) -> Time {
        Time(Duration::from_millis(milliseconds))
    }

    fn order_all(pacing: &mut Pacing, now: Time, pace: &Pace, acquired: Option<Time>) -> u32 {
        let mut ordered = 0;
        while pacing.allows(now, pace, acquired).is_ok() && ordered < 1_000 {
            pacing.ordered(now, pace, acquired);
            ordered += 1;
        }
        ordered
    }

    const PACE: Pace = Pace {
        epsilon: 0.01,
        quiet: Duration::from_millis(20),
        interval_max: Duration::from_millis(50),
        burst_max: 16,
        idle: Duration::from_secs(1),
        tick: Duration::from_millis(10),
        half_life: Duration::from_secs(60),
        sleep: None,
    };

    #[test]
    fn it_doubles_up_to_the_cap_while_undisturbed() {
        let mut pacing = Pacing::default();
        let bursts = (0..7).map(|tick| order_all(&mut pacing, ms(100 + tick * 10), &PACE, None));
        assert!(bursts.eq([1, 2, 4, 8, 16, 16, 16]));
        let acquired = Some(ms(171));
        assert_eq!(pacing.allows(ms(180), &PACE, acquired), Err(ms(191)));
        assert_eq!(order_all(&mut pacing, ms(191), &PACE, acquired), 1, "it starts anew");
    }

    #[test]
    fn acquires_without_end_leave_it_a_steady_rate() {
        let mut pacing = Pacing::default();
        let mut ordered = 0;
        for now_ms in 1_000..2_000 {
            let acquired = Some(ms(now_ms));
            if pacing.allows(ms(now_ms), &PACE, acquired).is_ok() {
                pacing.ordered(ms(now_ms), &PACE, acquired);
                ordered += 1;
            }
        }
        assert_eq!(ordered, 20, "one in 50 ms");
    }

    #[test]
    fn without_a_quiet_time_there_is_no_doubling() {
        let pace = Pace { quiet: Duration::ZERO, ..PACE };
        let mut pacing = Pacing::default();
        assert_eq!(order_all(&mut pacing, ms(100), &pace, Some(ms(100))), 16);
        assert_eq!(pacing.allows(ms(101), &pace, Some(ms(101))), Err(ms(110)));
    }
}
