//! An open transaction, and the one place where a commit is asked for.
//!
//! 1. The transaction is exactly the one that was opened: diesel's view says depth 1, else it is not committed.
//! 2. [`SqlConnection::commit`] is one batch which the server answers with an error unless it committed.
//! 3. An answer "done" is the commit. An answer that can only mean a refusal is `NotApplied`.
//! 4. After any other error the same connection is asked to roll back a transaction that is still open. If it could, nothing
//!    was committed: `NotApplied`. If it could not (the connection is lost, no transaction is open), the outcome is `Unknown`.
//!
//! Until the server has answered, diesel's view says that a transaction is open, so that a connection which is let go anywhere
//! in between (a dropped future, a panic) is closed by the pool, and the server rolls back.

use tokio::sync::OwnedSemaphorePermit;

use super::classify::{Standing, classify};
use super::connection::{Pooled, SqlConnection, condemn, depth, left};
use crate::error::{Error, Outcome, Result};
use crate::store::Transaction;

/// An open transaction on one connection of the pool, for all tables of that connection type.
///
/// Dropped without [`commit`](Transaction::commit), it is rolled back and its connection closed.
pub struct SqlTx<C: SqlConnection> {
    conn: Pooled<C>,
    /// Where there is one writer. Given back after the connection.
    _turn: Option<OwnedSemaphorePermit>,
}

impl<C: SqlConnection> SqlTx<C> {
    pub(super) fn new(conn: Pooled<C>, turn: Option<OwnedSemaphorePermit>) -> Self {
        SqlTx { conn, _turn: turn }
    }

    /// The connection, for the application's own statements. Nested transactions are diesel's (`conn.transaction(…)`).
    ///
    /// The transaction itself is ended by [`commit`](Transaction::commit) alone: one that was ended here with SQL of one's own
    /// is answered there with `Invalid` and `Unknown`, except where another was begun in its place, which is not noticed.
    pub fn connection(&mut self) -> &mut C {
        &mut self.conn
    }
}

impl<C: SqlConnection> std::fmt::Debug for SqlTx<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlTx")
    }
}

impl<C: SqlConnection> Transaction for SqlTx<C> {
    async fn commit(mut self) -> Result<()> {
        let conn = &mut *self.conn;
        match depth(conn) {
            Ok(Some(depth)) if depth.get() == 1 => {}
            Ok(Some(_)) => {
                self.rollback().await;
                return Err(Error::invalid("a nested transaction was left open, so nothing is committed"));
            }
            Ok(None) => {
                condemn(conn);
                return Err(ended_before());
            }
            Err(cause) => return Err(classify(&cause).into_error(cause)),
        }
        match C::commit(conn).await {
            Ok(()) => {
                left(conn);
                Ok(())
            }
            Err(cause) => Err(refused(conn, cause).await),
        }
    }

    async fn rollback(mut self) {
        let conn = &mut *self.conn;
        // In diesel's view something went wrong before: closing is the safe way to roll back.
        if depth(conn).is_ok() && conn.batch_execute("ROLLBACK").await.is_ok() {
            left(conn);
        }
    }
}

/// Steps 3 and 4: what became of a commit that was answered with an error.
async fn refused<C: SqlConnection>(conn: &mut C, cause: diesel::result::Error) -> Error {
    let fault = classify(&cause);
    let certain = fault.standing == Standing::Refused;
    let rollback = if certain { "ROLLBACK" } else { C::ROLLBACK_OPEN };
    let rolled_back = conn.batch_execute(rollback).await.is_ok();
    if rolled_back && fault.standing != Standing::Lost {
        left(conn);
    } else {
        condemn(conn);
    }
    let outcome = if certain || rolled_back { Outcome::NotApplied } else { Outcome::Unknown };
    fault.into_error(cause).with_outcome(outcome)
}

fn ended_before() -> Error {
    Error::invalid("the transaction was ended through its connection, not by `commit`").with_outcome(Outcome::Unknown)
}
