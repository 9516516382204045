//! The fence and the batch log of a simulated table.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use writeway_core::cache::Bytes;
use writeway_core::change::Change;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::store::{FencedStore, Flush, Flushed, Logged, Opened, Transaction as _};

use super::history::Place;
use super::locked;
use super::store::{Cell, Store, Tx, failed};
use crate::explorer::{End, Failed, READS, Side, millis};

/// How an open may fail.
const OPENS: &[End] = &[End::Refused, End::Lost];

/// One shard's row, and its log.
#[derive(Clone, Debug, Default)]
pub(super) struct Fence {
    pub(super) epoch: u64,
    pub(super) batch: u64,
    pub(super) log: Vec<Logged>,
}

/// What a flush writes besides rows.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    pub(super) shard: Shard,
    pub(super) id: BatchId,
    pub(super) keys: Vec<Bytes>,
}

/// Where the row lock of a shard's fence is.
fn fence_place(shard: &Shard) -> Place {
    (usize::MAX, shard.number.into())
}

impl Store {
    /// Waits for the fence's row lock.
    async fn lock_fence(&self, tx: u64, shard: &Shard) {
        let mut waited = false;
        poll_fn(|cx| {
            let free = locked(&self.database().state).locks.take(tx, fence_place(shard), cx.waker());
            self.world().waits_at_server(!free);
            if free {
                return Poll::Ready(());
            }
            if !waited {
                self.world().count(|counts| counts.lock_waits += 1);
                self.world().note(|| "  … waits for the fence".to_owned());
            }
            waited = true;
            Poll::Pending
        })
        .await;
    }

    pub(super) fn fence(&self, shard: &Shard) -> Fence {
        locked(&self.database().state).fences.entry(shard.clone()).or_default().clone()
    }
}

impl FencedStore for Store {
    async fn prepare(&self, namespace: &str, shards: u16, _: bool) -> Result<Vec<u64>> {
        let epoch = |number| self.fence(&Shard { namespace: namespace.into(), number }).epoch;
        Ok((0..shards).map(epoch).collect())
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        let tx = Tx::begin(self.database(), None);
        self.world().point("sql open").await;
        self.lock_fence(tx.id(), shard).await;
        let end = self.world().ending(Side::Store, OPENS);
        if end == Some(End::Refused) {
            return Err(failed(Failed::Refused));
        }
        let opened = {
            let mut state = locked(&self.database().state);
            let fence = state.fences.entry(shard.clone()).or_default();
            fence.epoch += 1;
            let log = log.map_or_else(Vec::new, |over| {
                let known = |logged: &Logged| logged.id.batch <= over.batch && logged.id.epoch <= over.epoch;
                let start = fence.log.iter().rposition(known).unwrap_or(0);
                fence.log[start..].to_vec()
            });
            Opened { epoch: fence.epoch, batch: fence.batch, log }
        };
        drop(tx);
        self.world().count_explored(|counts| counts.takeovers += 1);
        self.world().note(|| format!("  → {opened:?}"));
        if end.is_some() { Err(failed(Failed::Unknown)) } else { Ok(opened) }
    }

    /// Two steps of the schedule: all statements up to the COMMIT, and the COMMIT. Between the statements nobody else could
    /// tell which have run: the fence's row lock keeps other flushes out, and what is not committed is seen by none.
    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<u32, Cell>]) -> Result<Flushed<Cell>> {
        let within = flush.within.unwrap_or(Duration::from_secs(60));
        let mut tx = Tx::begin(self.database(), Some(millis(within)));
        let shard = &flush.at.shard;
        self.world().point(self.world().label(|| format!("sql fence, batch {:?}", flush.batch))).await;
        self.lock_fence(tx.id(), shard).await;
        let fence = self.fence(shard);
        if fence.epoch != flush.at.epoch || fence.batch >= flush.batch.batch {
            self.world().note(|| format!("  → the fence says {}, {}", fence.epoch, fence.batch));
            return match fence.epoch.cmp(&flush.at.epoch) {
                std::cmp::Ordering::Greater => {
                    self.world().count_explored(|counts| counts.fenced_batches += 1);
                    Ok(Flushed::Superseded)
                }
                std::cmp::Ordering::Equal => {
                    self.world().count_explored(|counts| counts.repeated_batches += 1);
                    Ok(Flushed::Already)
                }
                std::cmp::Ordering::Less => Err(Error::invalid("the fence went back")),
            };
        }
        tx.passes(Passing { shard: shard.clone(), id: flush.batch, keys: flush.keys.to_vec() });
        let stored = self.statements(&mut tx, changes).await?;
        tx.commit().await.map(|()| Flushed::Applied(stored))
    }

    /// One step of the schedule.
    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        let tx = Tx::begin(self.database(), within.map(millis));
        self.world().point("sql probe").await;
        self.lock_fence(tx.id(), &at.shard).await;
        if self.world().ending(Side::Store, READS).is_some() {
            return Err(failed(Failed::Refused));
        }
        let ours = self.fence(&at.shard).epoch == at.epoch;
        self.world().count_explored(|counts| counts.probes += 1);
        self.world().note(|| format!("  → the fence answers: {ours}"));
        Ok(ours)
    }
}
