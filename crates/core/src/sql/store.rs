//! [`Store`] over a table and a pool.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection;

use super::classify::{Standing, classify};
use super::connection::{Opening, SqlConnection, attempts, checkout, condemn, entered};
use super::plan::{Plan, asked_for};
use super::pools::Pools;
use super::table::SqlTable;
use super::transaction::SqlTx;
use crate::change::{Change, Stored};
use crate::error::{Outcome, Result};
use crate::store::{Store, Transaction};

/// A table of the application, on the application's own pool. Cheap to clone.
///
/// A pool of at least two connections is needed where a read is made while one's own transaction is open. Waiting for a
/// connection ends with the pool's `connection_timeout` (bb8's default is 30 s), or with the caller's deadline, which drops the
/// future. `RecyclingMethod::Fast` is safe: a dead connection is noticed, and what is harmless to repeat (reads, `BEGIN`) is
/// repeated on another one, at most once more than the pool has connections.
///
/// # Cancel safety
/// Every future may be dropped anywhere. A connection in a transaction is then closed, never used again half-way.
pub struct Sql<T: SqlTable> {
    pools: Pools<T::Connection>,
    table: PhantomData<fn() -> T>,
}

impl<T: SqlTable> Sql<T> {
    /// The table `T` on a pool, which must lead to the primary, or on the [`Pools`] of a database. No I/O is done.
    #[must_use]
    pub fn new(pools: impl Into<Pools<T::Connection>>) -> Self {
        Sql { pools: pools.into(), table: PhantomData }
    }

    /// Both kinds in a transaction, or one whose functions may send several statements.
    async fn in_transaction(&self, changes: &[Change<T::Key, T::Row>]) -> Result<Vec<Stored<T::Row>>> {
        let mut tx = self.begin(None).await?;
        match self.apply_in(&mut tx, changes).await {
            Ok(stored) => tx.commit().await.map(|()| stored),
            Err(e) => {
                tx.rollback().await;
                Err(e)
            }
        }
    }

    /// One statement that commits by itself.
    async fn autocommit(&self, plan: &Plan<T::Key, T::Row>, changes: &[Change<T::Key, T::Row>]) -> Result<Vec<Stored<T::Row>>> {
        let mut conn = checkout::<T::Connection>(self.pools.writers()).await?;
        match plan.run::<T>(&mut conn).await {
            // By now the change is committed: what cannot be made sense of does not undo it.
            Ok(answer) => plan.stored(changes, answer, T::key).map_err(|e| e.with_outcome(Outcome::Applied)),
            Err(cause) => {
                let fault = classify(&cause);
                let settled = match fault.standing {
                    Standing::Refused => true,
                    // A server that ends the session says so with an error too, perhaps after the commit. One that still
                    // answers on the same connection has refused the statement, no more.
                    Standing::Answered | Standing::Lost => conn.batch_execute("ROLLBACK").await.is_ok(),
                    Standing::OurSide => false,
                };
                if !settled || fault.standing == Standing::Lost {
                    condemn(&mut *conn);
                }
                let outcome = if settled { Outcome::NotApplied } else { Outcome::Unknown };
                Err(fault.into_error(cause).with_outcome(outcome))
            }
        }
    }
}

impl<T: SqlTable> Store for Sql<T> {
    type Key = T::Key;
    type Row = T::Row;
    type Tx = SqlTx<T::Connection>;

    fn schema(&self) -> u32 {
        T::SCHEMA
    }

    fn key(&self, row: &T::Row) -> T::Key {
        T::key(row)
    }

    async fn fetch(&self, keys: &[T::Key]) -> Result<Vec<T::Row>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut left = attempts::<T::Connection>(self.pools.readers());
        loop {
            let mut conn = checkout::<T::Connection>(self.pools.readers()).await?;
            let cause = match T::fetch(&mut conn, keys).await {
                Ok(rows) => return asked_for(keys, rows, T::key),
                Err(cause) => cause,
            };
            let fault = classify(&cause);
            if fault.standing == Standing::Lost {
                condemn(&mut *conn);
                left -= 1;
            }
            if fault.standing != Standing::Lost || left == 0 {
                return Err(fault.into_error(cause));
            }
        }
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<SqlTx<T::Connection>> {
        let mut turn = self.pools.turn().await;
        let mut left_to_try = attempts::<T::Connection>(self.pools.writers());
        loop {
            let mut conn = checkout::<T::Connection>(self.pools.writers()).await?;
            let cause = match opened(&mut *conn, commit_within).await {
                Ok(()) => return Ok(SqlTx::new(conn, turn.take())),
                Err(Opening::Refused(e)) => {
                    SqlTx::<T::Connection>::new(conn, turn.take()).rollback().await;
                    return Err(e);
                }
                Err(Opening::Failed(cause)) => cause,
            };
            condemn(&mut *conn);
            let fault = classify(&cause);
            left_to_try -= 1;
            if fault.standing != Standing::Lost || left_to_try == 0 {
                return Err(fault.into_error(cause));
            }
        }
    }

    async fn apply_in(&self, tx: &mut SqlTx<T::Connection>, changes: &[Change<T::Key, T::Row>]) -> Result<Vec<Stored<T::Row>>> {
        let plan = Plan::of(changes);
        match plan.run::<T>(tx.connection()).await {
            Ok(answer) => plan.stored(changes, answer, T::key),
            Err(cause) => {
                let fault = classify(&cause);
                if fault.standing == Standing::Lost {
                    condemn(tx.connection());
                }
                Err(fault.into_error(cause))
            }
        }
    }

    async fn apply(&self, changes: &[Change<T::Key, T::Row>]) -> Result<Vec<Stored<T::Row>>> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let plan = Plan::of(changes);
        if T::Connection::AUTOCOMMIT && T::ONE_STATEMENT && plan.is_one_kind() {
            self.autocommit(&plan, changes).await
        } else {
            self.in_transaction(changes).await
        }
    }
}

async fn opened<C: SqlConnection>(conn: &mut C, commit_within: Option<Duration>) -> std::result::Result<(), Opening> {
    entered(conn).map_err(Opening::Failed)?;
    C::open(conn, commit_within).await
}

impl<T: SqlTable> Clone for Sql<T> {
    fn clone(&self) -> Self {
        Sql { pools: self.pools.clone(), table: PhantomData }
    }
}

impl<T: SqlTable> fmt::Debug for Sql<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sql")
    }
}
