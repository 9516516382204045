//! One batch: from the journal to SQL and back.
//!
//! **Invariant.** A batch is in effect in SQL at most once, and acknowledged only when it is.
//!
//! 1. *claim*: the open batch if there is one, else due changes are frozen into the next: copies, whole keys.
//! 2. *flush*: one transaction sets the fence to this batch, if the epoch is still ours and the batch is new, runs the changes
//!    and notes the batch in the log. The epoch has gone on → we are fenced. The batch is not new → it is in effect already.
//! 3. *acknowledge*, by the batch's name: each entry that is still of the frozen version becomes the row that SQL returned.
//!
//! Failed or unanswered in 2 → the same batch with the same number again, never another: whether the first try landed is
//! answered by the fence. A crash after 1 leaves an open batch that the next flusher finds; after 2, one that the fence knows.

use tracing::field::Empty;
use writeway_core::cache::Bytes;
use writeway_core::change::Stored;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{Ack, At, BatchId, Freeze, Item, PAGE};
use writeway_core::span;
use writeway_core::store::{FencedStore, Flush, Flushed};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan;
use crate::engine::Engine;
use crate::pages::pages;
use crate::stats::Counters;

/// Why a change was set aside.
const DAMAGED: &str = "the accepted change cannot be read";

impl<S: FencedStore> Engine<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Flushes one batch. False if there is none that this process can read.
    pub(super) async fn batch(&self, at: &At, freeze: Freeze) -> Result<bool> {
        let Some((id, items)) = self.claim(at, freeze).await? else { return Ok(false) };
        let (values, store) = (&self.reads.values, &self.reads.store);
        let batch = plan::batch(items, store.schema(), |item| values.read_change(&item.key, &item.value), |row| store.key(row));
        if batch.foreign {
            return Ok(false);
        }
        for page in batch.damaged.chunks(PAGE) {
            tracing::error!(name: "change.damaged", shard = ?at.shard, count = page.len(), "accepted changes cannot be read; they are set aside");
            self.ask(self.journal.park(at, id, page, DAMAGED)).await?;
            Counters::add(&self.counters.damaged, page.len());
        }
        if batch.changes.is_empty() {
            return Ok(true);
        }
        let (within, keep_log) = (self.settings.within(), self.settings.batch_log);
        let flush = Flush { at, batch: id, keys: &batch.keys, within, keep_log };
        let unanswered = || Err(Error::unknown("sql did not finish the flush in time"));
        let work = async {
            let _timed = self.counters.in_sql(self.runtime());
            store.flush(&flush, &batch.changes).await
        };
        let asked = async { self.in_sql(self.settings.flush_timeout, work).await.unwrap_or_else(unanswered) };
        let rows = batch.keys.len();
        let span = tracing::debug_span!("flush", shard = ?at.shard, epoch = at.epoch, batch = id.batch, rows, ended = Empty);
        let stored = match span::within(span, asked).await? {
            Flushed::Applied(stored) => stored,
            Flushed::Already => Vec::new(),
            Flushed::Superseded => return Err(Error::fenced()),
        };
        self.acknowledge(at, id, batch.keys, stored).await?;
        self.counters.flushed(rows);
        self.flushed.send_replace(());
        tracing::debug!(name: "flush.done", shard = ?at.shard, rows, "a batch is in sql");
        Ok(true)
    }

    async fn claim(&self, at: &At, freeze: Freeze) -> Result<Option<(BatchId, Vec<Item>)>> {
        let mut items: Vec<Item> = Vec::new();
        loop {
            let Some(page) = self.ask(self.journal.claim(at, items.len() as u64, freeze)).await? else { return Ok(None) };
            items.extend(page.items);
            if page.whole {
                return Ok(Some((page.id, items)));
            }
        }
    }

    /// `stored` is empty where SQL did not return the rows.
    async fn acknowledge(&self, at: &At, id: BatchId, keys: Vec<Bytes>, stored: Vec<Stored<S::Row>>) -> Result<()> {
        let mut acks = Vec::with_capacity(keys.len());
        let mut moved = Vec::new();
        let mut stored = stored.into_iter();
        for key in keys {
            let random = self.runtime().random();
            // A row that SQL made too long to cache is in SQL all the same.
            let clean = match stored.next() {
                Some(Stored::As(row)) => match self.reads.keys.encode(&self.reads.store.key(&row)) {
                    Ok(now_at) if now_at == key => self.reads.values.entry(&key, Some(&row), random).ok(),
                    // Under the key that SQL gave it, another row may be cached.
                    now_at => {
                        moved.extend(now_at.ok());
                        None
                    }
                },
                Some(Stored::Gone) => self.reads.values.entry(&key, None, random).ok(),
                Some(Stored::Unread) | None => None,
            };
            acks.push(Ack { key, clean });
        }
        let size = |ack: &Ack| ack.clean.as_ref().map_or(0, |(entry, _)| entry.len());
        for page in pages(&acks, PAGE, u64::MAX, size) {
            self.ask(self.journal.acknowledge(at, id, page)).await?;
        }
        if !moved.is_empty() {
            self.ask(self.journal.invalidate(&moved)).await?;
        }
        Ok(())
    }
}
