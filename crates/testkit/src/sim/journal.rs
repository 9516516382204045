//! The simulated Redis of write-back: the pure machine of `writeway_core::entry::shard` behind simulated calls. A call is one step
//! of the schedule, whatever the number of its keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_core::cache::{Ask, BoxFuture, Bytes, Declaration, Entries, Fill, Hold, Id, Lease, Lookup};
use writeway_core::entry::held::Held;
use writeway_core::entry::shard::ShardState;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{
    Accept, Accepted, Ack, At, BatchId, Bounds, Claimed, DeadLetter, Freeze, Identity, Install, Installed, Journal as Port,
    Release, Settled, Shard, Status, Version,
};
use writeway_core::memory::stem_of;

use super::restart::{Evict, Restart};
use super::{CALL_LIMIT, locked};
use crate::explorer::{Call, End, Failed, READS, Side, WRITES, World, millis};

/// A simulated Redis with a journal. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Journal {
    world: World,
    state: Arc<Mutex<JournalState>>,
}

/// Every shard, by the stem of its keys.
pub(super) type Shards = BTreeMap<Bytes, ShardState>;

#[derive(Default)]
pub(super) struct JournalState {
    pub(super) shards: Shards,
    /// How often the server has started.
    pub(super) starts: u64,
    /// What lay there after each change, for a server that comes back in an older state.
    pub(super) past: Vec<Shards>,
    pub(super) keeps_past: bool,
    pub(super) lost: bool,
    accepted: Vec<Landed>,
}

/// A change that the journal accepted.
#[derive(Clone, Debug)]
pub struct Landed {
    /// When, in the order of all that happened.
    pub at: u64,
    /// For which operation.
    pub op: Option<u64>,
    /// Under which cache key.
    pub key: Bytes,
    /// The value entry.
    pub value: Bytes,
}

impl JournalState {
    pub(super) fn identity(&self) -> Identity {
        Identity(self.starts.to_be_bytes().to_vec())
    }
}

impl Journal {
    pub(super) fn new(world: &World) -> Self {
        Journal { world: world.clone(), state: Arc::default() }
    }

    /// Between any two steps, as often as the scenario's `evictions` allow, a clean entry goes.
    #[must_use]
    pub fn evicting(self) -> Self {
        self.world.adversary(Arc::new(Evict(self.state.clone())));
        self
    }

    /// Between any two steps, as often as the scenario's `evictions` allow, the server restarts: with all that it held, without
    /// its last changes, or empty.
    #[must_use]
    pub fn restarting(self) -> Self {
        locked(&self.state).keeps_past = true;
        self.world.adversary(Arc::new(Restart(self.state.clone())));
        self
    }

    /// Every accept that landed, in order.
    #[must_use]
    pub fn accepted(&self) -> Vec<Landed> {
        locked(&self.state).accepted.clone()
    }

    /// The server came back without something.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        locked(&self.state).lost
    }

    /// Changes that are dirty, in an open batch, or set aside.
    #[must_use]
    pub fn left(&self) -> (usize, usize, usize) {
        let state = locked(&self.state);
        let sum = |count: fn(&ShardState) -> usize| state.shards.values().map(count).sum();
        (sum(|shard| shard.dirty.len()), sum(|shard| shard.frozen.len()), sum(|shard| shard.dead.len()))
    }

    /// The clean values of the current incarnation.
    #[must_use]
    pub fn clean(&self) -> Vec<(Bytes, Bytes)> {
        let now = self.world.now_ms();
        let mut state = locked(&self.state);
        let mut found = Vec::new();
        for shard in state.shards.values_mut() {
            let Some(inc) = shard.meta.as_ref().map(|meta| meta.inc) else { continue };
            for (key, held) in &shard.entries {
                let mut held = Some(held.clone());
                Held::expire(&mut held, now);
                if let Lookup::Hit(entry) = Held::get(held.as_ref(), inc) {
                    found.push((key.clone(), entry));
                }
            }
        }
        found
    }

    async fn call<T: Send>(
        &self,
        what: impl FnOnce() -> String,
        ends: &'static [End],
        limit: u64,
        effect: impl FnOnce(&mut JournalState, u64) -> T + Send + 'static,
    ) -> Result<T> {
        let call = Call { what: self.world.label(what), side: Side::Cache, ends, limit, lands_by: None };
        let (world, state) = (self.world.clone(), self.state.clone());
        let changes = ends.len() > 1;
        let effect = move || {
            let mut state = locked(&state);
            let done = effect(&mut state, world.now_ms());
            if changes && state.keeps_past {
                let now = state.shards.clone();
                state.past.push(now);
            }
            done
        };
        self.world.call(call, effect).await.map_err(|failed| match failed {
            Failed::Refused => Error::unavailable("the simulated journal refuses"),
            Failed::Unknown => Error::unknown("the simulated journal does not answer"),
        })
    }

    /// One operation on one shard.
    async fn on<T: Send>(
        &self,
        what: &'static str,
        shard: &Shard,
        ends: &'static [End],
        step: impl FnOnce(&mut ShardState, &Identity, u64) -> Result<T> + Send + 'static,
    ) -> Result<T>
    where
        T: std::fmt::Debug + 'static,
    {
        let stem = shard.stem();
        let limit = self.world.now_ms() + CALL_LIMIT;
        let done = self.call(
            || format!("journal {what}"),
            ends,
            limit,
            move |state, now| {
                let identity = state.identity();
                step(state.shards.entry(stem).or_default(), &identity, now)
            },
        );
        let done = done.await?;
        self.world.note(|| format!("  → {done:?}"));
        done
    }

    /// One operation on several keys.
    async fn each<Q: Clone + Send + 'static, T: Send + std::fmt::Debug + 'static>(
        &self,
        what: &'static str,
        ends: &'static [End],
        questions: &[Q],
        key: fn(&Q) -> &Bytes,
        step: impl Fn(&mut ShardState, &Identity, u64, &Q) -> Result<T> + Send + 'static,
    ) -> Result<Vec<T>> {
        let asked = questions.to_vec();
        let limit = self.world.now_ms() + CALL_LIMIT;
        let done = self.call(
            || format!("journal {what}"),
            ends,
            limit,
            move |state, now| {
                let identity = state.identity();
                let one = |question: &Q| {
                    let stem = stem_of(key(question)).ok_or_else(|| Error::invalid("not a journal key"))?;
                    step(state.shards.entry(stem.to_vec()).or_default(), &identity, now, question)
                };
                asked.iter().map(one).collect::<Result<Vec<T>>>()
            },
        );
        let done = done.await?;
        self.world.note(|| format!("  → {done:?}"));
        done
    }
}

impl From<Journal> for Arc<dyn Port> {
    fn from(journal: Journal) -> Self {
        Arc::new(journal)
    }
}

impl Entries for Journal {
    fn declare<'a>(&'a self, _: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let found =
                self.each("get", READS, keys, |key| key, |shard, identity, now, key| shard.get(identity, key, now)).await?;
            if found.iter().any(|found| !matches!(found, Lookup::Miss)) {
                self.world.mark_hit();
            }
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        let (owner, keep) = (millis(hold.owner), millis(hold.key));
        Box::pin(self.each(
            "lease",
            WRITES,
            asks,
            |ask| &ask.key,
            move |shard, identity, now, ask| shard.lease(identity, &ask.key, ask.id, ask.discard, now, owner, keep),
        ))
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let fill = |shard: &mut ShardState, identity: &Identity, now: u64, fill: &Fill| {
                shard.fill(identity, &fill.key, fill.lease, &fill.entry, millis(fill.ttl), now)
            };
            self.each("fill", WRITES, fills, |fill| &fill.key, fill).await.map(drop)
        })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.each("invalidate", WRITES, keys, |key| key, |shard, _, now, key| Ok(shard.invalidate(key, now))).await.map(drop)
        })
    }

    fn scan<'a>(&'a self, _: &'a [u8], _: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        Box::pin(std::future::ready(Ok((0, Vec::new()))))
    }
}

impl Port for Journal {
    fn status<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Status>> {
        Box::pin(self.on("status", shard, READS, |shard, identity, now| Ok(shard.status(identity, now))))
    }

    fn accept<'a>(
        &'a self,
        shard: &'a Shard,
        changes: &'a [Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> BoxFuture<'a, Result<Accepted>> {
        Box::pin(async move {
            let (stem, changes, by) = (shard.stem(), changes.to_vec(), millis(not_after));
            let (op, world) = (self.world.op(), self.world.clone());
            // Its caller is answered at `not_after` at the latest, so the server takes it only strictly before; and a client
            // that gives up does not do so earlier.
            let limit = (self.world.now_ms() + CALL_LIMIT).max(by);
            let accepted = self.call(
                || "journal accept".to_owned(),
                WRITES,
                limit,
                move |state, now| {
                    let identity = state.identity();
                    let shard = state.shards.entry(stem).or_default();
                    let accepted = shard.accept(&identity, &changes, bounds, by.saturating_sub(1), now)?;
                    if matches!(accepted, Accepted::As { .. }) {
                        let at = world.tick();
                        let landed = |change: Accept| Landed { at, op, key: change.key, value: change.value };
                        state.accepted.extend(changes.into_iter().map(landed));
                    }
                    Ok(accepted)
                },
            );
            let accepted = accepted.await?;
            self.world.note(|| format!("  → {accepted:?}"));
            accepted
        })
    }

    fn settled<'a>(&'a self, shard: &'a Shard, inc: u64, changes: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<Vec<Settled>>> {
        let changes = changes.to_vec();
        Box::pin(self.on("settled", shard, READS, move |shard, identity, _| shard.settled(identity, inc, &changes)))
    }

    fn lead<'a>(&'a self, shard: &'a Shard, holder: Id, hold: Duration) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.on("lead", shard, READS, move |shard, _, now| Ok(shard.lead(holder, millis(hold), now))))
    }

    fn install<'a>(&'a self, shard: &'a Shard, install: &'a Install) -> BoxFuture<'a, Result<Installed>> {
        let install = install.clone();
        Box::pin(self.on("install", shard, WRITES, move |shard, identity, _| Ok(shard.install(identity, &install))))
    }

    fn claim<'a>(&'a self, at: &'a At, from: u64, freeze: Freeze) -> BoxFuture<'a, Result<Option<Claimed>>> {
        let epoch = at.epoch;
        Box::pin(self.on("claim", &at.shard, WRITES, move |shard, identity, now| shard.claim(identity, epoch, from, freeze, now)))
    }

    fn acknowledge<'a>(&'a self, at: &'a At, batch: BatchId, acks: &'a [Ack]) -> BoxFuture<'a, Result<u64>> {
        let (epoch, acks) = (at.epoch, acks.to_vec());
        let step = move |shard: &mut ShardState, identity: &Identity, now| shard.acknowledge(identity, epoch, batch, &acks, now);
        Box::pin(self.on("acknowledge", &at.shard, WRITES, step))
    }

    fn park<'a>(&'a self, at: &'a At, batch: BatchId, keys: &'a [Bytes], cause: &'a str) -> BoxFuture<'a, Result<u64>> {
        let (epoch, keys, cause) = (at.epoch, keys.to_vec(), cause.to_owned());
        let step = move |shard: &mut ShardState, identity: &Identity, _| shard.park(identity, epoch, batch, &keys, &cause);
        Box::pin(self.on("park", &at.shard, WRITES, step))
    }

    fn dirty<'a>(&'a self, at: &'a At, from: u64) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        let epoch = at.epoch;
        Box::pin(self.on("dirty", &at.shard, READS, move |shard, identity, _| shard.dirty_keys(identity, epoch, from)))
    }

    fn supersede<'a>(&'a self, at: &'a At, keys: &'a [Bytes], cause: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        let (epoch, keys, cause) = (at.epoch, keys.to_vec(), cause.map(ToOwned::to_owned));
        let step =
            move |shard: &mut ShardState, identity: &Identity, _| shard.supersede(identity, epoch, &keys, cause.as_deref());
        Box::pin(self.on("supersede", &at.shard, WRITES, step))
    }

    fn release<'a>(&'a self, at: &'a At, batch: BatchId, how: Release) -> BoxFuture<'a, Result<u64>> {
        let epoch = at.epoch;
        Box::pin(self.on("release", &at.shard, WRITES, move |shard, identity, _| shard.release(identity, epoch, batch, how)))
    }

    fn resume<'a>(&'a self, at: &'a At, install: &'a Install) -> BoxFuture<'a, Result<()>> {
        let install = install.clone();
        Box::pin(self.on("resume", &at.shard, WRITES, move |shard, identity, _| shard.resume(identity, &install)))
    }

    fn dead_letters<'a>(&'a self, shard: &'a Shard, after: Option<&'a Bytes>) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        let after = after.cloned();
        Box::pin(self.on("dead letters", shard, READS, move |shard, _, _| Ok(shard.dead_letters(after.as_ref()))))
    }
}
