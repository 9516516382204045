//! What a handle counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use writeway_core::metrics;
use writeway_core::runtime::Runtime;
use writeway_core::stats::{Count, Observed, ReadStats, WriteEnds, namespace};

/// A look at a namespace, and what this process did for it.
///
/// The first six are what the journal said just now, and are of **all processes**: whoever asks, gets the same. The others count what
/// **this process** did since it built the handle: for the namespace, add them up over the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Of all processes: rows that are dirty or in an open batch.
    pub dirty: u64,
    /// Of all processes: bytes of their encoded form.
    pub dirty_bytes: u64,
    /// Of all processes: for how long the oldest of them has waited; one that failed alone counts from when it is tried again.
    pub oldest: Option<Duration>,
    /// Of all processes: those of them that failed alone. Each is tried again alone, until it lands or is set aside.
    pub suspects: u64,
    /// Of all processes: how near the fullest shard is to refusing rows, by rows, bytes or age; at 100 it does.
    pub fullness_percent: u64,
    /// Of all processes: changes that were set aside for a person to look at, and still are.
    pub dead: u64,

    /// Its reads.
    pub reads: ReadStats,

    /// Changes that were accepted.
    pub accepted: u64,
    /// Writes that ended with an error.
    pub failed: u64,
    /// Those of them of which it is not known whether they were accepted.
    pub unknown: u64,
    /// Changes that were accepted, and not confirmed at their level in time.
    pub unconfirmed: u64,

    /// Rows that it flushed; what was accepted and coalesced is not among them.
    pub flushed: u64,
    /// Flushes that took effect, or of which SQL said that they had already.
    pub batches: u64,
    /// Rows of the largest of them.
    pub largest_batch: u64,
    /// Transactions with a batch that it began in SQL.
    pub transactions: u64,
    /// The time that those took, together.
    pub transactions_took: Duration,
    /// The longest of them.
    pub longest_transaction: Duration,
    /// Flushes that failed, and were or will be tried again.
    pub retries: u64,
    /// Batches that it halved, because they failed.
    pub splits: u64,
    /// How often another process had taken over a shard that this one was flushing.
    pub fenced: u64,

    /// How often a change failed alone, and was held back to be tried again.
    pub delayed: u64,
    /// Changes that it set aside as dead letters because SQL refused them.
    pub parked: u64,
    /// Accepted changes that it set aside because they cannot be read.
    pub damaged: u64,
    /// Changes that a restored server held and that it dropped: SQL has something newer.
    pub superseded: u64,
    /// Changes that a restored server held and that it set aside: nobody can tell.
    pub quarantined: u64,

    /// How often it found a shard on another server, or in an older state: what had been accepted may be lost.
    pub loss_possible: u64,
    /// How often it found that the journal's server was not set up any more as was declared.
    pub drifts: u64,
}

/// In the order of [`Stats`].
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) writes: WriteEnds,
    pub(crate) unconfirmed: Count,

    flushed: Count,
    pub(crate) batches: Count,
    largest_batch: AtomicU64,
    batch_rows: Observed,
    transactions: Count,
    /// In microseconds.
    took: AtomicU64,
    longest: AtomicU64,
    transaction_time: Observed,
    pub(crate) retries: Count,
    pub(crate) splits: Count,
    pub(crate) fenced: Count,

    pub(crate) delayed: Count,
    pub(crate) parked: Count,
    pub(crate) damaged: Count,
    pub(crate) superseded: Count,
    pub(crate) quarantined: Count,

    pub(crate) loss_possible: Count,
    pub(crate) drifts: Count,
}

/// A transaction in SQL. Ends when dropped, whether it was answered or given up.
pub(crate) struct InSql<'a> {
    counters: &'a Counters,
    runtime: &'a dyn Runtime,
    started: Duration,
}

impl Counters {
    pub(crate) fn new(name: &str) -> Self {
        let of = namespace(name);
        Counters {
            accepted: Count::new(&metrics::WRITE_DONE, of),
            writes: WriteEnds::new(of),
            unconfirmed: Count::new(&metrics::WRITE_UNCONFIRMED, of),
            flushed: Count::new(&metrics::FLUSH_ROWS, of),
            batches: Count::new(&metrics::FLUSH_DONE, of),
            largest_batch: AtomicU64::new(0),
            batch_rows: Observed::new(&metrics::BATCH_ROWS, of),
            transactions: Count::new(&metrics::FLUSH_START, of),
            took: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            transaction_time: Observed::new(&metrics::FLUSH_SECONDS, of),
            retries: Count::new(&metrics::FLUSH_FAILED, of),
            splits: Count::new(&metrics::FLUSH_SPLIT, of),
            fenced: Count::new(&metrics::FLUSH_FENCED, of),
            delayed: Count::new(&metrics::CHANGE_DELAYED, of),
            parked: Count::new(&metrics::CHANGE_PARKED, of),
            damaged: Count::new(&metrics::CHANGE_DAMAGED, of),
            superseded: Count::new(&metrics::CHANGE_SUPERSEDED, of),
            quarantined: Count::new(&metrics::CHANGE_QUARANTINED, of),
            loss_possible: Count::new(&metrics::RECOVERY_DONE, of),
            drifts: Count::new(&metrics::SETTINGS_DRIFTED, of),
        }
    }

    pub(crate) fn add(counter: &Count, n: usize) {
        counter.add(n as u64);
    }

    /// A batch of so many rows is in SQL.
    pub(crate) fn flushed(&self, rows: usize) {
        Counters::add(&self.flushed, rows);
        Counters::add(&self.batches, 1);
        self.largest_batch.fetch_max(rows as u64, Relaxed);
        self.batch_rows.add(u32::try_from(rows).map_or(f64::MAX, f64::from));
    }

    /// A batch's transaction begins.
    pub(crate) fn in_sql<'a>(&'a self, runtime: &'a dyn Runtime) -> InSql<'a> {
        self.transactions.add(1);
        InSql { counters: self, runtime, started: runtime.now() }
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            accepted: self.accepted.get(),
            failed: self.writes.failed(),
            unknown: self.writes.unknown(),
            unconfirmed: self.unconfirmed.get(),
            flushed: self.flushed.get(),
            batches: self.batches.get(),
            largest_batch: self.largest_batch.load(Relaxed),
            transactions: self.transactions.get(),
            transactions_took: Duration::from_micros(self.took.load(Relaxed)),
            longest_transaction: Duration::from_micros(self.longest.load(Relaxed)),
            retries: self.retries.get(),
            splits: self.splits.get(),
            fenced: self.fenced.get(),
            delayed: self.delayed.get(),
            parked: self.parked.get(),
            damaged: self.damaged.get(),
            superseded: self.superseded.get(),
            quarantined: self.quarantined.get(),
            loss_possible: self.loss_possible.get(),
            drifts: self.drifts.get(),
            ..Stats::default()
        }
    }
}

impl Drop for InSql<'_> {
    fn drop(&mut self) {
        let took = self.runtime.now().saturating_sub(self.started);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counters.took.fetch_add(micros, Relaxed);
        self.counters.longest.fetch_max(micros, Relaxed);
        self.counters.transaction_time.add(took.as_secs_f64());
    }
}
