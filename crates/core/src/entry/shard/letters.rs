//! Changes that were set aside: listed, driven again, discarded.
//!
//! A letter stands for the last change of its key that was set aside, and is outdated once a newer one is in SQL: `acknowledge`
//! removes it. So what is driven again is never older than what SQL has, except after a restore of the cache server, for which
//! [`Reason::Ambiguous`](crate::journal::Reason::Ambiguous) stands. A letter of increments is outdated by nothing: they are added
//! to whatever there is when it is driven again.

use super::{Dead, ShardState};
use crate::cache::Bytes;
use crate::entry::held::{Dirty, Held};
use crate::entry::increments::{is_increments, join};
use crate::error::Result;
use crate::journal::{Accept, Bounds, DeadLetter, Identity, PAGE, Redriven, Version};

/// A page of letters has no further one after so many bytes.
const PAGE_BYTES: usize = 4 << 20;

impl ShardState {
    /// Sets a change aside. One letter stands for all of the key's that were: none of them is in SQL. Of increments it holds the sum.
    pub(super) fn bury(&mut self, key: &Bytes, mut dead: Dead) {
        if let Some(before) = self.dead.get(key) {
            dead.change.first = dead.change.first.min(before.change.first);
            if is_increments(&before.change.value) || is_increments(&dead.change.value) {
                dead.change.value = join(&before.change.value, &dead.change.value);
                dead.change.schema = dead.change.schema.max(before.change.schema);
            }
        }
        self.dead.insert(key.clone(), dead);
    }

    /// `Journal::dead_letters`
    #[must_use]
    pub fn dead_letters(&self, after: Option<&(Version, Bytes)>) -> Vec<DeadLetter> {
        let mut later: Vec<_> = self.dead.iter().map(|(key, dead)| (dead.change.version, key, dead)).collect();
        later.retain(|(version, key, _)| after.is_none_or(|(last, at)| (*version, *key) > (*last, at)));
        later.sort_by_key(|(version, key, _)| (*version, *key));
        let mut bytes = 0;
        let fits = |(_, _, dead): &(Version, &Bytes, &Dead)| {
            let fits = bytes < PAGE_BYTES;
            bytes += dead.change.value.len();
            fits
        };
        let letter = |(version, key, dead): (Version, &Bytes, &Dead)| DeadLetter {
            key: key.clone(),
            version,
            schema: dead.change.schema,
            reason: dead.reason,
            cause: dead.cause.clone(),
            tries: dead.tries,
            at: std::time::Duration::from_millis(dead.at),
            value: dead.change.value.clone(),
        };
        later.into_iter().take(PAGE).take_while(fits).map(letter).collect()
    }

    /// `Journal::redrive`
    ///
    /// # Errors
    /// `Fenced`
    pub fn redrive(
        &mut self,
        identity: &Identity,
        letters: &[(Bytes, Version)],
        bounds: Bounds,
        now: u64,
    ) -> Result<Vec<Redriven>> {
        self.ready(identity)?;
        Ok(letters.iter().map(|(key, version)| self.redrive_one(key, *version, bounds, now)).collect())
    }

    fn redrive_one(&mut self, key: &Bytes, version: Version, bounds: Bounds, now: u64) -> Redriven {
        let Some(dead) = self.dead.get(key).filter(|dead| dead.change.version == version) else { return Redriven::Gone };
        let counts = is_increments(&dead.change.value);
        let newer = self.dirty.contains_key(key) || self.frozen.contains_key(key);
        match self.entries.get(key) {
            Some(Held::Foreign(_)) => return Redriven::Foreign,
            Some(Held::Dirty(_)) if !counts => return Redriven::Superseded,
            _ if newer && !counts => return Redriven::Superseded,
            _ => {}
        }
        let Dirty { schema, first, value, .. } = dead.change.clone();
        let again = [Accept { key: key.clone(), schema, value }];
        let Some(values) = self.combined(&again) else { return Redriven::Unfit };
        if let Some(bound) = self.passed(&again, &values, bounds, now) {
            return Redriven::Full(bound);
        }
        let Some(value) = values.into_iter().next() else { return Redriven::Gone };
        let before = self.coalesced(key);
        let (first, schema) = before.map_or((first, schema), |dirty| (first.min(dirty.first), schema.max(dirty.schema)));
        let replaced = self.coalesced_bytes(key);
        let Some(meta) = &mut self.meta else { return Redriven::Gone };
        meta.seq += 1;
        meta.dirty_bytes = (meta.dirty_bytes + value.len() as u64).saturating_sub(replaced);
        let version = Version { epoch: meta.epoch, seq: meta.seq };
        self.entries.insert(key.clone(), Held::Dirty(Dirty { schema, version, first, value }));
        self.dead.remove(key);
        if !self.dirty.contains_key(key) {
            self.enqueue(key, now);
        }
        Redriven::Dirty
    }

    /// `Journal::discard`
    ///
    /// # Errors
    /// `Fenced`
    pub fn discard(&mut self, identity: &Identity, letters: &[(Bytes, Version)]) -> Result<u64> {
        self.ready(identity)?;
        let before = self.dead.len();
        for (key, version) in letters {
            if self.dead.get(key).is_some_and(|dead| dead.change.version == *version) {
                self.dead.remove(key);
            }
        }
        Ok((before - self.dead.len()) as u64)
    }
}
