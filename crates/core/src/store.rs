//! The SQL side: the system of record. Plural, and no I/O type in sight.

use std::future::Future;
use std::time::Duration;

use crate::cache::Bytes;
use crate::change::{Change, Stored};
use crate::codec::Row;
use crate::error::{Error, Kind, Result};
use crate::journal::{At, BatchId, Shard};
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

/// What write-back needs of a store besides: the fence and the batch log, kept in the same database as the rows.
///
/// **Invariant.** A batch is in effect at most once, and never after the shard was opened by somebody else: the one row of a
/// shard's fence is read and written in the transaction of every flush.
pub trait FencedStore: Store {
    /// Makes sure that the bookkeeping is there, with so many shards unless the namespace has been opened before. Tells the epoch of
    /// each shard that it has. With `migrate`, creates the tables first.
    ///
    /// # Errors
    /// `Invalid` if the tables are missing, with the SQL file to run.
    fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> impl Future<Output = Result<Vec<u64>>> + Send;

    /// Raises the fence's epoch by one, and says what SQL knows; with `log`, the batch log too, from the last entry that is neither
    /// after that batch nor of a later epoch, read by a later statement of the same transaction: no batch of an earlier epoch lands after it. Waits for
    /// a flush that is under way.
    ///
    /// # Errors
    /// As [`fetch`](Store::fetch).
    fn open(&self, shard: &Shard, log: Option<BatchId>) -> impl Future<Output = Result<Opened>> + Send;

    /// In one transaction: checks and sets the fence, runs the changes, given in key order and at most one per key, notes the
    /// batch in the log under `keys`, trims the log, commits.
    ///
    /// # Errors
    /// As [`apply_in`](Store::apply_in) and [`Transaction::commit`]. After any of them the same batch may be tried again.
    fn flush(
        &self,
        flush: &Flush<'_>,
        changes: &[Change<Self::Key, Self::Row>],
    ) -> impl Future<Output = Result<Flushed<Self::Row>>> + Send;

    /// Writes the shard's fence as it is, in a transaction like that of a flush: SQL takes writes. False if the shard was opened by
    /// somebody else since.
    ///
    /// # Errors
    /// As [`flush`](FencedStore::flush).
    fn probe(&self, at: &At, within: Option<Duration>) -> impl Future<Output = Result<bool>> + Send;

    /// Whose fault it is that a flush failed.
    fn blame(&self, error: &Error) -> Blame {
        Blame::by_kind(error.kind())
    }
}

/// Whose fault a failed flush is: what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// A row's: SQL refuses it, whenever it is sent. It is looked for by halving the batch, and set aside after a few tries alone.
    Row,
    /// A row's, but it may pass when another row has come or gone: a foreign key. As [`Row`](Blame::Row), with more patience.
    Parent,
    /// The table's, or the application's rights or code: whatever is sent fails. Everything is kept and tried again.
    Table,
    /// The server's, or that of what is between: it passes by itself. Everything is kept and tried again.
    Server,
}

impl Blame {
    /// What an error's kind says of it.
    #[must_use]
    pub fn by_kind(kind: Kind) -> Blame {
        match kind {
            Kind::Rejected => Blame::Row,
            Kind::Invalid => Blame::Table,
            Kind::Closed | Kind::Fenced | Kind::Overloaded | Kind::Unavailable => Blame::Server,
        }
    }
}

/// What SQL knows of a shard that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The new epoch; never given before.
    pub epoch: u64,
    /// The last batch in effect.
    pub batch: u64,
    /// The batch log, in the order of the batches; empty unless asked for.
    pub log: Vec<Logged>,
}

/// A batch that is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Which one.
    pub id: BatchId,
    /// The cache keys of its changes.
    pub keys: Vec<Bytes>,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug)]
pub struct Flush<'a> {
    /// The shard, and the epoch of the flusher.
    pub at: &'a At,
    /// Which batch.
    pub batch: BatchId,
    /// The cache keys of its changes, for the batch log.
    pub keys: &'a [Bytes],
    /// The server must end a stalled transaction sooner than that; `None` accepts any server.
    pub within: Option<Duration>,
    /// Batches older than this leave the log.
    pub keep_log: Duration,
}

/// The answer to a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flushed<R> {
    /// Committed; one [`Stored`] per change.
    Applied(Vec<Stored<R>>),
    /// It was in effect before.
    Already,
    /// The shard was opened by somebody else since.
    Superseded,
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
