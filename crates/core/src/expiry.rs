//! How long what is cached lives.

use std::time::Duration;

/// That a row does not exist is kept at most this long.
const MAX_NEGATIVE: Duration = Duration::from_secs(30);

/// A tenth more or less, so that values stored together do not expire together.
#[must_use]
pub fn jittered(ttl: Duration, random: u128) -> Duration {
    let share = u32::try_from(random % 2001).unwrap_or(1000);
    ttl * (9_000 + share) / 10_000
}

/// The longest that [`jittered`] gives.
#[must_use]
pub fn longest(ttl: Duration) -> Duration {
    ttl * 11 / 10
}

/// How long to keep that there is no row.
#[must_use]
pub fn negative(ttl: Duration) -> Duration {
    (ttl / 10).min(MAX_NEGATIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        let ttl = Duration::from_secs(100);
        assert_eq!(jittered(ttl, 0), Duration::from_secs(90));
        assert_eq!(jittered(ttl, 2000), longest(ttl));
        assert_eq!(jittered(ttl, 1000), ttl);
        assert_eq!(negative(ttl), Duration::from_secs(10));
        assert_eq!(negative(ttl * 100), MAX_NEGATIVE);
    }
}
