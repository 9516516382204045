//! The fence and the batch log of a store in the process.

use std::collections::BTreeMap;
use std::time::Duration;

use super::store::{MemoryStore, lock};
use crate::change::Change;
use crate::codec::Row;
use crate::error::Result;
use crate::journal::{At, BatchId, Shard};
use crate::key::Key;
use crate::store::{FencedStore, Flush, Flushed, Logged, Opened, Store as _};

/// By shard, in the order of their numbers.
pub(super) type Fences = BTreeMap<Shard, Fence>;

#[derive(Default)]
pub(super) struct Fence {
    epoch: u64,
    pub(super) batch: u64,
    log: Vec<Logged>,
}

/// Only the last batch is kept in the log, for a repeated flush to be told from a new one: what a cache in the process forgets
/// went with its process, and so did this.
impl<K: Key, R: Row> FencedStore for MemoryStore<K, R> {
    async fn prepare(&self, namespace: &str, shards: u16, _migrate: bool) -> Result<Vec<u64>> {
        let mut fences = lock(&self.table.fences);
        if !fences.keys().any(|shard| *shard.namespace == *namespace) {
            fences.extend((0..shards).map(|number| (Shard { namespace: namespace.into(), number }, Fence::default())));
        }
        Ok(fences.iter().filter(|(shard, _)| *shard.namespace == *namespace).map(|(_, fence)| fence.epoch).collect())
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        let mut fences = lock(&self.table.fences);
        let fence = fences.entry(shard.clone()).or_default();
        fence.epoch += 1;
        Ok(Opened { epoch: fence.epoch, batch: fence.batch, log: log.map_or_else(Vec::new, |_| fence.log.clone()) })
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<K, R>]) -> Result<Flushed<R>> {
        let mut tx = self.begin(None).await?;
        let stored = self.apply_in(&mut tx, changes).await?;
        // Nobody opens the shard between the look at the fence and the commit.
        let mut fences = lock(&self.table.fences);
        let fence = fences.entry(flush.at.shard.clone()).or_default();
        let BatchId { batch, .. } = flush.batch;
        if fence.epoch != flush.at.epoch {
            return Ok(Flushed::Superseded);
        }
        if fence.batch >= batch {
            return Ok(Flushed::Already);
        }
        fence.batch = batch;
        fence.log = vec![Logged { id: flush.batch, keys: flush.keys.to_vec() }];
        tx.commit_now();
        Ok(Flushed::Applied(stored))
    }

    async fn probe(&self, at: &At, _: Option<Duration>) -> Result<bool> {
        Ok(lock(&self.table.fences).get(&at.shard).is_some_and(|fence| fence.epoch == at.epoch))
    }
}
