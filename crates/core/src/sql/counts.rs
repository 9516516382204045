//! Tables of counters: described by the application, taken by the flusher as rows whose `Put` adds.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error as Diesel};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::classify::{NO_ROW, Standing, classify};
use super::connection::{SqlConnection, attempts, checkout, condemn, entered};
use super::fence::Bookkeeping;
use super::plan::asked_for;
use super::pools::Pools;
use super::store::Sql;
use super::table::SqlTable;
use super::transaction::SqlTx;
use crate::counts::{CountStore, Counts, Snapshot, Tally};
use crate::error::{Error, Result};
use crate::journal::Shard;
use crate::key::Key;
use crate::store::Transaction as _;

/// A table of counters, in plain diesel on one concrete connection type.
///
/// ```
/// # #[cfg(feature = "postgres")]
/// # mod example {
/// use diesel::prelude::*;
/// use diesel_async::{AsyncPgConnection, RunQueryDsl};
/// use writeway_core::sql::{CountTable, Pool, SqlCounts};
/// # use writeway_core::diesel;
///
/// diesel::table! { post_counts (id) { id -> BigInt, likes -> BigInt, views -> BigInt, } }
///
/// #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, Queryable, Selectable)]
/// #[diesel(table_name = post_counts)]
/// pub struct PostCounts { likes: i64, views: i64 }
///
/// writeway_core::counts!(PostCounts { likes, views });
/// writeway_core::bulk_add!(add_counts on post_counts: (i64, PostCounts) { key [id], add [likes, views] });
///
/// pub struct Posts;
/// impl CountTable for Posts {
///     type Connection = AsyncPgConnection;
///     type Key = i64;
///     type Counts = PostCounts;
///     async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<(i64, PostCounts)>> {
///         let rows = post_counts::table.filter(post_counts::id.eq_any(keys));
///         rows.select((post_counts::id, PostCounts::as_select())).load(conn).await
///     }
///     async fn add(conn: &mut AsyncPgConnection, increments: &[(i64, PostCounts)]) -> QueryResult<Vec<(i64, PostCounts)>> {
///         add_counts(conn, increments).await
///     }
/// }
///
/// pub fn store(pool: Pool<AsyncPgConnection>) -> SqlCounts<Posts> { SqlCounts::new(pool) }
/// # }
/// ```
///
/// It may be a part of the columns of a table whose other columns another namespace caches as rows. The functions are called with
/// at least one key, each at most once, in key order. What panics or is dropped in them costs its connection, nothing else.
pub trait CountTable: Send + Sync + 'static {
    /// The version of the fields' meaning, raised by hand whenever there are others; a release leaves the increments of a later one
    /// to those that know it. Default 0.
    const SCHEMA: u32 = 0;

    /// The connection of the pool.
    type Connection: SqlConnection;
    /// The primary key. Its equality must be SQL's.
    type Key: Key + Serialize + DeserializeOwned;
    /// The counters.
    type Counts: Counts;

    /// The counters of the rows that exist among `keys`, in any order. Reads only: it is repeated when it meets a dead connection.
    ///
    /// # Errors
    /// diesel's, as they come.
    fn fetch(
        conn: &mut Self::Connection,
        keys: &[Self::Key],
    ) -> impl Future<Output = QueryResult<Vec<(Self::Key, Self::Counts)>>> + Send;

    /// Adds to each row, and returns those rows as they then stand: what [`bulk_add!`](crate::bulk_add) does.
    ///
    /// What becomes of increments whose row is missing is decided here: an upsert makes it; an `UPDATE` does not return it, and then
    /// they are refused, as after a violated foreign key: nothing of their batch is in effect, the others land without them, and they
    /// become a dead letter if the row does not come meanwhile.
    ///
    /// # Errors
    /// diesel's, as they come.
    fn add(
        conn: &mut Self::Connection,
        increments: &[(Self::Key, Self::Counts)],
    ) -> impl Future<Output = QueryResult<Vec<(Self::Key, Self::Counts)>>> + Send;
}

/// A table of counters on the application's own pool. Cheap to clone.
///
/// # Cancel safety
/// Every future may be dropped anywhere.
pub struct SqlCounts<T: CountTable> {
    pools: Pools<T::Connection>,
    table: PhantomData<fn() -> T>,
}

impl<T: CountTable> SqlCounts<T> {
    /// The table `T` on a pool, which must lead to the primary, or on the [`Pools`] of a database. No I/O is done.
    #[must_use]
    pub fn new(pools: impl Into<Pools<T::Connection>>) -> Self {
        SqlCounts { pools: pools.into(), table: PhantomData }
    }
}

/// A table of counters as rows whose `upsert` adds: what the handle of counters works with, and nothing else should.
#[derive(Debug)]
pub struct Tallies<T>(PhantomData<fn() -> T>);

impl<T: CountTable> SqlTable for Tallies<T> {
    const SCHEMA: u32 = T::SCHEMA;

    type Connection = T::Connection;
    type Key = T::Key;
    type Row = Tally<T::Key, T::Counts>;

    fn key(row: &Self::Row) -> T::Key {
        row.key.clone()
    }

    async fn fetch(conn: &mut T::Connection, keys: &[T::Key]) -> QueryResult<Vec<Self::Row>> {
        T::fetch(conn, keys).await.map(tallies)
    }

    async fn upsert(conn: &mut T::Connection, rows: &[Self::Row]) -> QueryResult<Vec<Self::Row>> {
        let increments: Vec<_> = rows.iter().map(|row| (row.key.clone(), row.counts.clone())).collect();
        let rows = T::add(conn, &increments).await?;
        // An increment that went nowhere must not pass for one that is in effect.
        if rows.len() < increments.len() {
            return Err(Diesel::DatabaseError(DatabaseErrorKind::Unknown, Box::new(NO_ROW.to_owned())));
        }
        Ok(tallies(rows))
    }

    async fn remove(_: &mut T::Connection, _: &[T::Key]) -> QueryResult<usize> {
        Err(Diesel::QueryBuilderError("counters are not removed".into()))
    }
}

fn tallies<K, C>(rows: Vec<(K, C)>) -> Vec<Tally<K, C>> {
    rows.into_iter().map(|(key, counts)| Tally { key, counts }).collect()
}

impl<T: CountTable<Connection: Bookkeeping>> CountStore for SqlCounts<T> {
    type Key = T::Key;
    type Counts = T::Counts;
    type Tallies = Sql<Tallies<T>>;

    fn tallies(&self) -> Sql<Tallies<T>> {
        Sql::new(self.pools.clone())
    }

    async fn fetch_at(&self, shards: &[Shard], keys: &[T::Key]) -> Result<Snapshot<T::Key, T::Counts>> {
        let mut left = attempts::<T::Connection>(self.pools.readers());
        loop {
            let conn = checkout::<T::Connection>(self.pools.readers()).await?;
            let mut tx = SqlTx::<T::Connection>::new(conn, None);
            let cause = match snapshot::<T>(tx.connection(), shards, keys).await {
                Ok((fences, rows)) => {
                    tx.rollback().await;
                    let rows = asked_for(keys, rows, |(key, _)| key.clone())?;
                    return Ok(Snapshot { batches: batches(shards, &fences)?, rows });
                }
                Err(cause) => cause,
            };
            let fault = classify(&cause);
            if fault.standing == Standing::Lost {
                condemn(tx.connection());
                left -= 1;
            } else {
                tx.rollback().await;
            }
            if fault.standing != Standing::Lost || left == 0 {
                return Err(fault.into_error(cause));
            }
        }
    }
}

/// The fences, by shard, and the rows, in one snapshot.
async fn snapshot<T: CountTable<Connection: Bookkeeping>>(
    conn: &mut T::Connection,
    shards: &[Shard],
    keys: &[T::Key],
) -> QueryResult<(Vec<(i32, i64)>, Vec<(T::Key, T::Counts)>)> {
    entered(conn)?;
    Ok((T::Connection::snapshot(conn, shards).await?, T::fetch(conn, keys).await?))
}

/// In the order of the shards.
fn batches(shards: &[Shard], fences: &[(i32, i64)]) -> Result<Vec<u64>> {
    let batch = |shard: &Shard| {
        let found = fences.iter().find(|(number, _)| *number == i32::from(shard.number));
        let batch = found.and_then(|(_, batch)| u64::try_from(*batch).ok());
        batch.ok_or_else(|| {
            Error::invalid("the table writeway_fence was changed by somebody: a shard has no fence, or a wrong one")
        })
    };
    shards.iter().map(batch).collect()
}

impl<T: CountTable> Clone for SqlCounts<T> {
    fn clone(&self) -> Self {
        SqlCounts { pools: self.pools.clone(), table: PhantomData }
    }
}

impl<T: CountTable> fmt::Debug for SqlCounts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqlCounts")
    }
}
