//! What a process counts of a namespace, and the counts themselves.
//!
//! A count is one relaxed atomic; nothing else happens per operation. With the feature `metrics`, the same call also moves the
//! metric of that name in the recorder that was installed when the count was made.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::change::CacheEffect;
use crate::error::{Error, Kind, Outcome, Result};
use crate::metrics::{self, Metric};
use crate::runtime::Runtime;

/// What this process did for a look-aside namespace. Counted from when the handle was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Its reads.
    pub reads: ReadStats,
    /// Its writes.
    pub writes: WriteStats,
}

/// Reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadStats {
    /// Keys that were found in the cache at the first look.
    pub hits: u64,
    /// Keys that were not, damage included.
    pub misses: u64,
    /// Keys of which the cache said nothing in time.
    pub unanswered: u64,
    /// Cached values that did not fit their key, type or schema.
    pub damaged: u64,
    /// Statements that loaded rows from SQL.
    pub loads: u64,
    /// Loads that failed, or waited too long for their turn.
    pub loads_failed: u64,
    /// Reads that shared another read's load.
    pub joined: u64,
    /// Loaded rows that were handed to the cache; where a writer came in between, it did not take them.
    pub fills: u64,
    /// Loaded rows that could not be handed to the cache.
    pub fills_failed: u64,
    /// Reads that ended with an error.
    pub failed: u64,
    /// Clean values that audits compared with SQL.
    pub audited: u64,
    /// Those of them that SQL had otherwise.
    pub stale: u64,
}

/// Writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteStats {
    /// Changes that were committed, by cache key: what became of their cached copies is the next three.
    pub done: u64,
    /// The new value lies in the cache.
    pub published: u64,
    /// The next read is a miss.
    pub invalidated: u64,
    /// The cache could not be told.
    pub lapsed: u64,
    /// Writes and transactions that ended with an error.
    pub failed: u64,
    /// Those of them of which it is not known whether they are committed.
    pub unknown: u64,
}

/// A number that only grows.
#[derive(Debug)]
pub struct Count {
    total: AtomicU64,
    #[cfg(feature = "metrics")]
    metric: ::metrics::Counter,
}

/// A number that is what it is now. Nothing without the feature `metrics`.
#[derive(Debug)]
pub struct Gauge {
    #[cfg(feature = "metrics")]
    metric: ::metrics::Gauge,
}

/// Single observations. Nothing without the feature `metrics`.
#[derive(Debug)]
pub struct Observed {
    #[cfg(feature = "metrics")]
    metric: ::metrics::Histogram,
}

/// Errors by their kind.
#[derive(Debug)]
pub struct Failures([Count; KINDS.len()]);

const KINDS: [Kind; 6] = [Kind::Closed, Kind::Fenced, Kind::Invalid, Kind::Overloaded, Kind::Rejected, Kind::Unavailable];

/// Which one of several things of a kind: a label and its value.
pub type Of<'a> = (&'static str, &'a str);

/// The label of everything that is of one namespace.
#[must_use]
pub fn namespace(name: &str) -> Of<'_> {
    ("namespace", name)
}

impl Count {
    /// From zero.
    #[must_use]
    pub fn new(metric: &Metric, of: Of<'_>) -> Self {
        Self::labelled(metric, &[of])
    }

    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "named for the recorder only"))]
    fn labelled(metric: &Metric, labels: &[Of<'_>]) -> Self {
        Count {
            total: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            metric: recorder::counter(metric, labels),
        }
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.total.fetch_add(n, Relaxed);
        #[cfg(feature = "metrics")]
        self.metric.increment(n);
    }

    /// How many by now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "nothing is kept without a recorder"))]
impl Gauge {
    /// Not known yet.
    #[must_use]
    pub fn new(metric: &Metric, of: Of<'_>) -> Self {
        Gauge {
            #[cfg(feature = "metrics")]
            metric: recorder::gauge(metric, &[of]),
        }
    }

    /// It is so much now.
    pub fn set(&self, value: f64) {
        #[cfg(feature = "metrics")]
        self.metric.set(value);
    }
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "nothing is kept without a recorder"))]
impl Observed {
    /// None yet.
    #[must_use]
    pub fn new(metric: &Metric, of: Of<'_>) -> Self {
        Observed {
            #[cfg(feature = "metrics")]
            metric: recorder::histogram(metric, &[of]),
        }
    }

    /// One more.
    pub fn add(&self, value: f64) {
        #[cfg(feature = "metrics")]
        self.metric.record(value);
    }

    /// The time since `started`; without the feature, the clock is not even asked.
    pub fn since(&self, runtime: &dyn Runtime, started: Duration) {
        #[cfg(feature = "metrics")]
        self.metric.record(runtime.now().saturating_sub(started).as_secs_f64());
    }
}

impl Failures {
    /// None of any kind.
    #[must_use]
    pub fn new(metric: &Metric, of: Of<'_>) -> Self {
        Failures(KINDS.map(|kind| Count::labelled(metric, &[of, ("kind", kind.name())])))
    }

    /// One more.
    pub fn add(&self, e: &Error) {
        if let Some(nth) = KINDS.iter().position(|kind| *kind == e.kind()) {
            self.0[nth].add(1);
        }
    }

    /// How many of all kinds.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(Count::get).sum()
    }
}

/// The counts of reads. In cache lines of their own: what lies beside them is read by everybody and written by nobody.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ReadCounts {
    pub(crate) hits: Count,
    pub(crate) misses: Count,
    pub(crate) unanswered: Count,
    pub(crate) damaged: Count,
    pub(crate) loads: Count,
    pub(crate) loads_failed: Count,
    pub(crate) joined: Count,
    pub(crate) fills: Count,
    pub(crate) fills_failed: Count,
    pub(crate) audited: Count,
    pub(crate) stale: Count,
    failed: Failures,
    time: Observed,
}

impl ReadCounts {
    pub(crate) fn new(of: Of<'_>) -> Self {
        ReadCounts {
            hits: Count::new(&metrics::READ_HIT, of),
            misses: Count::new(&metrics::READ_MISS, of),
            unanswered: Count::new(&metrics::READ_UNANSWERED, of),
            damaged: Count::new(&metrics::ENTRY_DAMAGED, of),
            loads: Count::new(&metrics::LOAD_DONE, of),
            loads_failed: Count::new(&metrics::LOAD_FAILED, of),
            joined: Count::new(&metrics::LOAD_JOINED, of),
            fills: Count::new(&metrics::FILL_DONE, of),
            fills_failed: Count::new(&metrics::FILL_FAILED, of),
            audited: Count::new(&metrics::AUDIT_DONE, of),
            stale: Count::new(&metrics::AUDIT_STALE, of),
            failed: Failures::new(&metrics::READ_FAILED, of),
            time: Observed::new(&metrics::READ_SECONDS, of),
        }
    }

    /// A read that began then has its answer.
    pub(crate) fn answered<T>(&self, runtime: &dyn Runtime, started: Duration, answer: &Result<T>) {
        self.time.since(runtime, started);
        if let Err(e) = answer {
            self.failed.add(e);
        }
    }

    pub(crate) fn read(&self) -> ReadStats {
        ReadStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            unanswered: self.unanswered.get(),
            damaged: self.damaged.get(),
            loads: self.loads.get(),
            loads_failed: self.loads_failed.get(),
            joined: self.joined.get(),
            fills: self.fills.get(),
            fills_failed: self.fills_failed.get(),
            failed: self.failed.get(),
            audited: self.audited.get(),
            stale: self.stale.get(),
        }
    }
}

/// How writes end, the same for every strategy.
#[derive(Debug)]
pub struct WriteEnds {
    failed: Failures,
    unknown: Count,
    time: Observed,
}

impl WriteEnds {
    /// None yet.
    #[must_use]
    pub fn new(of: Of<'_>) -> Self {
        WriteEnds {
            failed: Failures::new(&metrics::WRITE_FAILED, of),
            unknown: Count::new(&metrics::WRITE_UNKNOWN, of),
            time: Observed::new(&metrics::WRITE_SECONDS, of),
        }
    }

    /// A write that began then has its answer.
    pub fn answered<T>(&self, runtime: &dyn Runtime, started: Duration, answer: &Result<T>) {
        self.time.since(runtime, started);
        if let Err(e) = answer {
            self.failed.add(e);
            self.unknown.add(u64::from(e.outcome() == Outcome::Unknown));
        }
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// Of how many of those nobody knows whether they took effect.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.get()
    }
}

/// The counts of a look-aside namespace's writes.
#[derive(Debug)]
pub(crate) struct WriteCounts {
    pub(crate) ends: WriteEnds,
    done: Count,
    published: Count,
    invalidated: Count,
    lapsed: Count,
}

impl WriteCounts {
    pub(crate) fn new(of: Of<'_>) -> Self {
        WriteCounts {
            ends: WriteEnds::new(of),
            done: Count::new(&metrics::WRITE_DONE, of),
            published: Count::new(&metrics::WRITE_PUBLISHED, of),
            invalidated: Count::new(&metrics::WRITE_INVALIDATED, of),
            lapsed: Count::new(&metrics::WRITE_LAPSED, of),
        }
    }

    /// A change is committed, and that became of its cached copy.
    pub(crate) fn committed(&self, effect: CacheEffect) {
        self.done.add(1);
        match effect {
            CacheEffect::Published => self.published.add(1),
            CacheEffect::Invalidated => self.invalidated.add(1),
            CacheEffect::Lapses { .. } => self.lapsed.add(1),
        }
    }

    pub(crate) fn read(&self) -> WriteStats {
        WriteStats {
            done: self.done.get(),
            published: self.published.get(),
            invalidated: self.invalidated.get(),
            lapsed: self.lapsed.get(),
            failed: self.ends.failed(),
            unknown: self.ends.unknown(),
        }
    }
}

/// Registering with the recorder of the process.
#[cfg(feature = "metrics")]
mod recorder {
    use metrics::{Counter, Gauge, Histogram, Label, Unit};

    use super::Of;
    use crate::metrics::Metric;

    pub(super) fn counter(metric: &Metric, labels: &[Of<'_>]) -> Counter {
        metrics::describe_counter!(metric.name, unit(metric.name), metric.means);
        metrics::counter!(metric.name, owned(labels))
    }

    pub(super) fn gauge(metric: &Metric, labels: &[Of<'_>]) -> Gauge {
        metrics::describe_gauge!(metric.name, unit(metric.name), metric.means);
        metrics::gauge!(metric.name, owned(labels))
    }

    pub(super) fn histogram(metric: &Metric, labels: &[Of<'_>]) -> Histogram {
        metrics::describe_histogram!(metric.name, unit(metric.name), metric.means);
        metrics::histogram!(metric.name, owned(labels))
    }

    fn owned(labels: &[Of<'_>]) -> Vec<Label> {
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
    }

    /// Said by the name.
    fn unit(name: &str) -> Unit {
        if name.ends_with("_seconds") {
            Unit::Seconds
        } else if name.ends_with("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        }
    }
}
