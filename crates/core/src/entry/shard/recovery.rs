//! Taking a shard into a new epoch, and comparing what a restarted or restored server holds with what SQL knows.

use super::{Began, Dead, Meta, Open, ShardState};
use crate::cache::Bytes;
use crate::entry::held::Held;
use crate::entry::increments::is_increments;
use crate::error::Result;
use crate::journal::{BatchId, Found, Identity, Install, Installed, PAGE, Reason, Release};

impl ShardState {
    /// `Journal::install`. On the server that it knows, the shard goes on in the new epoch: an open batch stays as it is, and
    /// whoever flushes it hears from the fence whether it is in effect. On another, or where another was in use in between, it
    /// recovers until [`resume`](Self::resume).
    pub fn install(&mut self, identity: &Identity, install: &Install) -> Installed {
        let last = self.meta.as_ref().map_or(0, |meta| meta.epoch);
        let is_outdated = install.diverged.is_some_and(|epoch| epoch != last);
        if *identity != install.identity || install.epoch <= last || is_outdated {
            return Installed::Refused;
        }
        let meta = self.meta.get_or_insert_default();
        meta.epoch = install.epoch;
        if meta.identity == *identity && meta.recovering.is_none() && install.diverged.is_none() {
            meta.batch = meta.batch.max(install.batch);
            // SQL may have been restored.
            meta.acked = meta.acked.min(install.batch);
            return Installed::Ready;
        }
        let held = meta.held();
        if meta.recovering.replace(identity.clone()).is_none() {
            (meta.known, meta.began) = (last, Some(held));
        }
        let (epoch, Began { batch, open }) = (meta.known, held);
        // What was released of it before does not come back.
        let whole = meta.open.map_or(open.is_some(), |open| open.whole);
        let (open, first) = open.map_or((None, 0), |(id, first)| (Some(id), first));
        Installed::Recover(Found { epoch, batch, open, first, whole, dirty: self.dirty.len() as u64 })
    }

    /// `Journal::dirty`
    ///
    /// # Errors
    /// `Fenced`
    pub fn dirty_keys(&mut self, identity: &Identity, epoch: u64, from: u64) -> Result<Vec<Bytes>> {
        self.recovering(identity, epoch)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.queue.iter().skip(from).take(PAGE).map(|(_, key)| key.clone()).collect())
    }

    /// `Journal::supersede`
    ///
    /// # Errors
    /// `Fenced`
    pub fn supersede(&mut self, identity: &Identity, epoch: u64, keys: &[Bytes], cause: Option<&str>, now: u64) -> Result<()> {
        self.recovering(identity, epoch)?;
        for key in keys {
            // What is frozen is another change.
            if self.frozen.contains_key(key) {
                continue;
            }
            match (self.dead.get_mut(key), cause) {
                // They may have been driven again in what was lost, or not.
                (Some(dead), cause) if cause.is_some() || is_increments(&dead.change.value) => dead.reason = Reason::Ambiguous,
                (Some(_), _) => drop(self.dead.remove(key)),
                (None, _) => {}
            }
            if self.undirty(key).is_none() {
                continue;
            }
            let tries = self.strikes.remove(key).unwrap_or(0);
            if let Some(Held::Dirty(change)) = self.entries.get(key).cloned() {
                self.entries.remove(key);
                if let Some(meta) = &mut self.meta {
                    meta.dirty_bytes = meta.dirty_bytes.saturating_sub(change.value.len() as u64);
                }
                if let Some(cause) = cause {
                    self.bury(key, Dead { change, reason: Reason::Ambiguous, cause: cause.to_owned(), tries, at: now });
                }
            }
        }
        Ok(())
    }

    /// `Journal::release`
    ///
    /// # Errors
    /// `Fenced`
    pub fn release(&mut self, identity: &Identity, epoch: u64, batch: BatchId, how: Release<'_>) -> Result<u64> {
        let meta = self.recovering(identity, epoch)?;
        match meta.open {
            // From here on it lacks keys because they were released.
            Some(open) if open.id == batch => meta.open = Some(Open { whole: true, ..open }),
            _ => return Ok(0),
        }
        let page: Vec<Bytes> = match how {
            Release::Drop(keys) => keys.to_vec(),
            Release::Dissolve => self.order.values().take(PAGE).cloned().collect(),
        };
        for key in &page {
            let Some(frozen) = self.thaw(key) else { continue };
            match how {
                Release::Drop(_) => {
                    self.forget(key, &frozen);
                    self.settle(key, &frozen, None);
                }
                Release::Dissolve => {
                    let since = frozen.since;
                    self.dissolve(key, frozen, since);
                }
            }
        }
        Ok(self.frozen.len() as u64)
    }

    /// `Journal::resume`
    ///
    /// # Errors
    /// `Fenced`
    pub fn resume(&mut self, identity: &Identity, install: &Install) -> Result<()> {
        let meta = self.recovering(identity, install.epoch)?;
        let batch = meta.batch.max(install.batch);
        let (inc, acked) = (install.epoch, install.batch);
        *meta = Meta { identity: identity.clone(), recovering: None, known: 0, began: None, inc, batch, acked, ..meta.clone() };
        Ok(())
    }
}
