//! The open batch: freezing and acknowledging.

use super::{Dead, Frozen, Open, ShardState};
use crate::cache::Bytes;
use crate::entry::held::{Dirty, Held, is_dirty};
use crate::entry::increments::{base_of, is_increments};
use crate::entry::state::{Slot, State};
use crate::error::{Error, Result};
use crate::journal::{Ack, BatchId, Claimed, Freeze, Identity, Item, PAGE};

/// A claim looks at so many dirty keys for some that it can read.
pub(super) const SCAN: usize = 2 * PAGE;

impl ShardState {
    /// `Journal::claim`
    ///
    /// # Errors
    /// `Fenced`
    pub fn claim(&mut self, identity: &Identity, epoch: u64, from: u64, freeze: Freeze, now: u64) -> Result<Option<Claimed>> {
        self.led(identity, epoch)?;
        let first = self.order.values().next().and_then(|key| self.frozen.get(key));
        let readable = first.is_some_and(|frozen| frozen.change.schema == freeze.schema);
        let meta = self.led(identity, epoch)?;
        let open = match meta.open {
            // Who splits it has come so far; who claims it tries it, if they can read it.
            Some(open) if from == 0 => Open { tries: open.tries + u64::from(readable), keep: None, ..open },
            Some(open) => open,
            None if from > 0 => return Ok(None),
            // The number is taken once something is due.
            None => {
                let batch = meta.batch + 1;
                Open { id: BatchId { epoch, batch }, first: batch, since: epoch, ..Open::default() }
            }
        };
        // To what another flusher froze nothing is added: it may be of another schema.
        let open = Open { whole: open.whole || open.id.epoch != epoch, ..open };
        let Some(open) = self.freeze(open, freeze, now) else { return Ok(None) };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let items = self.order.values().skip(from).take(PAGE).filter_map(|key| {
            let Dirty { version, schema, value, .. } = &self.frozen.get(key)?.change;
            Some(Item { key: key.clone(), version: *version, schema: *schema, value: value.clone() })
        });
        // By what it still holds: some of it may have been acknowledged before a crash.
        let whole = open.whole && from.saturating_add(PAGE) >= self.frozen.len();
        let strikes = self.order.values().nth(from).and_then(|key| self.strikes.get(key)).copied().unwrap_or(0);
        Ok(Some(Claimed { id: open.id, items: items.collect(), whole, tries: open.tries, strikes }))
    }

    /// Adds one page of due changes to a batch that is not whole.
    fn freeze(&mut self, mut open: Open, freeze: Freeze, now: u64) -> Option<Open> {
        if open.whole {
            self.meta.as_mut()?.open = Some(open);
            return Some(open);
        }
        let due = self.queue.iter().take(SCAN);
        let (mut keys, mut suspect, mut passed) = (Vec::new(), None, Vec::new());
        let mut bytes = open.bytes;
        for (since, key) in due {
            let full = open.count + keys.len() as u64 >= freeze.max_keys || bytes >= freeze.max_bytes;
            if full || keys.len() == PAGE {
                break;
            }
            match self.entries.get(key) {
                // A later change of a key that is in this batch: for the next one.
                _ if self.frozen.contains_key(key) => {}
                Some(Held::Dirty(dirty)) if dirty.is_whole() && dirty.schema != freeze.schema => {}
                Some(Held::Foreign(bytes)) if is_dirty(bytes) => {}
                // Alone, or not in this batch.
                Some(Held::Dirty(_)) if self.strikes.contains_key(key) => {
                    if *since > now {
                        continue;
                    }
                    if open.count == 0 && suspect.is_none() {
                        suspect = Some(key.clone());
                        if freeze.suspects_first {
                            break;
                        }
                    }
                    passed.push(key.clone());
                }
                Some(Held::Dirty(dirty)) => {
                    bytes += dirty.value.len() as u64;
                    keys.push(key.clone());
                }
                // Not ours to lose: an entry that somebody removed leaves nothing to flush.
                _ => keys.push(key.clone()),
            }
        }
        if let Some(suspect) = suspect.filter(|_| freeze.suspects_first || keys.is_empty()) {
            keys = vec![suspect];
        }
        for key in passed.iter().filter(|key| !keys.contains(key)) {
            // Many of them would hide what is behind them.
            if self.undirty(key).is_some() {
                self.enqueue(key, now);
            }
        }
        open.whole = keys.len() < PAGE || open.count + keys.len() as u64 >= freeze.max_keys || bytes >= freeze.max_bytes;
        for key in keys {
            let since = self.undirty(&key).unwrap_or(now);
            let Some(change) = self.copied(&key, freeze.schema) else {
                self.strikes.remove(&key);
                continue;
            };
            open.bytes += change.value.len() as u64;
            self.order.insert(open.count, key.clone());
            self.frozen.insert(key, Frozen { at: open.count, since, change });
            open.count += 1;
        }
        let meta = self.meta.as_mut()?;
        let before = meta.open.map_or(0, |open| open.bytes);
        meta.dirty_bytes = if self.dirty.is_empty() { 0 } else { meta.dirty_bytes.saturating_sub(open.bytes - before) };
        if self.frozen.is_empty() {
            return None;
        }
        meta.batch = meta.batch.max(open.id.batch);
        meta.open = Some(open);
        Some(open)
    }

    /// The change that a batch gets. Of increments nothing is left behind: what is added from then on is for the next batch.
    fn copied(&mut self, key: &Bytes, schema: u32) -> Option<Dirty> {
        let Some(Held::Dirty(mut change)) = self.entries.get(key).cloned() else { return None };
        if !change.is_whole() {
            // Nobody can read it: whoever meets it sets it aside.
            change.schema = schema;
        }
        if is_increments(&change.value) {
            self.entries.remove(key);
        }
        Some(change)
    }

    /// `Journal::acknowledge`
    ///
    /// # Errors
    /// `Fenced`
    pub fn acknowledge(&mut self, identity: &Identity, epoch: u64, batch: BatchId, acks: &[Ack], now: u64) -> Result<u64> {
        if self.led(identity, epoch)?.open.map(|open| open.id) != Some(batch) {
            return Ok(0);
        }
        let inc = self.ready(identity)?.inc;
        for Ack { key, clean } in acks {
            let Some(frozen) = self.thaw(key) else { continue };
            self.forget(key, &frozen);
            let clean = clean.as_ref().map(|(entry, ttl)| {
                let expires = now + u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX >> 1);
                Held::Clean { inc, slot: Slot { state: State::Value(entry.clone()), expires: Some(expires) } }
            });
            if is_increments(&frozen.change.value) {
                self.rebase(key, clean);
                if let Some(meta) = &mut self.meta {
                    meta.acked = batch.batch;
                }
            } else {
                self.settle(key, &frozen, clean);
            }
        }
        Ok(self.frozen.len() as u64)
    }

    /// The frozen change is no longer on its way: its own entry becomes clean, a newer one stays, and whatever is being filled
    /// was read before.
    pub(super) fn settle(&mut self, key: &Bytes, frozen: &Frozen, clean: Option<Held>) {
        match self.entries.get(key) {
            Some(Held::Dirty(dirty)) if dirty.version == frozen.change.version => match clean {
                Some(clean) => drop(self.entries.insert(key.clone(), clean)),
                None => drop(self.entries.remove(key)),
            },
            Some(Held::Clean { .. }) => drop(self.entries.remove(key)),
            Some(Held::Dirty(_) | Held::Foreign(_)) | None => {}
        }
    }

    /// A batch with increments of a counter is in SQL: its cached row was read before, or is the one that SQL returned.
    fn rebase(&mut self, key: &Bytes, clean: Option<Held>) {
        let base = base_of(key);
        match (self.entries.get(&base), clean) {
            (Some(Held::Dirty(_) | Held::Foreign(_)), _) => {}
            (_, Some(clean)) => drop(self.entries.insert(base, clean)),
            (_, None) => drop(self.entries.remove(&base)),
        }
    }

    /// SQL has the change: what was set aside before it is outdated, unless it was to be added, and it is no
    /// suspect any more.
    pub(super) fn forget(&mut self, key: &Bytes, frozen: &Frozen) {
        self.strikes.remove(key);
        let outdated = |dead: &Dead| !is_increments(&dead.change.value) && dead.change.version <= frozen.change.version;
        if self.dead.get(key).is_some_and(outdated) {
            self.dead.remove(key);
        }
    }

    /// The shard as it recovers on this server, for a flusher of this epoch.
    pub(super) fn recovering(&mut self, identity: &Identity, epoch: u64) -> Result<&mut super::Meta> {
        let recovers = |meta: &&mut super::Meta| meta.recovering.as_ref() == Some(identity) && meta.epoch == epoch;
        self.meta.as_mut().filter(recovers).ok_or_else(Error::fenced)
    }
}
