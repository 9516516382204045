//! The journal in the process: a map of shard states.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cache::millis;
use crate::cache::{Ask, BoxFuture, Bytes, Declaration, Entries, Fill, Hold, Id, Lease, Lookup};
use crate::entry::members::Members;
use crate::entry::shard::ShardState;
use crate::error::{Error, Result};
use crate::journal::{
    Accept, Accepted, Ack, At, BatchId, Bounds, Claimed, Confirm, Counted, DeadLetter, Freeze, Identity, Install, Installed,
    Journal, Level, Park, Redriven, Release, Settled, Shard, Split, Status, Version,
};
use crate::options::Mode;
use crate::runtime::{Runtime, Tokio};

/// A journal and cache in the process, for write-back, with the semantics of a Redis of its own. Cheap to clone; all clones are
/// one.
///
/// **What was accepted and not flushed is gone with the process.** When it is full, clean values make room; accepted changes
/// stay, within the bounds of their namespace.
#[derive(Clone)]
pub struct MemoryJournal(Arc<Shared>);

struct Shared {
    /// By the stem of their keys.
    shards: Mutex<HashMap<Bytes, ShardState>>,
    /// Of each namespace, how it is written.
    modes: Mutex<HashMap<String, &'static str>>,
    /// By namespace.
    members: Mutex<HashMap<String, Members>>,
    identity: Identity,
    max_per_shard: usize,
    runtime: Arc<dyn Runtime>,
}

impl MemoryJournal {
    /// At most 10,000 clean entries per shard.
    #[must_use]
    pub fn new() -> Self {
        Self::with(10_000, Arc::new(Tokio))
    }

    /// At most about so many clean entries per shard, on the given clock.
    #[must_use]
    pub fn with(max_per_shard: usize, runtime: Arc<dyn Runtime>) -> Self {
        let identity = Identity(runtime.random().to_be_bytes().to_vec());
        let (shards, modes, members) = (Mutex::default(), Mutex::default(), Mutex::default());
        MemoryJournal(Arc::new(Shared { shards, modes, members, identity, max_per_shard, runtime }))
    }

    fn step<'a, T: Send + 'a>(
        &self,
        stem: &[u8],
        step: impl FnOnce(&mut ShardState, &Identity, u64) -> Result<T>,
    ) -> BoxFuture<'a, Result<T>> {
        let now = millis(self.0.runtime.now());
        let mut shards = self.0.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = step(shards.entry(stem.to_vec()).or_default(), &self.0.identity, now);
        Box::pin(std::future::ready(answer))
    }

    /// One step of each key's shard.
    fn steps<'a, Q, T: Send + 'a>(
        &self,
        questions: &[Q],
        key: impl Fn(&Q) -> &Bytes,
        step: impl Fn(&mut ShardState, &Identity, u64, &Q) -> Result<T>,
    ) -> BoxFuture<'a, Result<Vec<T>>> {
        let now = millis(self.0.runtime.now());
        let mut shards = self.0.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = |question: &Q| {
            let stem = stem_of(key(question)).ok_or_else(|| Error::invalid("not a key of a write-back namespace"))?;
            step(shards.entry(stem.to_vec()).or_default(), &self.0.identity, now, question)
        };
        let answers = questions.iter().map(answer).collect();
        Box::pin(std::future::ready(answers))
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl From<MemoryJournal> for Arc<dyn Journal> {
    fn from(journal: MemoryJournal) -> Self {
        Arc::new(journal)
    }
}

/// `{namespace:3}:` of a key.
#[must_use]
pub fn stem_of(key: &[u8]) -> Option<&[u8]> {
    let end = key.iter().position(|&byte| byte == b'}')?;
    key.get(..end + 2).filter(|stem| stem.starts_with(b"{") && stem.ends_with(b":"))
}

/// Why it cannot be at that level.
fn in_memory(level: Level) -> Option<Error> {
    (level != Level::Memory).then(|| Error::invalid("a journal in the process has no accept level but Memory"))
}

impl Entries for MemoryJournal {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        let fits = [Mode::WriteBack, Mode::Counters].iter().any(|mode| mode.name() == declaration.mode);
        if !fits || declaration.persistence {
            let volatile = "a journal in the process loses its changes with it: accept that with allow_volatile_changes()";
            return Box::pin(std::future::ready(Err(Error::invalid(volatile))));
        }
        let Declaration { namespace, mode, .. } = declaration;
        let mut modes = self.0.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = *modes.entry(namespace.clone()).or_insert(mode);
        let other =
            || Error::invalid(format!("namespace {namespace} is recorded as {recorded}, this handle would write it as {mode}"));
        Box::pin(std::future::ready(if recorded == *mode { Ok(()) } else { Err(other()) }))
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        self.steps(keys, |key| key, |shard, identity, now, key| shard.get(identity, key, now))
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        let (owner, keep, max) = (millis(hold.owner), millis(hold.key), self.0.max_per_shard);
        self.steps(
            asks,
            |ask| &ask.key,
            |shard, identity, now, ask| {
                shard.make_room(max, &ask.key);
                shard.lease(identity, &ask.key, ask.id, ask.discard, now, owner, keep)
            },
        )
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        let filled = self.steps(
            fills,
            |fill| &fill.key,
            |shard, identity, now, fill| shard.fill(identity, &fill.key, fill.lease, &fill.entry, millis(fill.ttl), now),
        );
        Box::pin(async move { filled.await.map(drop) })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        let gone = self.steps(keys, |key| key, |shard, _, now, key| Ok(shard.invalidate(key, now)));
        Box::pin(async move {
            let foreign = || Error::rejected("a cache key belongs to another strategy or a newer release");
            if gone.await?.iter().all(|gone| *gone) { Ok(()) } else { Err(foreign()) }
        })
    }

    fn scan<'a>(&'a self, stem: &'a [u8], _cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        let shard = stem_of(stem).unwrap_or_default();
        self.step(shard, |shard, _, _| Ok((0, shard.entries.keys().filter(|key| key.starts_with(stem)).cloned().collect())))
    }
}

impl Journal for MemoryJournal {
    fn status<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Status>> {
        self.step(&shard.stem(), |shard, identity, now| Ok(shard.status(identity, now)))
    }

    fn accept<'a>(
        &'a self,
        shard: &'a Shard,
        changes: &'a [Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> BoxFuture<'a, Result<Accepted>> {
        self.step(&shard.stem(), |shard, identity, now| shard.accept(identity, changes, bounds, millis(not_after), now))
    }

    fn confirm<'a>(&'a self, level: Level, _: &'a [Confirm], _: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(in_memory(level).map_or(Ok(()), Err)))
    }

    fn unmet<'a>(&'a self, _: &'a Declaration, level: Level) -> BoxFuture<'a, Result<Vec<Error>>> {
        Box::pin(std::future::ready(Ok(in_memory(level).into_iter().collect())))
    }

    fn settled<'a>(&'a self, shard: &'a Shard, inc: u64, changes: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<Vec<Settled>>> {
        self.step(&shard.stem(), |shard, identity, _| shard.settled(identity, inc, changes))
    }

    fn count<'a>(&'a self, asks: &'a [(Shard, Vec<Bytes>)]) -> BoxFuture<'a, Result<Vec<Counted>>> {
        let now = millis(self.0.runtime.now());
        let mut shards = self.0.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let of_shard =
            |(shard, keys): &(Shard, Vec<Bytes>)| shards.entry(shard.stem()).or_default().count(&self.0.identity, keys, now);
        let counted = asks.iter().map(of_shard).collect();
        Box::pin(std::future::ready(counted))
    }

    fn lead<'a>(&'a self, shard: &'a Shard, holder: Id, hold: Duration) -> BoxFuture<'a, Result<bool>> {
        self.step(&shard.stem(), |shard, _, now| Ok(shard.lead(holder, millis(hold), now)))
    }

    fn present<'a>(&'a self, namespace: &'a str, holder: Id, hold: Duration) -> BoxFuture<'a, Result<Vec<Id>>> {
        let now = millis(self.0.runtime.now());
        let mut members = self.0.members.lock().unwrap_or_else(PoisonError::into_inner);
        let there = members.entry(namespace.to_owned()).or_default().present(holder, millis(hold), now);
        Box::pin(std::future::ready(Ok(there)))
    }

    fn install<'a>(&'a self, shard: &'a Shard, install: &'a Install) -> BoxFuture<'a, Result<Installed>> {
        self.step(&shard.stem(), |shard, identity, _| Ok(shard.install(identity, install)))
    }

    fn claim<'a>(&'a self, at: &'a At, from: u64, freeze: Freeze) -> BoxFuture<'a, Result<Option<Claimed>>> {
        self.step(&at.shard.stem(), |shard, identity, now| shard.claim(identity, at.epoch, from, freeze, now))
    }

    fn acknowledge<'a>(&'a self, at: &'a At, batch: BatchId, acks: &'a [Ack]) -> BoxFuture<'a, Result<u64>> {
        self.step(&at.shard.stem(), |shard, identity, now| shard.acknowledge(identity, at.epoch, batch, acks, now))
    }

    fn park<'a>(&'a self, at: &'a At, batch: BatchId, park: Park<'a>) -> BoxFuture<'a, Result<u64>> {
        self.step(&at.shard.stem(), |shard, identity, now| shard.park(identity, at.epoch, batch, park, now))
    }

    fn split<'a>(&'a self, at: &'a At, batch: BatchId, keep: u64) -> BoxFuture<'a, Result<Option<Split>>> {
        self.step(&at.shard.stem(), |shard, identity, _| shard.split(identity, at.epoch, batch, keep))
    }

    fn ended<'a>(&'a self, at: &'a At, batch: BatchId) -> BoxFuture<'a, Result<()>> {
        self.step(&at.shard.stem(), |shard, identity, _| shard.ended(identity, at.epoch, batch))
    }

    fn delay<'a>(&'a self, at: &'a At, batch: BatchId, pause: Duration, counts: bool) -> BoxFuture<'a, Result<bool>> {
        self.step(&at.shard.stem(), |shard, identity, now| shard.delay(identity, at.epoch, batch, millis(pause), counts, now))
    }

    fn dirty<'a>(&'a self, at: &'a At, from: u64) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        self.step(&at.shard.stem(), |shard, identity, _| shard.dirty_keys(identity, at.epoch, from))
    }

    fn supersede<'a>(&'a self, at: &'a At, keys: &'a [Bytes], cause: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        self.step(&at.shard.stem(), |shard, identity, now| shard.supersede(identity, at.epoch, keys, cause, now))
    }

    fn release<'a>(&'a self, at: &'a At, batch: BatchId, how: Release<'a>) -> BoxFuture<'a, Result<u64>> {
        self.step(&at.shard.stem(), |shard, identity, _| shard.release(identity, at.epoch, batch, how))
    }

    fn resume<'a>(&'a self, at: &'a At, install: &'a Install) -> BoxFuture<'a, Result<()>> {
        self.step(&at.shard.stem(), |shard, identity, _| shard.resume(identity, install))
    }

    fn dead_letters<'a>(
        &'a self,
        shard: &'a Shard,
        after: Option<&'a (Version, Bytes)>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        self.step(&shard.stem(), |shard, _, _| Ok(shard.dead_letters(after)))
    }

    fn redrive<'a>(
        &'a self,
        shard: &'a Shard,
        letters: &'a [(Bytes, Version)],
        bounds: Bounds,
    ) -> BoxFuture<'a, Result<Vec<Redriven>>> {
        self.step(&shard.stem(), |shard, identity, now| shard.redrive(identity, letters, bounds, now))
    }

    fn discard<'a>(&'a self, shard: &'a Shard, letters: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<u64>> {
        self.step(&shard.stem(), |shard, identity, _| shard.discard(identity, letters))
    }
}

impl fmt::Debug for MemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = self.0.shards.lock().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("MemoryJournal").field("shards", &shards).finish_non_exhaustive()
    }
}
