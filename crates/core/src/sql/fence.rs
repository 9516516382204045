//! [`FencedStore`] over a table and a pool: the fence and the batch log in the database of the rows.
//!
//! **Invariant.** A batch is in effect at most once, and none of an epoch after a later one was given out.
//!
//! *open*, one transaction: 1. `UPDATE` the shard's fence to the next epoch; its row lock waits for a flush that holds it.
//! 2. In a later statement, hence with a snapshot that has that flush in it, read the end of the batch log. 3. Commit.
//!
//! *flush*, one transaction: 1. `UPDATE` the fence to this batch where the epoch is the flusher's and the batch is newer; the row
//! lock is held to the end. 2. No such row → look why, and roll back. 3. The table's own statements. 4. Note the batch in the log,
//! and remove some that are old. 5. Commit; what it answers follows the rules of [`transaction`](super::transaction).
//!
//! Whatever fails in a flush rolls the fence back with the rows, so the same batch may be tried again.

use std::future::Future;
use std::time::Duration;

use diesel::QueryResult;

use super::blame::blame;
use super::classify::{Standing, classify};
use super::connection::{SqlConnection, condemn};
use super::store::Sql;
use super::table::SqlTable;
use super::transaction::SqlTx;
use crate::cache::Bytes;
use crate::change::Change;
use crate::error::{Error, Result};
use crate::journal::{At, BatchId, Shard};
use crate::store::{Blame, FencedStore, Flush, Flushed, Logged, Opened, Store as _, Transaction as _};

diesel::table! {
    writeway_fence (namespace, shard) {
        namespace -> Text,
        shard -> Integer,
        epoch -> BigInt,
        batch -> BigInt,
    }
}

diesel::table! {
    writeway_batch (namespace, shard, batch) {
        namespace -> Text,
        shard -> Integer,
        batch -> BigInt,
        freeze_epoch -> BigInt,
        keys -> Binary,
    }
}

/// The bookkeeping of write-back in one kind of database. All calls but the first two, and `snapshot`, are made in an
/// open transaction. Implemented here for each supported connection.
pub trait Bookkeeping: SqlConnection {
    /// Where the tables are described, for those who run their migrations themselves.
    const MIGRATION: &'static str;
    /// Makes the tables `writeway_fence` and `writeway_batch`; running it twice does no harm.
    const MIGRATION_UP: &'static str;
    /// Removes them.
    const MIGRATION_DOWN: &'static str;

    /// Both tables are there.
    fn is_prepared(conn: &mut Self) -> impl Future<Output = QueryResult<bool>> + Send;

    /// Makes both, where they are missing, one process at a time.
    fn migrate(conn: &mut Self) -> impl Future<Output = QueryResult<()>> + Send;

    /// Makes the fences of a namespace that has none, and tells the epochs of all, in the order of the shards.
    fn fences(conn: &mut Self, namespace: &str, shards: i32) -> impl Future<Output = QueryResult<Vec<i64>>> + Send;

    /// The next epoch, and the last batch.
    fn raise(conn: &mut Self, shard: &Shard) -> impl Future<Output = QueryResult<Option<(i64, i64)>>> + Send;

    /// Batch, epoch of its freeze, and packed keys, in the order of the batches, from the last one that is neither after this batch
    /// nor of a later epoch.
    fn log(
        conn: &mut Self,
        shard: &Shard,
        batch: i64,
        epoch: i64,
    ) -> impl Future<Output = QueryResult<Vec<(i64, i64, Vec<u8>)>>> + Send;

    /// True if the fence let the batch pass.
    fn pass(conn: &mut Self, shard: &Shard, epoch: i64, batch: i64) -> impl Future<Output = QueryResult<bool>> + Send;

    /// True if the epoch is still this one; the row is written as it is.
    fn touch(conn: &mut Self, shard: &Shard, epoch: i64) -> impl Future<Output = QueryResult<bool>> + Send;

    /// The epoch and the last batch.
    fn look(conn: &mut Self, shard: &Shard) -> impl Future<Output = QueryResult<Option<(i64, i64)>>> + Send;

    /// Begins a transaction that reads, with one snapshot for all of its statements, and reads the number and last batch of each of
    /// these shards, which are of one namespace.
    fn snapshot(conn: &mut Self, shards: &[Shard]) -> impl Future<Output = QueryResult<Vec<(i32, i64)>>> + Send;

    /// Notes a batch in the log, and removes some that are older than `keep`.
    fn note(
        conn: &mut Self,
        shard: &Shard,
        batch: i64,
        freeze_epoch: i64,
        keys: &[u8],
        keep: Duration,
    ) -> impl Future<Output = QueryResult<()>> + Send;
}

impl<T: SqlTable<Connection: Bookkeeping>> FencedStore for Sql<T> {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        let mut tx = self.begin(None).await?;
        if !step(&mut tx, async |conn| T::Connection::is_prepared(conn).await).await? {
            if !migrate {
                tx.rollback().await;
                return Err(Error::invalid(format!(
                    "the tables writeway_fence and writeway_batch are missing: run {}, or let build make them with migrate()",
                    T::Connection::MIGRATION
                )));
            }
            step(&mut tx, async |conn| T::Connection::migrate(conn).await).await?;
        }
        let epochs = step(&mut tx, async |conn| T::Connection::fences(conn, namespace, shards.into()).await).await?;
        tx.commit().await?;
        if epochs.is_empty() || u16::try_from(epochs.len()).is_err() {
            return Err(wrong("it has no shards, or too many"));
        }
        epochs.into_iter().map(number).collect()
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        let known = log.map(|id| Ok((signed(id.batch)?, signed(id.epoch)?))).transpose()?;
        let mut tx = self.begin(None).await?;
        let raised = step(&mut tx, async |conn| T::Connection::raise(conn, shard).await).await?;
        let Some((epoch, batch)) = raised else {
            tx.rollback().await;
            return Err(wrong("the shard has no fence"));
        };
        let logged = match known {
            Some((batch, epoch)) => step(&mut tx, async |conn| T::Connection::log(conn, shard, batch, epoch).await).await?,
            None => Vec::new(),
        };
        let logged = logged.into_iter().map(|(batch, epoch, keys)| {
            let id = BatchId { epoch: number(epoch)?, batch: number(batch)? };
            Ok(Logged { id, keys: unpack(&keys)? })
        });
        let opened = Opened { epoch: number(epoch)?, batch: number(batch)?, log: logged.collect::<Result<_>>()? };
        tx.commit().await?;
        Ok(opened)
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<T::Key, T::Row>]) -> Result<Flushed<T::Row>> {
        let shard = &flush.at.shard;
        let (epoch, batch, frozen) = (signed(flush.at.epoch)?, signed(flush.batch.batch)?, signed(flush.batch.epoch)?);
        let mut tx = self.begin(flush.within).await?;
        if !step(&mut tx, async |conn| T::Connection::pass(conn, shard, epoch, batch).await).await? {
            let seen = step(&mut tx, async |conn| T::Connection::look(conn, shard).await).await;
            tx.rollback().await;
            return match seen? {
                Some((newer, _)) if newer > epoch => Ok(Flushed::Superseded),
                Some((same, last)) if same == epoch && last >= batch => Ok(Flushed::Already),
                _ => Err(wrong("the shard's fence is gone, or older than this process has seen it")),
            };
        }
        match self.noted(&mut tx, flush, batch, frozen, changes).await {
            Ok(stored) => tx.commit().await.map(|()| Flushed::Applied(stored)),
            Err(e) => {
                tx.rollback().await;
                Err(e)
            }
        }
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        let epoch = signed(at.epoch)?;
        let mut tx = self.begin(within).await?;
        let ours = step(&mut tx, async |conn| T::Connection::touch(conn, &at.shard, epoch).await).await?;
        tx.commit().await?;
        Ok(ours)
    }

    fn blame(&self, error: &Error) -> Blame {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
        cause.map_or_else(|| Blame::by_kind(error.kind()), blame)
    }
}

impl<T: SqlTable<Connection: Bookkeeping>> Sql<T> {
    /// Steps 3 and 4 of a flush.
    async fn noted(
        &self,
        tx: &mut SqlTx<T::Connection>,
        flush: &Flush<'_>,
        batch: i64,
        frozen: i64,
        changes: &[Change<T::Key, T::Row>],
    ) -> Result<Vec<crate::change::Stored<T::Row>>> {
        let stored = self.apply_in(tx, changes).await?;
        let keys = pack(flush.keys)?;
        step(tx, async |conn| T::Connection::note(conn, &flush.at.shard, batch, frozen, &keys, flush.keep_log).await).await?;
        Ok(stored)
    }
}

/// One statement of the bookkeeping.
async fn step<C: SqlConnection, R>(tx: &mut SqlTx<C>, run: impl AsyncFnOnce(&mut C) -> QueryResult<R>) -> Result<R> {
    match run(tx.connection()).await {
        Ok(done) => Ok(done),
        Err(cause) => {
            let fault = classify(&cause);
            if fault.standing == Standing::Lost {
                condemn(tx.connection());
            }
            Err(fault.into_error(cause))
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("the bookkeeping of write-back in sql is not as it was left: {what}; was the database restored?"))
}

fn number(n: i64) -> Result<u64> {
    u64::try_from(n).map_err(|_| wrong("a number is negative"))
}

fn signed(n: u64) -> Result<i64> {
    i64::try_from(n).map_err(|_| wrong("a number is out of range"))
}

/// Each key behind its length, in two bytes.
fn pack(keys: &[Bytes]) -> Result<Bytes> {
    let mut out = Vec::with_capacity(keys.iter().map(|key| key.len() + 2).sum());
    for key in keys {
        let length = u16::try_from(key.len()).map_err(|_| Error::invalid("a cache key is longer than 65,535 bytes"))?;
        out.extend(length.to_be_bytes());
        out.extend(key);
    }
    Ok(out)
}

fn unpack(mut packed: &[u8]) -> Result<Vec<Bytes>> {
    let mut keys = Vec::new();
    while let Some((length, rest)) = packed.split_first_chunk::<2>() {
        let Some((key, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else { break };
        keys.push(key.to_vec());
        packed = rest;
    }
    if packed.is_empty() { Ok(keys) } else { Err(wrong("the batch log is damaged")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_survive_the_log(keys: Vec<Vec<u8>>) {
            let packed = pack(&keys).expect("short");
            prop_assert_eq!(unpack(&packed).ok(), Some(keys));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn a_log_that_was_cut_is_no_log() {
        let packed = pack(&[b"{likes:3}:e:7".to_vec()]).expect("short");
        assert!(unpack(&packed[..packed.len() - 1]).is_err() && unpack(&packed[..1]).is_err());
        assert!(pack(&[vec![0; 1 << 16]]).is_err());
    }
}
