//! How full a namespace is: what the flusher saw of each shard when it last looked, together.
//!
//! Every process looks at every shard, its own or not, so each shows the namespace as a whole; the largest of them is right, not
//! their sum. Who looks no more must show nothing: an old number would be the largest for ever.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use writeway_core::journal::{Bounds, Status};
use writeway_core::metrics;
use writeway_core::stats::{Gauge, namespace};

#[derive(Debug)]
pub(crate) struct Gauges {
    bounds: Bounds,
    /// Nothing any more when the flusher has ended.
    shards: Mutex<Option<Vec<Seen>>>,
    rows: Gauge,
    bytes: Gauge,
    oldest: Gauge,
    suspects: Gauge,
    fullness: Gauge,
    dead: Gauge,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    rows: u64,
    bytes: u64,
    oldest: Duration,
    suspects: u64,
    fullness: u64,
    dead: u64,
}

impl Gauges {
    pub(crate) fn new(name: &str, shards: usize, bounds: Bounds) -> Self {
        let of = namespace(name);
        Gauges {
            bounds,
            shards: Mutex::new(Some(vec![Seen::default(); shards])),
            rows: Gauge::new(&metrics::DIRTY_ROWS, of),
            bytes: Gauge::new(&metrics::DIRTY_BYTES, of),
            oldest: Gauge::new(&metrics::DIRTY_OLDEST_SECONDS, of),
            suspects: Gauge::new(&metrics::DIRTY_SUSPECTS, of),
            fullness: Gauge::new(&metrics::DIRTY_FULLNESS_RATIO, of),
            dead: Gauge::new(&metrics::DEAD_LETTERS, of),
        }
    }

    /// The shard was looked at.
    pub(crate) fn saw(&self, shard: usize, status: &Status) {
        if !cfg!(feature = "metrics") {
            return;
        }
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shards) = shards.as_mut() else { return };
        shards[shard] = Seen {
            rows: status.dirty + status.open,
            bytes: status.dirty_bytes + status.open_bytes,
            oldest: status.oldest.unwrap_or_default(),
            suspects: status.suspects,
            fullness: fullness_percent(status, self.bounds),
            dead: status.dead,
        };
        self.show(shards);
    }

    /// Nobody looks any more.
    pub(crate) fn forget(&self) {
        // Nothing is set later by somebody who still asks.
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        *shards = None;
        self.show(&[]);
    }

    fn show(&self, shards: &[Seen]) {
        let sum = |part: fn(&Seen) -> u64| as_f64(shards.iter().map(part).sum());
        self.rows.set(sum(|seen| seen.rows));
        self.bytes.set(sum(|seen| seen.bytes));
        self.suspects.set(sum(|seen| seen.suspects));
        self.dead.set(sum(|seen| seen.dead));
        self.oldest.set(shards.iter().map(|seen| seen.oldest).max().unwrap_or_default().as_secs_f64());
        self.fullness.set(as_f64(shards.iter().map(|seen| seen.fullness).max().unwrap_or_default()) / 100.0);
    }
}

/// How near the shard is to refusing rows; at 100 it does.
pub(crate) fn fullness_percent(status: &Status, bounds: Bounds) -> u64 {
    let share = |part: u128, whole: u128| u64::try_from(part * 100 / whole.max(1)).unwrap_or(u64::MAX);
    let rows = share((status.dirty + status.open).into(), bounds.keys.into());
    let bytes = share((status.dirty_bytes + status.open_bytes).into(), bounds.bytes.into());
    let age = share(status.oldest.unwrap_or_default().as_millis(), bounds.age.as_millis());
    rows.max(bytes).max(age)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge shows its first digits")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_bound_counts() {
        let bounds = Bounds { keys: 100, bytes: 1_000, age: Duration::from_secs(10) };
        let status = Status { dirty: 10, open: 10, dirty_bytes: 100, open_bytes: 50, ..Status::default() };
        assert_eq!(fullness_percent(&status, bounds), 20);
        assert_eq!(fullness_percent(&Status { open_bytes: 800, ..status.clone() }, bounds), 90);
        assert_eq!(fullness_percent(&Status { oldest: Some(Duration::from_secs(15)), ..status }, bounds), 150);
    }
}
