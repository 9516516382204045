//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubles with every attempt from `base`, at most thirty-two-fold, and takes between half and all of it at random, so that
/// those who wait for the same thing do not come back together. Never less than 1 ms, never more than 1 s.
#[must_use]
pub fn backoff(attempt: u32, base: Duration, random: u128) -> Duration {
    let full = (base.max(Duration::from_millis(1)) * (1 << attempt.min(5))).min(Duration::from_secs(1));
    let share = u32::try_from(random % 1001).unwrap_or(0);
    (full / 2 + full / 2 * share / 1000).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_within_bounds() {
        let base = Duration::from_millis(10);
        assert_eq!(backoff(0, base, 0), base / 2);
        assert_eq!(backoff(0, base, 1000), base);
        assert_eq!(backoff(3, base, 1000), base * 8);
        assert_eq!(backoff(40, Duration::from_secs(9), 1000), Duration::from_secs(1));
        assert_eq!(backoff(0, Duration::ZERO, 0), Duration::from_millis(1));
    }
}
