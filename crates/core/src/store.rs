//! The SQL side: the system of record. Plural, and no I/O type in sight.

use std::future::Future;
use std::time::Duration;

use crate::change::{Change, Stored};
use crate::codec::Row;
use crate::error::Result;
use crate::key::Key;

/// One table of the system of record.
pub trait Store: Clone + Send + Sync + 'static {
    /// Its primary key.
    type Key: Key;
    /// Its rows.
    type Row: Row;
    /// An open transaction; all tables of one database share the type, so one transaction can hold several tables' changes.
    type Tx: Transaction;

    /// The version of the row's meaning; bytes cached under another version are a miss.
    fn schema(&self) -> u32 {
        0
    }

    /// The key of a row.
    fn key(&self, row: &Self::Row) -> Self::Key;

    /// The rows that exist among `keys`, in any order, by new statements on the primary, outside any transaction.
    ///
    /// # Errors
    /// `Unavailable` and `Rejected`, always with `NotApplied`.
    fn fetch(&self, keys: &[Self::Key]) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// Opens a transaction. With `commit_within`, only on a connection whose server ends a stalled statement, lock wait or idle
    /// transaction sooner than that: a strict write's COMMIT must not land after its barrier has lapsed.
    ///
    /// # Errors
    /// `Invalid` if the server's time-outs are missing or too long, else as [`fetch`](Store::fetch).
    fn begin(&self, commit_within: Option<Duration>) -> impl Future<Output = Result<Self::Tx>> + Send;

    /// Runs the changes, given in key order and at most one per key, and holds their row locks until the end of the
    /// transaction. One [`Stored`] per change.
    ///
    /// # Errors
    /// `Rejected` if SQL refuses a change, else as [`fetch`](Store::fetch); the transaction can then only be rolled back.
    fn apply_in(
        &self,
        tx: &mut Self::Tx,
        changes: &[Change<Self::Key, Self::Row>],
    ) -> impl Future<Output = Result<Vec<Stored<Self::Row>>>> + Send;

    /// For eventual mode: apply and commit at once. An adapter may use one autocommit statement.
    ///
    /// # Errors
    /// As [`apply_in`](Store::apply_in) and [`Transaction::commit`].
    fn apply(&self, changes: &[Change<Self::Key, Self::Row>]) -> impl Future<Output = Result<Vec<Stored<Self::Row>>>> + Send {
        async move {
            let mut tx = self.begin(None).await?;
            match self.apply_in(&mut tx, changes).await {
                Ok(stored) => tx.commit().await.map(|()| stored),
                Err(e) => {
                    tx.rollback().await;
                    Err(e)
                }
            }
        }
    }
}

/// An open transaction. Dropped without [`commit`](Transaction::commit), it is rolled back.
pub trait Transaction: Send + 'static {
    /// Commits.
    ///
    /// # Errors
    /// The outcome says `NotApplied` or `Unknown`, never a guess.
    ///
    /// # Cancel safety
    /// Dropped before its end, the outcome is unknown.
    fn commit(self) -> impl Future<Output = Result<()>> + Send;

    /// Rolls back, so that the connection can be used again; what fails here is rolled back by the server.
    fn rollback(self) -> impl Future<Output = ()> + Send;
}
