//! The server's clock, seen from here.
//!
//! A request that was sent at `t0` and answered at `t1` with the server's time `s` says: at some moment between `t0` and `t1`
//! the server's clock read `s`. So at a local moment `t` it reads at least `s + (t - t1)` and at most `s + (t - t0)`. A limit is
//! always derived from the lower bound, less what the clocks may have drifted apart since: then it comes rather too early than
//! too late.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A held sample older than this gives way to any newer one: clocks drift apart.
const OLD: Duration = Duration::from_secs(10);

/// Clocks drift apart by at most one part in that many; a quartz does by a tenth of it.
const DRIFT: i64 = 1000;

/// One look at the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// What it read, in microseconds since its epoch.
    pub(super) server: i64,
    /// When the question was sent, by the local clock.
    pub(super) sent: Duration,
    /// When the answer was here.
    pub(super) received: Duration,
}

impl Sample {
    /// The last millisecond of the server's clock that is surely not after the local moment.
    pub(super) fn not_after(&self, moment: Duration) -> u64 {
        let passed = micros(moment) - micros(self.received);
        let lower = self.server.saturating_add(passed).saturating_sub(passed.abs() / DRIFT);
        // The server compares whole milliseconds: the one before is over in any case.
        u64::try_from(lower / 1000 - 1).unwrap_or(0)
    }

    /// True if this newer sample should replace `held`: it is sharper, `held` is old, or the two contradict each other, which
    /// means that a clock was set.
    fn replaces(&self, held: &Sample) -> bool {
        let [low, high] = self.offsets();
        let [held_low, held_high] = held.offsets();
        high - low <= held_high - held_low
            || self.received.saturating_sub(held.received) > OLD
            || high < held_low
            || low > held_high
    }

    fn offsets(&self) -> [i64; 2] {
        [self.received, self.sent].map(|at| self.server.saturating_sub(micros(at)))
    }
}

fn micros(d: Duration) -> i64 {
    // Half of the range is 146,000 years.
    i64::try_from(d.as_micros()).map_or(i64::MAX / 2, |us| us.min(i64::MAX / 2))
}

/// The best sample of one server's clock.
#[derive(Debug)]
pub(super) struct Clock(Mutex<Sample>);

impl Clock {
    pub(super) fn new(first: Sample) -> Self {
        Clock(Mutex::new(first))
    }

    pub(super) fn learn(&self, new: Sample) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if new.replaces(&held) {
            *held = new;
        }
    }

    pub(super) fn not_after(&self, moment: Duration) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).not_after(moment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(server: i64, sent: u64, received: u64) -> Sample {
        Sample { server, sent: Duration::from_micros(sent), received: Duration::from_micros(received) }
    }

    #[test]
    fn a_sharper_sample_wins_and_a_set_clock_is_noticed() {
        let clock = Clock::new(sample(1_000_000, 0, 1000));
        let limit = |clock: &Clock| clock.not_after(Duration::from_micros(500_000));
        assert_eq!(limit(&clock), 1497);
        clock.learn(sample(1_005_500, 5000, 6500));
        assert_eq!(limit(&clock), 1497, "a wider one is no better");
        clock.learn(sample(1_009_900, 10_000, 10_100));
        assert_eq!(limit(&clock), 1498, "sharper");
        clock.learn(sample(9_020_000, 20_000, 29_000));
        assert_eq!(limit(&clock), 9489, "set forward");
        clock.learn(sample(1_030_000, 30_000, 39_000));
        assert_eq!(limit(&clock), 1489, "set back");
        clock.learn(sample(11_040_000, 10_040_000, 10_090_000));
        assert_eq!(limit(&clock), 1439, "the old one is forgotten");
    }

    proptest! {
        #[test]
        fn a_limit_never_lies_after_its_moment(
            offset in 1_000_000_i64..2_000_000_000_000_000, sent in 0_u64..1_000_000, there in 0_u64..1000, back in 0_u64..1000,
            later in 0_u64..10_000_000,
        ) {
            let at = |us: u64| offset + i64::try_from(us).expect("small");
            let seen = sample(at(sent + there), sent, sent + there + back);
            let moment = sent + there + back + later;
            let limit = i64::try_from(seen.not_after(Duration::from_micros(moment))).expect("small");
            // The server lets a call in while its clock, in whole milliseconds, is not past the limit.
            prop_assert!((limit + 1) * 1000 <= at(moment));
            prop_assert!((limit + 3) * 1000 + 1000 > at(moment) - i64::try_from(later / 1000).expect("small"), "and not much before");
        }
    }
}
