//! A table whose flushes stand still at chosen moments, so that a process can die, or sleep, there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use writeway_core::cache::BoxFuture;
use writeway_core::change::{Change, Stored};
use writeway_core::error::{Error, Result};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::store::{Blame, FencedStore, Flush, Flushed, Opened, Store};

/// A moment of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The batch is claimed; SQL knows nothing of it.
    Claimed,
    /// The batch is committed; the journal knows nothing of it.
    Committed,
    /// SQL said that the batch is in effect already.
    Already,
    /// SQL said that the epoch is over.
    Superseded,
}

type Halt = dyn Fn(Moment) -> BoxFuture<'static, ()> + Send + Sync;

/// The table, with what is to happen at each moment.
#[derive(Clone)]
pub struct Halting<S> {
    table: S,
    fenced: bool,
    halt: Arc<Halt>,
}

impl<S> Halting<S> {
    /// Stands still for as long as `halt` says.
    pub fn new(table: S, halt: impl Fn(Moment) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Halting { table, fenced: true, halt: Arc::new(halt) }
    }

    /// Flushes past the fence, as a write-back without one would: what the fence is for must show then.
    #[must_use]
    pub fn fenceless(self) -> Self {
        Halting { fenced: false, ..self }
    }
}

impl<S: Store> Store for Halting<S> {
    type Key = S::Key;
    type Row = S::Row;
    type Tx = S::Tx;

    fn schema(&self) -> u32 {
        self.table.schema()
    }

    fn key(&self, row: &S::Row) -> S::Key {
        self.table.key(row)
    }

    async fn fetch(&self, keys: &[S::Key]) -> Result<Vec<S::Row>> {
        self.table.fetch(keys).await
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<S::Tx> {
        self.table.begin(commit_within).await
    }

    async fn apply_in(&self, tx: &mut S::Tx, changes: &[Change<S::Key, S::Row>]) -> Result<Vec<Stored<S::Row>>> {
        self.table.apply_in(tx, changes).await
    }
}

impl<S: FencedStore> FencedStore for Halting<S> {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        self.table.prepare(namespace, shards, migrate).await
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        self.table.open(shard, log).await
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<S::Key, S::Row>]) -> Result<Flushed<S::Row>> {
        (self.halt)(Moment::Claimed).await;
        let flushed = if self.fenced {
            self.table.flush(flush, changes).await?
        } else {
            Flushed::Applied(self.table.apply(changes).await?)
        };
        let moment = match &flushed {
            Flushed::Applied(_) => Moment::Committed,
            Flushed::Already => Moment::Already,
            Flushed::Superseded => Moment::Superseded,
        };
        (self.halt)(moment).await;
        Ok(flushed)
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        self.table.probe(at, within).await
    }

    fn blame(&self, error: &Error) -> Blame {
        self.table.blame(error)
    }
}

impl<S: fmt::Debug> fmt::Debug for Halting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Halting").field("table", &self.table).field("fenced", &self.fenced).finish_non_exhaustive()
    }
}
