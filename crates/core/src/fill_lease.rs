//! How long a fill lease is held, from how long loads have taken.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::cache::Hold;

/// Before the first load is seen.
const FIRST_GUESS: Duration = Duration::from_millis(100);
/// A lease shorter than a scheduling hiccup would be taken over for nothing.
const MIN_OWNER: Duration = Duration::from_millis(30);
/// A slow load's result stays good at least this long.
const MIN_KEY: Duration = Duration::from_secs(3);

/// The observed load time of one namespace: a moving average over about the last eight loads.
#[derive(Debug)]
pub struct LoadTime {
    micros: AtomicU64,
}

impl LoadTime {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        LoadTime { micros: AtomicU64::new(micros(FIRST_GUESS)) }
    }

    /// One more load. Two at once may count as one: an estimate needs no more.
    pub fn observe(&self, took: Duration) {
        let old = self.micros.load(Relaxed);
        self.micros.store((old * 7 + micros(took)) / 8, Relaxed);
    }

    /// The estimate.
    #[must_use]
    pub fn typical(&self) -> Duration {
        Duration::from_micros(self.micros.load(Relaxed))
    }

    /// Three loads long for the owner, ten for the key, and never less than the floors above.
    #[must_use]
    pub fn hold(&self) -> Hold {
        let load = self.typical();
        let owner = (load * 3).max(MIN_OWNER);
        Hold { owner, key: (load * 10).max(MIN_KEY).max(owner * 2) }
    }
}

impl Default for LoadTime {
    fn default() -> Self {
        Self::new()
    }
}

fn micros(d: Duration) -> u64 {
    // An hour-long load says no more than a minute-long one.
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX).min(60_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_follow_the_load_time() {
        let time = LoadTime::new();
        assert_eq!(time.hold(), Hold { owner: FIRST_GUESS * 3, key: MIN_KEY });
        for _ in 0..200 {
            time.observe(Duration::from_secs(2));
        }
        assert!(time.hold().owner > Duration::from_secs(5) && time.hold().key > Duration::from_secs(19));
        for _ in 0..200 {
            time.observe(Duration::ZERO);
        }
        assert_eq!(time.hold(), Hold { owner: MIN_OWNER, key: MIN_KEY });
    }
}
