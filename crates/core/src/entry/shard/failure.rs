//! A batch that fails: split in two, and in the end the one change that fails alone is held back, or set aside.
//!
//! **Invariant.** No try of a batch takes effect once it was split, or its change held back or set aside. So all of that needs an
//! epoch that is later than that in which the batch got its name: whoever opened the shard anew has learned from SQL that it is not
//! in effect, and no earlier flush can land any more. What stays in the open batch gets another number, for the batch log must never
//! name under one number what was flushed under it in part. It keeps the epoch of its freeze: what was accepted of its keys since is
//! newer, and a recovery must be able to tell. (In that epoch nothing else was frozen after it.)

use super::{Dead, Frozen, Open, ShardState};
use crate::cache::Bytes;
use crate::entry::held::Held;
use crate::entry::increments::{is_increments, join};
use crate::error::Result;
use crate::journal::{BatchId, Identity, PAGE, Park, Reason, Split};

impl ShardState {
    /// `Journal::split`
    ///
    /// # Errors
    /// `Fenced`
    pub fn split(&mut self, identity: &Identity, epoch: u64, batch: BatchId, keep: u64) -> Result<Option<Split>> {
        let meta = self.led(identity, epoch)?;
        let (open, keep) = match meta.open {
            Some(open) if open.id == batch && open.since < epoch => {
                meta.batch += 1;
                let id = BatchId { batch: meta.batch, ..open.id };
                (Open { id, since: epoch, whole: true, ..open }, keep)
            }
            Some(Open { id, keep: Some(keep), .. }) if id == batch => (meta.open.unwrap_or_default(), keep),
            _ => return Ok(None),
        };
        meta.open = Some(Open { keep: Some(keep), ..open });
        let first = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
        let rest = self.order.len().saturating_sub(first);
        let page: Vec<Bytes> = self.order.values().rev().take(rest.min(PAGE)).cloned().collect();
        for key in &page {
            let Some(frozen) = self.thaw(key) else { continue };
            let since = frozen.since;
            self.dissolve(key, frozen, since);
        }
        Ok(Some(Split { id: open.id, more: rest > PAGE }))
    }

    /// `Journal::ended`
    ///
    /// # Errors
    /// `Fenced`
    pub fn ended(&mut self, identity: &Identity, epoch: u64, batch: BatchId) -> Result<()> {
        let meta = self.led(identity, epoch)?;
        if let Some(open) = meta.open.as_mut().filter(|open| open.id == batch) {
            open.tries = 0;
        }
        Ok(())
    }

    /// `Journal::delay`, for `pause` milliseconds.
    ///
    /// # Errors
    /// `Fenced`
    pub fn delay(&mut self, identity: &Identity, epoch: u64, batch: BatchId, pause: u64, counts: bool, now: u64) -> Result<bool> {
        let open = self.led(identity, epoch)?.open.filter(|open| open.id == batch && open.since < epoch);
        if open.is_none() || self.order.len() != 1 {
            return Ok(false);
        }
        if let Some(key) = self.order.values().next().cloned()
            && let Some(frozen) = self.thaw(&key)
        {
            self.dissolve(&key, frozen, now + pause);
            let strikes = self.strikes.entry(key).or_default();
            *strikes = (*strikes + u64::from(counts)).max(1);
        }
        Ok(true)
    }

    /// `Journal::park`
    ///
    /// # Errors
    /// `Fenced`
    pub fn park(&mut self, identity: &Identity, epoch: u64, batch: BatchId, park: Park<'_>, now: u64) -> Result<u64> {
        let settled = |open: &Open| park.reason != Reason::Refused || open.since < epoch;
        if self.led(identity, epoch)?.open.filter(settled).map(|open| open.id) != Some(batch) {
            return Ok(0);
        }
        for key in park.keys {
            let counts = self.frozen.get(key).is_some_and(|frozen| is_increments(&frozen.change.value));
            if counts && park.reason == Reason::Refused && self.dead.contains_key(key) {
                // One letter would have to say of both what became of them.
                continue;
            }
            let Some(frozen) = self.thaw(key) else { continue };
            self.settle(key, &frozen, None);
            let tries = self.strikes.remove(key).unwrap_or(0) + u64::from(park.reason == Reason::Refused);
            self.bury(key, Dead { change: frozen.change, reason: park.reason, cause: park.cause.to_owned(), tries, at: now });
        }
        Ok(self.frozen.len() as u64)
    }

    /// What was frozen is dirty again, due since then, unless a newer change stands for both. Increments are added to newer ones.
    pub(super) fn dissolve(&mut self, key: &Bytes, frozen: Frozen, since: u64) {
        if let Some(queued) = self.dirty.get(key).copied() {
            let mut before = 0;
            let counts = is_increments(&frozen.change.value);
            let after = match self.entries.get_mut(key) {
                Some(Held::Dirty(newer)) => {
                    before = newer.value.len();
                    newer.first = frozen.change.first;
                    if counts {
                        newer.value = join(&frozen.change.value, &newer.value);
                        newer.schema = newer.schema.max(frozen.change.schema);
                    }
                    newer.value.len()
                }
                Some(Held::Foreign(_)) => 0,
                _ if !counts => 0,
                _ => {
                    self.entries.insert(key.clone(), Held::Dirty(frozen.change.clone()));
                    frozen.change.value.len()
                }
            };
            if let Some(meta) = &mut self.meta {
                meta.dirty_bytes += (after - before) as u64;
            }
            // It waits as long as the older one, or is held back with it.
            let since = if since > frozen.since { since } else { since.min(queued) };
            self.queue.remove(&(queued, key.clone()));
            self.enqueue(key, since);
            return;
        }
        if let Some(meta) = &mut self.meta {
            meta.dirty_bytes += frozen.change.value.len() as u64;
        }
        self.entries.insert(key.clone(), Held::Dirty(frozen.change));
        self.enqueue(key, since);
    }
}
