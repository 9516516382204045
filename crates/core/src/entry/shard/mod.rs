//! One shard of a write-back namespace, as pure functions of (state, arguments, time): the one definition of the journal.
//!
//! The in-process journal is a map of these, the explorer's is the same behind simulated calls, and the Lua scripts are its
//! second form, held to it by a differential property test.
//!
//! **Invariants.** While the shard is ready (installed on the server that is asked, and not recovering):
//! * a key with an accepted change that is not known to be in SQL holds `Dirty` with its last version, and is in the dirty set,
//!   in the open batch, or in both;
//! * the dirty set names no change that is in a batch: a key leaves it when it is frozen, never when it is acknowledged;
//! * what failed alone is due no sooner than it may be tried again, and is frozen alone;
//! * increments of a counter are in the dirty set, in the open batch, or summed up in both: an entry holds those of the dirty set
//!   only, and what is cached of SQL lies beside it;
//! * the open batch holds copies, and is named by the epoch and number under which it was frozen, for as long as it is open;
//! * `Clean` of the current incarnation is what SQL holds, under the rules of look-aside: a fill only into its own lease, and an
//!   accept or an acknowledge breaks the lease.
//!
//! `batch`: freezing, acknowledging. `failure`: splitting a batch that fails, and holding back or setting aside what fails alone.
//! `letters`: what was set aside. `count`: reading counters. `recovery`: taking over, and comparing a restored server with SQL.

mod batch;
mod confirm;
mod count;
mod failure;
mod letters;
mod meta;
mod recovery;

pub use meta::{Began, Meta, Open};

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::{Bytes, Id, Lease, Lookup};
use crate::entry::held::{Dirty, Held};
use crate::entry::increments::{combine, is_increments};
use crate::error::{Error, Result};
use crate::journal::{Accept, Accepted, Bound, Bounds, Identity, Reason, Settled, Status, Version};

/// A shard. Keys are whole cache keys; times are the server's, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    /// Nothing before the first install.
    pub meta: Option<Meta>,
    /// What lies under the keys.
    pub entries: BTreeMap<Bytes, Held>,
    /// The dirty set: changed keys that are in no batch, since when.
    pub dirty: BTreeMap<Bytes, u64>,
    /// The same, oldest first.
    queue: BTreeSet<(u64, Bytes)>,
    /// The open batch, by position.
    order: BTreeMap<u64, Bytes>,
    /// The open batch, by key.
    pub frozen: BTreeMap<Bytes, Frozen>,
    /// The dirty or frozen changes that failed alone, and how often.
    pub strikes: BTreeMap<Bytes, u64>,
    /// Changes that were set aside.
    pub dead: BTreeMap<Bytes, Dead>,
    leader: Option<(Id, u64)>,
}

/// A frozen change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Its position in the batch.
    pub at: u64,
    /// Since when it was dirty.
    pub since: u64,
    /// A copy: a later put must not slip in.
    pub change: Dirty,
}

/// A change that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// A copy.
    pub change: Dirty,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub cause: String,
    /// How often it failed alone.
    pub tries: u64,
    /// When.
    pub at: u64,
}

impl ShardState {
    /// The shard as installed on this server.
    fn ready(&self, identity: &Identity) -> Result<&Meta> {
        let ready = |meta: &&Meta| meta.identity == *identity && meta.recovering.is_none();
        self.meta.as_ref().filter(ready).ok_or_else(Error::fenced)
    }

    /// The same, for a flusher of this epoch.
    fn led(&mut self, identity: &Identity, epoch: u64) -> Result<&mut Meta> {
        self.ready(identity)?;
        self.meta.as_mut().filter(|meta| meta.epoch == epoch).ok_or_else(Error::fenced)
    }

    /// What lies under a key, expired or not.
    fn step<T>(&mut self, key: &Bytes, now: u64, step: impl FnOnce(&mut Option<Held>) -> T) -> T {
        let mut held = self.entries.remove(key);
        Held::expire(&mut held, now);
        let answer = step(&mut held);
        if let Some(held) = held {
            self.entries.insert(key.clone(), held);
        }
        answer
    }

    /// `Journal::status`
    #[must_use]
    pub fn status(&self, identity: &Identity, now: u64) -> Status {
        let meta = self.meta.clone().unwrap_or_default();
        let since = self.oldest();
        Status {
            identity: identity.clone(),
            installed: self.ready(identity).is_ok(),
            epoch: meta.epoch,
            known: if meta.recovering.is_some() { meta.known } else { meta.epoch },
            dirty: self.dirty.len() as u64,
            dirty_bytes: meta.dirty_bytes,
            delayed: (self.strikes.len() as u64)
                .min(self.queue.iter().rev().take_while(|(since, _)| *since > now).count() as u64),
            suspects: self.strikes.len() as u64,
            oldest: since.map(|since| std::time::Duration::from_millis(now.saturating_sub(since))),
            over: meta.held().over(),
            open: self.frozen.len() as u64,
            open_bytes: meta.open.map_or(0, |open| open.bytes),
            tries: meta.open.map_or(0, |open| open.tries),
            dead: self.dead.len() as u64,
            version: Version { epoch: meta.epoch, seq: meta.seq },
        }
    }

    /// `Entries::get`, of one key.
    ///
    /// # Errors
    /// `Fenced`
    pub fn get(&mut self, identity: &Identity, key: &Bytes, now: u64) -> Result<Lookup> {
        let inc = self.ready(identity)?.inc;
        Ok(self.step(key, now, |held| Held::get(held.as_ref(), inc)))
    }

    /// `Entries::lease`, of one key.
    ///
    /// # Errors
    /// `Fenced`
    #[expect(clippy::too_many_arguments, reason = "one step of one key, with its times")]
    pub fn lease(
        &mut self,
        identity: &Identity,
        key: &Bytes,
        id: Id,
        discard: bool,
        now: u64,
        owner_for: u64,
        keep_for: u64,
    ) -> Result<Lease> {
        let inc = self.ready(identity)?.inc;
        Ok(self.step(key, now, |held| Held::lease(held, inc, id, discard, now, owner_for, keep_for)))
    }

    /// `Entries::fill`, of one key.
    ///
    /// # Errors
    /// `Fenced`
    pub fn fill(&mut self, identity: &Identity, key: &Bytes, lease: Id, entry: &[u8], ttl: u64, now: u64) -> Result<()> {
        let inc = self.ready(identity)?.inc;
        self.step(key, now, |held| Held::fill(held, inc, lease, entry, ttl, now));
        Ok(())
    }

    /// `Entries::invalidate`, of one key. Needs no install: it removes nothing that SQL lacks.
    pub fn invalidate(&mut self, key: &Bytes, now: u64) -> bool {
        self.step(key, now, Held::invalidate)
    }

    /// `Journal::accept`. `not_after` and `now` are the server's clock.
    ///
    /// # Errors
    /// `Fenced`
    pub fn accept(
        &mut self,
        identity: &Identity,
        changes: &[Accept],
        bounds: Bounds,
        not_after: u64,
        now: u64,
    ) -> Result<Accepted> {
        self.ready(identity)?;
        if now > not_after {
            return Ok(Accepted::Late);
        }
        if changes.iter().any(|change| matches!(self.entries.get(&change.key), Some(Held::Foreign(_)))) {
            return Ok(Accepted::Foreign);
        }
        let Some(values) = self.combined(changes) else { return Ok(Accepted::Unfit) };
        if let Some(bound) = self.passed(changes, &values, bounds, now) {
            return Ok(Accepted::Full(bound));
        }
        let Some(mut meta) = self.meta.take() else { return Err(Error::fenced()) };
        let mut versions = Vec::with_capacity(changes.len());
        for (Accept { key, schema, .. }, value) in changes.iter().zip(values) {
            meta.seq += 1;
            let version = Version { epoch: meta.epoch, seq: meta.seq };
            versions.push(version);
            let before = self.coalesced(key);
            let first = before.map_or(version, |dirty| dirty.first);
            // Who knows the later one knows the earlier one's fields, too.
            let schema = before.filter(|_| is_increments(&value)).map_or(*schema, |dirty| dirty.schema.max(*schema));
            meta.dirty_bytes = (meta.dirty_bytes + value.len() as u64).saturating_sub(self.coalesced_bytes(key));
            let change = Dirty { schema, version, first, value };
            self.entries.insert(key.clone(), Held::Dirty(change));
            if !self.dirty.contains_key(key) {
                self.enqueue(key, now);
            }
        }
        let (inc, dirty_bytes) = (meta.inc, meta.dirty_bytes);
        self.meta = Some(meta);
        Ok(Accepted::As { versions, inc, dirty: self.dirty.len() as u64, dirty_bytes })
    }

    /// What the keys will hold after each change: a row replaces, increments are added to those that are dirty. `None` if they cannot be.
    fn combined(&self, changes: &[Accept]) -> Option<Vec<Bytes>> {
        let mut last = BTreeMap::<&Bytes, Bytes>::new();
        let value = |Accept { key, value, .. }: &Accept, before: Option<&Bytes>| {
            before
                .or(self.coalesced(key).map(|dirty| &dirty.value))
                .map_or_else(|| Some(value.clone()), |before| combine(before, value))
        };
        let mut values = Vec::with_capacity(changes.len());
        for change in changes {
            let combined = value(change, last.get(&change.key))?;
            last.insert(&change.key, combined.clone());
            values.push(combined);
        }
        Some(values)
    }

    /// The change of a key that is in the dirty set.
    fn coalesced(&self, key: &Bytes) -> Option<&Dirty> {
        match self.entries.get(key) {
            Some(Held::Dirty(dirty)) if self.dirty.contains_key(key) => Some(dirty),
            _ => None,
        }
    }

    fn coalesced_bytes(&self, key: &Bytes) -> u64 {
        self.coalesced(key).map_or(0, |dirty| dirty.value.len() as u64)
    }

    /// Since when the oldest change has waited, the open batch's first one included.
    fn oldest(&self) -> Option<u64> {
        let dirty = self.queue.first().map(|(since, _)| *since);
        let frozen = self.order.first_key_value().and_then(|(_, key)| self.frozen.get(key)).map(|frozen| frozen.since);
        dirty.into_iter().chain(frozen).min()
    }

    fn passed(&self, changes: &[Accept], values: &[Bytes], bounds: Bounds, now: u64) -> Option<Bound> {
        let meta = self.meta.as_ref()?;
        let new = changes.iter().filter(|change| !self.dirty.contains_key(&change.key)).count() as u64;
        let waited = self.oldest().map_or(0, |since| now.saturating_sub(since));
        if new > 0 && u128::from(waited) > bounds.age.as_millis() {
            return Some(Bound::Age);
        }
        if new > 0 && (self.dirty.len() + self.frozen.len()) as u64 + new > bounds.keys {
            return Some(Bound::Keys);
        }
        let before: u64 = changes.iter().map(|change| self.coalesced_bytes(&change.key)).sum();
        let after: u64 = values.iter().map(|value| value.len() as u64).sum();
        let held = meta.dirty_bytes + meta.open.map_or(0, |open| open.bytes);
        (after > before && held + after - before > bounds.bytes).then_some(Bound::Bytes)
    }

    /// `Journal::settled`
    ///
    /// # Errors
    /// `Fenced`
    pub fn settled(&self, identity: &Identity, inc: u64, changes: &[(Bytes, Version)]) -> Result<Vec<Settled>> {
        let now_inc = self.ready(identity)?.inc;
        let within = |change: &Dirty, version: Version| (change.first..=change.version).contains(&version);
        let settled = |(key, version): &(Bytes, Version)| {
            let frozen = self.frozen.get(key).is_some_and(|frozen| within(&frozen.change, *version));
            if frozen || self.coalesced(key).is_some_and(|dirty| dirty.first <= *version) {
                Settled::Pending
            } else if self.dead.get(key).is_some_and(|dead| within(&dead.change, *version)) {
                Settled::Dead
            } else if inc == now_inc {
                Settled::Durable
            } else {
                Settled::Unknown
            }
        };
        Ok(changes.iter().map(settled).collect())
    }

    /// Keeps at most about `max` keys besides those that hold accepted changes: drops one that may be dropped.
    pub fn make_room(&mut self, max: usize, near: &Bytes) {
        if self.entries.len() < max + self.dirty.len() + self.frozen.len() {
            return;
        }
        let (after, before) = (self.entries.range::<Bytes, _>(near..), self.entries.range::<Bytes, _>(..near));
        let victim = after.chain(before).find(|(_, held)| matches!(held, Held::Clean { .. })).map(|(key, _)| key.clone());
        if let Some(victim) = victim {
            self.entries.remove(&victim);
        }
    }

    /// `Journal::lead`, for `hold` milliseconds.
    pub fn lead(&mut self, holder: Id, hold: u64, now: u64) -> bool {
        if self.leader.is_some_and(|(other, until)| other != holder && until > now) {
            return false;
        }
        self.leader = (hold > 0).then_some((holder, now + hold));
        true
    }

    /// Puts a key into the dirty set.
    fn enqueue(&mut self, key: &Bytes, since: u64) {
        self.dirty.insert(key.clone(), since);
        self.queue.insert((since, key.clone()));
    }

    /// Takes a key out of the dirty set.
    fn undirty(&mut self, key: &Bytes) -> Option<u64> {
        let since = self.dirty.remove(key)?;
        self.queue.remove(&(since, key.clone()));
        Some(since)
    }

    /// Takes a change out of the open batch, which ends with its last one. Says how many are left.
    fn thaw(&mut self, key: &Bytes) -> Option<Frozen> {
        let frozen = self.frozen.remove(key)?;
        self.order.remove(&frozen.at);
        let ended = self.frozen.is_empty();
        if let Some(meta) = &mut self.meta {
            meta.open = meta
                .open
                .filter(|_| !ended)
                .map(|open| Open { bytes: open.bytes.saturating_sub(frozen.change.value.len() as u64), ..open });
        }
        Some(frozen)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
