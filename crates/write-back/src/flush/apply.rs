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
//! answered by the fence. A crash after 1 leaves an open batch that the next flusher finds; after 2, one that the fence knows. What
//! fails time and again is dealt with in [`trouble`](super::trouble).

use tracing::field::Empty;
use writeway_core::cache::Bytes;
use writeway_core::change::Stored;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{Ack, At, BatchId, Claimed, Freeze, Item, PAGE, Park, Reason};
use writeway_core::span;
use writeway_core::store::{FencedStore, Flush, Flushed};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::judge::Next;
use super::plan;
use super::turn::Desk;
use crate::engine::Engine;
use crate::pages::pages;
use crate::stats::Counters;

/// Why a change was set aside.
const DAMAGED: &str = "the accepted change cannot be read";

/// What became of a batch.
pub(super) enum Done {
    /// It is in SQL.
    Flushed,
    /// There is none that this process can read.
    Nothing,
    /// It failed before, and is another one now.
    Resolved,
}

impl<S: FencedStore> Engine<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Flushes one batch of a shard that has so many dead letters.
    pub(super) async fn batch(&self, shard: usize, desk: &mut Desk, at: &At, freeze: Freeze, dead: u64) -> Result<Done> {
        let Some(mut claimed) = self.claim(at, freeze).await? else { return Ok(Done::Nothing) };
        if claimed.items.iter().any(|item| item.schema != self.reads.store.schema()) {
            return Ok(Done::Nothing);
        }
        let next = self.judge(&claimed, claimed.items.len(), dead, &desk.trouble);
        if next != Next::Flush {
            let count = claimed.items.len();
            self.resolve(shard, desk, &claimed, count, next).await?;
            return Ok(Done::Resolved);
        }
        let id = claimed.id;
        desk.trouble.begin(id);
        let store = &self.reads.store;
        let read = |item: &Item| self.form.read(&item.key, &item.value);
        let batch = plan::batch(std::mem::take(&mut claimed.items), read, |row| store.key(row));
        if !batch.damaged.is_empty() && dead + batch.damaged.len() as u64 > self.max_dead {
            let e = Error::rejected("an accepted change cannot be read, and there is no room for another dead letter");
            self.tried_in_vain(at, id, &mut desk.trouble, &e).await;
            return Err(e);
        }
        if let Err(e) = self.make_ready(at, id, &batch.damaged).await {
            desk.trouble.undo();
            return Err(e);
        }
        if batch.changes.is_empty() {
            // Its number is in no log: what is frozen next has another epoch, or a recovery would take it for a part of this batch.
            desk.at = None;
        } else {
            let rows = batch.keys.len();
            let stored = match self.flush(shard, at, id, &batch).await {
                Ok(stored) => stored,
                Err(e) => {
                    self.tried_in_vain(at, id, &mut desk.trouble, &e).await;
                    return Err(e);
                }
            };
            // What fails from here on is not SQL's doing.
            desk.trouble.end();
            self.acknowledge(at, id, batch.keys, stored).await?;
            self.counters.flushed(rows);
            self.flushed.send_replace(());
            tracing::debug!(name: "flush.done", shard = ?at.shard, rows, "a batch is in sql");
        }
        desk.trouble.end();
        Ok(Done::Flushed)
    }

    /// Nothing is sent to SQL before: what cannot be read is set aside, and the claim is at its level.
    async fn make_ready(&self, at: &At, id: BatchId, damaged: &[Bytes]) -> Result<()> {
        for page in damaged.chunks(PAGE) {
            tracing::error!(name: "change.damaged", shard = ?at.shard, count = page.len(), "accepted changes cannot be read; they are set aside");
            let park = Park { keys: page, reason: Reason::Damaged, cause: DAMAGED };
            self.ask(self.journal.park(at, id, park)).await?;
            Counters::add(&self.counters.damaged, page.len());
        }
        self.confirm_claim(at).await
    }

    /// Empty where the batch was in effect already.
    async fn flush(
        &self,
        shard: usize,
        at: &At,
        id: BatchId,
        batch: &plan::Batch<S::Key, S::Row>,
    ) -> Result<Vec<Stored<S::Row>>> {
        let (within, keep_log) = (self.settings.within(), self.settings.batch_log);
        let flush = Flush { at, batch: id, keys: &batch.keys, within, keep_log };
        let work = async {
            let _timed = self.counters.in_sql(self.runtime());
            self.reads.store.flush(&flush, &batch.changes).await
        };
        let unanswered = || Err(Error::unknown("sql did not finish the flush in time"));
        let asked = async { self.in_sql(shard, self.settings.flush_timeout, work).await.unwrap_or_else(unanswered) };
        let rows = batch.keys.len();
        let span = tracing::debug_span!("flush", shard = ?at.shard, epoch = at.epoch, batch = id.batch, rows, ended = Empty);
        match span::within(span, asked).await? {
            Flushed::Applied(stored) => Ok(stored),
            Flushed::Already => Ok(Vec::new()),
            Flushed::Superseded => Err(Error::fenced()),
        }
    }

    /// All pages of the open batch as one.
    async fn claim(&self, at: &At, freeze: Freeze) -> Result<Option<Claimed>> {
        let Some(mut batch) = self.ask(self.journal.claim(at, 0, freeze)).await? else { return Ok(None) };
        while !batch.whole {
            let from = batch.items.len() as u64;
            let Some(page) = self.ask(self.journal.claim(at, from, freeze)).await? else { return Ok(None) };
            batch.items.extend(page.items);
            batch.whole = page.whole;
        }
        Ok(Some(batch))
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
                Some(Stored::As(row)) => match self.keys.encode(&self.reads.store.key(&row)) {
                    Ok(now_at) if now_at == key => self.form.clean(&key, id.batch, Some(&row), random),
                    // Under the key that SQL gave it, another row may be cached.
                    now_at => {
                        moved.extend(now_at.ok());
                        None
                    }
                },
                Some(Stored::Gone) => self.form.clean(&key, id.batch, None, random),
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
