//! What a user may set on a write-back namespace besides what all strategies share. Every default and bound stands here once.

use std::time::Duration;

use writeway_core::entry::VALUE_HEADER;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{Bounds, Level};
use writeway_core::options::bound;
use writeway_core::store::Blame;

/// Says whose fault it is that a flush failed, or leaves it to the store.
pub(crate) type Classify = dyn Fn(&Error) -> Option<Blame> + Send + Sync;

/// What a write does when the dirty set is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Wait for room, inside the call's deadline.
    Wait,
    /// Answer `Overloaded` at once.
    Reject,
}

/// What a write does while the journal's server is not set up as was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Go on: an event and a counter tell of it.
    Report,
    /// Answer `Unavailable`, having changed nothing, until the settings are right again.
    Refuse,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) shards: u16,
    pub(crate) max_delay: Duration,
    pub(crate) max_batch: usize,
    pub(crate) max_batch_bytes: usize,
    pub(crate) max_dirty: usize,
    pub(crate) max_dirty_bytes: usize,
    pub(crate) max_age: Duration,
    pub(crate) max_dead: usize,
    pub(crate) overflow: Overflow,
    pub(crate) flush_timeout: Duration,
    pub(crate) batch_log: Duration,
    pub(crate) migrate: bool,
    pub(crate) evictable_changes: bool,
    pub(crate) volatile_changes: bool,
    pub(crate) unbounded_flushes: bool,
    pub(crate) level: Level,
    pub(crate) durable_claims: bool,
    pub(crate) recheck: Duration,
    pub(crate) on_drift: Drift,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            shards: 16,
            max_delay: Duration::from_millis(200),
            max_batch: 1_000,
            max_batch_bytes: 4 << 20,
            max_dirty: 50_000,
            max_dirty_bytes: 64 << 20,
            max_age: Duration::from_secs(600),
            max_dead: 1_000,
            overflow: Overflow::Wait,
            flush_timeout: Duration::from_secs(5),
            batch_log: Duration::from_secs(3600),
            migrate: false,
            evictable_changes: false,
            volatile_changes: false,
            unbounded_flushes: false,
            level: Level::Memory,
            durable_claims: false,
            recheck: Duration::from_secs(10),
            on_drift: Drift::Report,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        bound("shards", self.shards, 1..=1_024)?;
        bound("max_delay", self.max_delay, Duration::from_millis(1)..=hour)?;
        bound("max_batch", self.max_batch, 1..=10_000)?;
        bound("max_batch_bytes", self.max_batch_bytes, 1..=16 << 20)?;
        bound("max_dirty", self.max_dirty, 1..=10_000_000)?;
        bound("max_dirty_bytes", self.max_dirty_bytes, 1..=64 << 30)?;
        bound("max_dead", self.max_dead, 1..=1_000_000)?;
        bound("max_age", self.max_age, second..=hour * 24 * 366)?;
        bound("flush_timeout", self.flush_timeout, Duration::from_millis(100)..=second * 60)?;
        bound("batch_log_for", self.batch_log, Duration::from_secs(60)..=hour * 24 * 366)?;
        bound("recheck_every", self.recheck, second..=hour)?;
        self.level.check()?;
        if self.durable_claims && self.level == Level::Memory {
            return Err(Error::invalid("durable_claims() needs an accept_level above Memory"));
        }
        Ok(())
    }

    /// A row that is allowed must fit into a shard that is empty.
    pub(crate) fn check_parts(&self, shards: u16, max_value_bytes: usize) -> Result<()> {
        let least = (max_value_bytes + VALUE_HEADER).saturating_mul(shards.into());
        if self.max_dirty_bytes >= least {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "max_dirty_bytes must be at least {least}: a row of max_value_bytes ({max_value_bytes}) in each of {shards} shards"
        )))
    }

    /// One shard's part of the bounds.
    pub(crate) fn bounds(&self, shards: usize) -> Bounds {
        let part = |whole: usize| whole.div_ceil(shards.max(1)) as u64;
        Bounds { keys: part(self.max_dirty), bytes: part(self.max_dirty_bytes), age: self.max_age }
    }

    /// One shard's part of the dead letters.
    pub(crate) fn dead(&self, shards: usize) -> u64 {
        self.max_dead.div_ceil(shards.max(1)) as u64
    }

    /// What SQL must hold a flush to.
    pub(crate) fn within(&self) -> Option<Duration> {
        (!self.unbounded_flushes).then_some(self.flush_timeout)
    }

    /// How often a flusher looks whether anything is due.
    pub(crate) fn tick(&self) -> Duration {
        (self.max_delay / 2).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    /// How long a flush lease is held: a flush in between must not cost it.
    pub(crate) fn hold(&self) -> Duration {
        self.flush_timeout + self.tick() * 4
    }

    /// How long it takes until an accepted change is in SQL, if the servers do their part: the delay, a flush that is under way,
    /// its own, and a takeover.
    pub(crate) fn patience(&self) -> Duration {
        self.max_delay + self.flush_timeout * 2 + self.hold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        assert!(Settings::default().check().is_ok());
        for (bad, name) in [
            (Settings { shards: 0, ..Settings::default() }, "shards"),
            (Settings { max_delay: Duration::ZERO, ..Settings::default() }, "max_delay"),
            (Settings { max_batch: 0, ..Settings::default() }, "max_batch"),
            (Settings { max_dirty: 0, ..Settings::default() }, "max_dirty"),
            (Settings { max_age: Duration::ZERO, ..Settings::default() }, "max_age"),
            (Settings { flush_timeout: Duration::from_secs(61), ..Settings::default() }, "flush_timeout"),
            (Settings { recheck: Duration::ZERO, ..Settings::default() }, "recheck_every"),
            (Settings { level: Level::Replicated(0), ..Settings::default() }, "accept_level"),
            (Settings { level: Level::Replicated(17), ..Settings::default() }, "accept_level"),
            (Settings { durable_claims: true, ..Settings::default() }, "durable_claims"),
        ] {
            assert!(bad.check().expect_err(name).to_string().contains(name));
        }
    }

    #[test]
    fn a_shard_that_could_not_hold_a_row_is_refused() {
        let max_dirty_bytes = 16 * (100 + VALUE_HEADER);
        let settings = Settings { max_dirty_bytes, ..Settings::default() };
        assert!(settings.check_parts(16, 100).is_ok());
        let refused = settings.check_parts(16, 101).expect_err("too small").to_string();
        assert!(refused.contains(&format!("at least {}", max_dirty_bytes + 16)), "{refused}");
    }

    #[test]
    fn a_shard_has_its_part_rounded_up() {
        let bounds = Settings { max_dirty: 33, ..Settings::default() }.bounds(16);
        assert_eq!(bounds.keys, 3);
    }
}
