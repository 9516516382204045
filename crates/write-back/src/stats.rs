//! What a handle counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A look at a namespace, and what this process did for it. Counters start with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Rows that are dirty or in an open batch, of all processes.
    pub dirty: u64,
    /// Bytes of their encoded form.
    pub dirty_bytes: u64,
    /// For how long the oldest of them has waited.
    pub oldest: Option<Duration>,
    /// Of them, those that failed alone: each is tried again alone, until it lands or is set aside.
    pub suspects: u64,
    /// Changes that were set aside for a person to look at.
    pub dead: u64,
    /// Changes that this process had accepted.
    pub accepted: u64,
    /// Rows that this process flushed; what was accepted and coalesced is not among them.
    pub flushed: u64,
    /// Flushes by this process that took effect, or of which SQL said that they had already.
    pub batches: u64,
    /// Flushes by this process that failed, and were or will be tried again.
    pub retries: u64,
    /// Batches that this process halved, because they failed.
    pub splits: u64,
    /// How often a change failed alone in this process, and was held back to be tried again.
    pub delayed: u64,
    /// Changes that this process set aside as dead letters.
    pub parked: u64,
    /// How often another process had taken over a shard that this one was flushing.
    pub fenced: u64,
    /// How often this process found that Redis was another server, or an older state: what had been accepted may be lost.
    pub loss_possible: u64,
    /// Changes of this process that were accepted, and not confirmed at their level in time.
    pub unconfirmed: u64,
    /// How often this process found that the journal's server was not set up any more as was declared.
    pub drifts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) flushed: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) splits: AtomicU64,
    pub(crate) delayed: AtomicU64,
    pub(crate) parked: AtomicU64,
    pub(crate) fenced: AtomicU64,
    pub(crate) loss_possible: AtomicU64,
    pub(crate) unconfirmed: AtomicU64,
    pub(crate) drifts: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Relaxed);
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Relaxed)
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            accepted: self.accepted.load(Relaxed),
            flushed: self.flushed.load(Relaxed),
            batches: self.batches.load(Relaxed),
            retries: self.retries.load(Relaxed),
            splits: self.splits.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
            parked: self.parked.load(Relaxed),
            fenced: self.fenced.load(Relaxed),
            loss_possible: self.loss_possible.load(Relaxed),
            unconfirmed: self.unconfirmed.load(Relaxed),
            drifts: self.drifts.load(Relaxed),
            ..Stats::default()
        }
    }
}
