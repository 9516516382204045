//! The handle of a namespace that counts: adding and reading. All else is as for rows, and done by the same flusher.
//!
//! 1. Increments of one key are added up, encoded and checked before any I/O.
//! 2. One script accepts them: they are added to those of the key that are in no batch. SQL is not read for that, nor the cache.
//! 3. The flusher freezes a key's increments whole, and leaves none behind: what is added from then on is for the next batch.
//! 4. One transaction adds them to the rows, together with the batch's number, and returns the rows.
//! 5. Acknowledged, the rows lie in the cache with that number: the base to which reads add what came since.
//!
//! What each crash leaves is told in `flush`, how a read adds up in `writeway_core::read_counts`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::Empty;
use writeway_core::change::{Change, Changes};
use writeway_core::counts::{CountStore, Counts as _, Tally};
use writeway_core::error::{Error, Result};
use writeway_core::options::Mode;
use writeway_core::read_counts::CountReads;
use writeway_core::span::within;

use crate::builder::WriteBackBuilder;
use crate::dead_letters::{DeadLetter, Redrive};
use crate::handle::{Drained, WriteBack};
use crate::stats::Stats;
use crate::ticket::{Receipt, Ticket};

/// A write-back namespace of counters: likes, views, whatever is only ever added to. Cheap to clone, to be shared between tasks.
///
/// [`add`](Counters::add) is answered once Redis has accepted the increment, and reads nothing; a flusher brings the sums to SQL as
/// `n = n + sum`, many in one transaction, **exactly once in effect**. [`get`](Counters::get) counts every acknowledged increment once.
///
/// What [`WriteBack`] promises and what it can lose holds for increments, too. Where a counter differs: nothing replaces an increment, so one
/// that SQL refuses stays a dead letter until it is driven again or discarded, and while it does, what is added to that counter and
/// refused again waits. A value is never set: the table's other columns, and rows that go, are for another namespace or for SQL of
/// your own.
pub struct Counters<S: CountStore> {
    back: WriteBack<S::Tallies>,
    reads: Arc<CountReads<S>>,
}

impl<S: CountStore> Counters<S> {
    /// Starts with the table. The options are those of [`WriteBack`].
    pub fn builder(store: S) -> WriteBackBuilder<S, Counters<S>> {
        WriteBackBuilder::new(store, Mode::Counters)
    }

    pub(crate) fn new(back: WriteBack<S::Tallies>, reads: CountReads<S>) -> Self {
        Counters { back, reads: Arc::new(reads) }
    }

    /// Adds to the counters under `key`. `Ok` means accepted by Redis; [`Ticket::durable`] waits for SQL.
    ///
    /// # Errors
    /// As [`WriteBack::put`]; `Rejected` also if the sum of what is on its way does not fit 64 bits. A column's own range shows when
    /// SQL refuses it: a dead letter. With [`Unknown`](writeway_core::error::Outcome::Unknown) the increment may be accepted: added
    /// again, it may count twice.
    ///
    /// # Cancel safety
    /// Dropped before its end, it may or may not be accepted.
    pub async fn add(&self, key: &S::Key, by: S::Counts) -> Result<Ticket<S::Tallies>> {
        self.back.accept("add", Changes::new().put(Tally { key: key.clone(), counts: by })).await
    }

    /// Adds to several counters; increments of one key are added up. They are accepted shard by shard and flushed batch by batch: not
    /// atomically.
    ///
    /// # Errors
    /// As [`add`](Self::add); with `Unknown` also where some are accepted and others are not. `Invalid` if the sum for one key does not
    /// fit 64 bits: nothing is accepted then.
    ///
    /// # Cancel safety
    /// Dropped before its end, any of them may or may not be accepted.
    pub async fn add_many(&self, increments: impl IntoIterator<Item = (S::Key, S::Counts)> + Send) -> Result<Ticket<S::Tallies>> {
        let mut sums = BTreeMap::<S::Key, S::Counts>::new();
        for (key, by) in increments {
            let sum = match sums.remove(&key) {
                Some(before) => before.plus(&by).ok_or_else(|| self.told(too_much(), "add_many"))?,
                None => by,
            };
            sums.insert(key, sum);
        }
        let changes = sums.into_iter().map(|(key, counts)| Change::Put(Tally { key, counts }));
        self.back.accept("add_many", changes.collect()).await
    }

    /// The counters under `key`: every acknowledged increment is in it, once, but what SQL refused and was set aside. `None` if there is
    /// no row and nothing is on its way.
    ///
    /// # Errors
    /// `Unavailable` if Redis did not answer in time, or while its contents are compared with SQL: SQL lacks what is on its way, and is
    /// not asked instead. `Unavailable` or `Overloaded` if a miss could not be loaded from SQL in time. `Rejected` if increments lie there
    /// that cannot be read: of another schema version, or damaged. `Rejected` or `Invalid` also if SQL refused the statement or the
    /// key cannot be encoded. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn get(&self, key: &S::Key) -> Result<Option<S::Counts>> {
        let mut found = self.read("get", std::slice::from_ref(key)).await?;
        Ok(found.pop().flatten())
    }

    /// The counters under `keys`, in the order asked. More than 1,000 keys take several rounds.
    ///
    /// # Errors
    /// As [`get`](Self::get), for all keys or none.
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Counts>>> {
        self.read("get_many", keys).await
    }

    async fn read(&self, attempt: &'static str, keys: &[S::Key]) -> Result<Vec<Option<S::Counts>>> {
        let engine = &self.back.engine;
        engine.gate.check()?;
        let span = tracing::debug_span!("count", namespace = &*engine.name, attempt, keys = keys.len(), ended = Empty);
        within(span, self.reads.get_many(keys)).await.map_err(|e| engine.told(e, attempt))
    }

    fn told(&self, e: Error, attempt: &'static str) -> Error {
        self.back.engine.told(e, attempt)
    }

    /// As [`WriteBack::invalidate`]: what is cached of SQL, for rows that somebody changed who does not take part. Increments stay.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn invalidate(&self, keys: &[S::Key]) -> Result<()> {
        self.back.invalidate(keys).await
    }

    /// As [`WriteBack::invalidate_all`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn invalidate_all(&self) -> Result<u64> {
        self.back.invalidate_all().await
    }

    /// As [`WriteBack::durable`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn durable(&self, receipt: &Receipt) -> Result<()> {
        self.back.durable(receipt).await
    }

    /// As [`WriteBack::flush`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn flush(&self) -> Result<()> {
        self.back.flush().await
    }

    /// As [`WriteBack::stats`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn stats(&self) -> Result<Stats> {
        self.back.stats().await
    }

    /// As [`WriteBack::shutdown`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn shutdown(&self, deadline: Duration) -> Result<Drained> {
        self.back.shutdown(deadline).await
    }

    /// As [`WriteBack::dead_letters`]. A letter's change is a `Put` of what was to be added.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn dead_letters(&self, after: Option<&DeadLetter<S::Tallies>>) -> Result<Vec<DeadLetter<S::Tallies>>> {
        self.back.dead_letters(after).await
    }

    /// As [`WriteBack::redrive`], but nothing supersedes increments: they are added to those that are on their way. Of those that are
    /// [`Ambiguous`](writeway_core::journal::Reason::Ambiguous) SQL may have them already, or a part of them: driven again, they count
    /// twice.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn redrive(&self, letters: &[DeadLetter<S::Tallies>]) -> Result<Redrive> {
        self.back.redrive(letters).await
    }

    /// As [`WriteBack::redrive_all`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn redrive_all(&self) -> Result<Redrive> {
        self.back.redrive_all().await
    }

    /// As [`WriteBack::discard`]: these increments never happened.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn discard(&self, letters: &[DeadLetter<S::Tallies>]) -> Result<u64> {
        self.back.discard(letters).await
    }
}

fn too_much() -> Error {
    Error::invalid("the sum of several increments of one counter does not fit 64 bits")
}

impl<S: CountStore> Clone for Counters<S> {
    fn clone(&self) -> Self {
        Counters { back: self.back.clone(), reads: self.reads.clone() }
    }
}

impl<S: CountStore> fmt::Debug for Counters<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("namespace", &self.back.engine.name).finish_non_exhaustive()
    }
}
