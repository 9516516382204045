//! A table of counters in the simulated database: a cell to which is added.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_core::change::{Change, Stored};
use writeway_core::counts;
use writeway_core::counts::{CountStore, Snapshot, Tally};
use writeway_core::error::Result;
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::store::{FencedStore, Flush, Flushed, Opened, Store as StorePort};

use super::store::{Cell, Store, Tx};

/// What every simulated counter counts.
///
/// Give each increment of one key in a scenario a hexadecimal digit of its own, 1 in it: `0x1`, `0x10`, `0x100`. Every sum says
/// then how often each of them is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Likes {
    /// So many.
    pub likes: i64,
}

counts!(Likes { likes });

/// A simulated table of counters. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Counts(Store);

impl Counts {
    pub(super) fn new(cells: Store) -> Self {
        Counts(cells.adding())
    }

    /// The table refuses sums in which one of these increments is, each so often as it says.
    #[must_use]
    pub fn refusing(self, poison: &[(u64, usize)]) -> Self {
        Counts(self.0.refusing(poison))
    }

    /// The same as cells: to witness what is asked of it, and for what it holds.
    #[must_use]
    pub fn cells(&self) -> &Store {
        &self.0
    }
}

/// A cell as it is counted.
#[must_use]
pub fn tally(cell: Cell) -> Tally<u32, Likes> {
    Tally { key: cell.key, counts: Likes { likes: cell.value.cast_signed() } }
}

/// The reverse.
#[must_use]
pub fn cell(key: u32, counts: Likes) -> Cell {
    Cell { key, value: counts.likes.cast_unsigned() }
}

fn cells(changes: &[Change<u32, Tally<u32, Likes>>]) -> Vec<Change<u32, Cell>> {
    let of = |change: &Change<u32, Tally<u32, Likes>>| match change {
        Change::Put(by) => Change::Put(cell(by.key, by.counts)),
        Change::Delete(key) => Change::Delete(*key),
    };
    changes.iter().map(of).collect()
}

fn tallies(stored: Vec<Stored<Cell>>) -> Vec<Stored<Tally<u32, Likes>>> {
    let of = |stored| match stored {
        Stored::As(cell) => Stored::As(tally(cell)),
        Stored::Gone => Stored::Gone,
        Stored::Unread => Stored::Unread,
    };
    stored.into_iter().map(of).collect()
}

impl StorePort for Counts {
    type Key = u32;
    type Row = Tally<u32, Likes>;
    type Tx = Tx;

    fn key(&self, row: &Self::Row) -> u32 {
        row.key
    }

    async fn fetch(&self, keys: &[u32]) -> Result<Vec<Self::Row>> {
        Ok(self.0.fetch(keys).await?.into_iter().map(tally).collect())
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<Tx> {
        self.0.begin(commit_within).await
    }

    async fn apply_in(&self, tx: &mut Tx, changes: &[Change<u32, Self::Row>]) -> Result<Vec<Stored<Self::Row>>> {
        self.0.apply_in(tx, &cells(changes)).await.map(tallies)
    }
}

impl FencedStore for Counts {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        self.0.prepare(namespace, shards, migrate).await
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        self.0.open(shard, log).await
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<u32, Self::Row>]) -> Result<Flushed<Self::Row>> {
        Ok(match self.0.flush(flush, &cells(changes)).await? {
            Flushed::Applied(stored) => Flushed::Applied(tallies(stored)),
            Flushed::Already => Flushed::Already,
            Flushed::Superseded => Flushed::Superseded,
        })
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        self.0.probe(at, within).await
    }
}

impl CountStore for Counts {
    type Key = u32;
    type Counts = Likes;
    type Tallies = Self;

    fn tallies(&self) -> Self {
        self.clone()
    }

    async fn fetch_at(&self, shards: &[Shard], keys: &[u32]) -> Result<Snapshot<u32, Likes>> {
        let (batches, rows) = self.0.snapshot(shards, keys).await?;
        Ok(Snapshot { batches, rows: rows.into_iter().map(|row| (row.key, tally(row).counts)).collect() })
    }
}
