//! Ours.

use std::time::Duration;

use anyhow::{Context, Result};
use writeway_around::WriteAround;
use writeway_back::{Counters, WriteBack};
use writeway_core::change::Written;
use writeway_core::sql::{Pools, Sql, SqlCounts};
use writeway_through::WriteThrough;

use super::{Commit, Done, TIME_TO_LIVE};
use crate::place::Place;
use crate::table::{Amount, Connection, Entries, Row};

impl Done {
    fn of(written: Written<Row>) -> Result<Self> {
        let row = written.row.context("the write returned no row")?;
        Ok(Done { version: row.version, effect: Some(written.cache) })
    }
}

/// Strict writes are transactions in any case.
pub(super) async fn write_through<T: Entries>(to: &WriteThrough<Sql<T>>, row: Row, commit: Commit) -> Result<Done> {
    if commit != Commit::Increment {
        return Done::of(to.put(row).await?);
    }
    let mut tx = to.begin().await?;
    let row = one(T::increment(tx.transaction().connection(), row.id).await?)?;
    to.publish(&mut tx, &row);
    Ok(Done { version: row.version, effect: Some(tx.commit().await?) })
}

fn one(rows: Vec<Row>) -> Result<Row> {
    rows.into_iter().next().context("the write returned no row")
}

/// Write-back, and a look at what is in SQL.
pub(crate) struct Back<T: Entries> {
    pub(super) handle: WriteBack<Sql<T>>,
    pub(super) pools: Pools<Connection<T>>,
}

/// Write-back, with its defaults. A server is the run's, not ours to have an append-only file.
pub(crate) async fn back<P: Place>(place: &P, namespace: &str) -> Result<Back<P::Table>> {
    let builder = WriteBack::builder(place.store()).namespace(namespace).time_to_live(TIME_TO_LIVE);
    let handle = builder.migrate().allow_volatile_changes().build(place.journal().await?).await?;
    Ok(Back { handle, pools: place.pools().clone() })
}

/// SQL numbers the row later: that it exists is all that is known of it.
pub(super) async fn put_back<T: Entries>(to: &WriteBack<Sql<T>>, row: Row) -> Result<Done> {
    let _ticket = to.put(row).await?;
    Ok(Done { version: 1, effect: None })
}

/// Counters over the amounts.
pub(crate) struct Likes<T: Entries> {
    pub(super) handle: Counters<SqlCounts<T::Counted>>,
    pools: Pools<Connection<T>>,
}

/// Fewer batches than by default, each with more increments: readers count what is on its way, so SQL may lag.
pub(crate) const LIKES: (u16, Duration) = (4, Duration::from_secs(1));

/// Counters, where rows would be [`back`].
pub(crate) async fn likes<P: Place>(place: &P, namespace: &str) -> Result<Likes<P::Table>> {
    let (pools, (shards, max_delay)) = (place.pools().clone(), LIKES);
    let builder = Counters::builder(SqlCounts::new(pools.clone())).namespace(namespace).time_to_live(TIME_TO_LIVE);
    let builder = builder.shards(shards).max_delay(max_delay).migrate().allow_volatile_changes();
    Ok(Likes { handle: builder.build(place.journal().await?).await?, pools })
}

impl<T: Entries> Likes<T> {
    pub(super) async fn like(&self, id: i64) -> Result<Done> {
        let _ticket = self.handle.add(&id, Amount { amount: 1 }).await?;
        Ok(Done { version: 1, effect: None })
    }

    /// Of the row, what is counted.
    pub(super) async fn read(&self, id: i64) -> Result<Option<Row>> {
        let counted = self.handle.get(&id).await?;
        Ok(counted.map(|Amount { amount }| Row { id, amount, note: String::new(), version: 1 }))
    }

    pub(super) async fn agrees_with_sql(&self, id: i64) -> Result<bool> {
        let committed = T::select(&mut *self.pools.readers().get().await?, id).await?;
        Ok(self.handle.get(&id).await?.map(|counted| counted.amount) == committed.map(|row| row.amount))
    }
}

/// Write-around, strict or not.
pub(crate) struct Around<T: Entries> {
    pub(super) handle: WriteAround<Sql<T>>,
    pub(super) strict: bool,
}

impl<T: Entries> Around<T> {
    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        if commit == Commit::Statement || self.strict && commit == Commit::Transaction {
            return Done::of(self.handle.put(row).await?);
        }
        // An eventual `put` is one autocommit statement; where a transaction is asked for, it gets one like everybody else. What is no
        // put is the application's own statement, in a transaction in any case.
        let mut tx = self.handle.begin().await?;
        let conn = tx.transaction().connection();
        let row =
            one(if commit == Commit::Increment { T::increment(conn, row.id).await? } else { T::upsert(conn, &[row]).await? })?;
        self.handle.touch(&mut tx, &row.id);
        Ok(Done { version: row.version, effect: Some(tx.commit().await?) })
    }
}
