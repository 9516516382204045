//! Tables in the process with troubles of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use writeway_back::change::{Change, Stored};
use writeway_back::error::{Error, Result};
use writeway_back::store::{FencedStore, Flush, Flushed, Opened, Store};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::memory::MemoryTx;

use crate::{Row, Table, table};

/// A table whose flushes fail as told, by their number.
#[derive(Clone)]
pub(crate) struct Troubled {
    pub(crate) table: Table,
    pub(crate) fails: fn(u64) -> Result<()>,
    pub(crate) flushes: Arc<AtomicU64>,
    pub(crate) applied: Arc<AtomicU64>,
    pub(crate) lose_answers: Arc<AtomicU64>,
    pub(crate) healed: Arc<AtomicU64>,
}

impl Troubled {
    pub(crate) fn new(fails: fn(u64) -> Result<()>) -> Self {
        let zero = Arc::<AtomicU64>::default;
        Troubled { table: table(), fails, flushes: zero(), applied: zero(), lose_answers: zero(), healed: zero() }
    }

    pub(crate) fn heal(&self) {
        self.healed.store(1, SeqCst);
    }
}

impl Store for Troubled {
    type Key = i64;
    type Row = Row;
    type Tx = MemoryTx;

    fn key(&self, row: &Row) -> i64 {
        row.0
    }

    async fn fetch(&self, keys: &[i64]) -> Result<Vec<Row>> {
        self.table.fetch(keys).await
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<MemoryTx> {
        self.table.begin(commit_within).await
    }

    async fn apply_in(&self, tx: &mut MemoryTx, changes: &[Change<i64, Row>]) -> Result<Vec<Stored<Row>>> {
        self.table.apply_in(tx, changes).await
    }
}

impl FencedStore for Troubled {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        self.table.prepare(namespace, shards, migrate).await
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        self.table.open(shard, log).await
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<i64, Row>]) -> Result<Flushed<Row>> {
        if self.healed.load(SeqCst) == 0 {
            (self.fails)(self.flushes.fetch_add(1, SeqCst))?;
        }
        let flushed = self.table.flush(flush, changes).await?;
        self.applied.fetch_add(u64::from(matches!(flushed, Flushed::Applied(_))), SeqCst);
        if self.lose_answers.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Error::unknown("no answer to commit"));
        }
        Ok(flushed)
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        self.table.probe(at, within).await
    }
}

/// The same table, its rows with another meaning.
#[derive(Clone)]
pub(crate) struct Newer(pub(crate) Table);

impl Store for Newer {
    type Key = i64;
    type Row = Row;
    type Tx = MemoryTx;

    fn schema(&self) -> u32 {
        1
    }

    fn key(&self, row: &Row) -> i64 {
        row.0
    }

    async fn fetch(&self, keys: &[i64]) -> Result<Vec<Row>> {
        self.0.fetch(keys).await
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<MemoryTx> {
        self.0.begin(commit_within).await
    }

    async fn apply_in(&self, tx: &mut MemoryTx, changes: &[Change<i64, Row>]) -> Result<Vec<Stored<Row>>> {
        self.0.apply_in(tx, changes).await
    }
}

impl FencedStore for Newer {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        self.0.prepare(namespace, shards, migrate).await
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        self.0.open(shard, log).await
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<i64, Row>]) -> Result<Flushed<Row>> {
        self.0.flush(flush, changes).await
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        self.0.probe(at, within).await
    }
}

/// A table that tells who holds it.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) table: Table,
    pub(crate) _alive: Arc<()>,
}

impl Store for Watched {
    type Key = i64;
    type Row = Row;
    type Tx = MemoryTx;

    fn key(&self, row: &Row) -> i64 {
        row.0
    }

    async fn fetch(&self, keys: &[i64]) -> Result<Vec<Row>> {
        self.table.fetch(keys).await
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<MemoryTx> {
        self.table.begin(commit_within).await
    }

    async fn apply_in(&self, tx: &mut MemoryTx, changes: &[Change<i64, Row>]) -> Result<Vec<Stored<Row>>> {
        self.table.apply_in(tx, changes).await
    }
}

impl FencedStore for Watched {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        self.table.prepare(namespace, shards, migrate).await
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        self.table.open(shard, log).await
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<i64, Row>]) -> Result<Flushed<Row>> {
        self.table.flush(flush, changes).await
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        self.table.probe(at, within).await
    }
}
