//! The simulated Redis of write-back: the pure machine of `writeway_core::entry::shard` behind simulated calls. A call is one step
//! of the schedule, whatever the number of its keys.

mod port;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use writeway_core::cache::{Bytes, Lookup};
use writeway_core::entry::held::Held;
use writeway_core::entry::members::Members;
use writeway_core::entry::shard::{Dead, ShardState};
use writeway_core::error::{Error, Result};
use writeway_core::journal::{Identity, Reason, Shard};
use writeway_core::memory::stem_of;

use super::restart::{Alternate, Evict, Restart};
use super::{CALL_LIMIT, locked};
use crate::explorer::{Call, End, Failed, Side, World};

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
    /// The server that is not in use: its identity, and what it holds.
    pub(super) other: Option<(u64, Shards)>,
    /// Which server is in use.
    pub(super) current: u64,
    /// So many states of the past are at their level: no restart goes behind the last of them.
    pub(super) confirmed: usize,
    /// When it last came back without something, and what it still held of what was not flushed.
    pub(super) lost: Option<Loss>,
    /// Who is there, by namespace, if that is told.
    members: BTreeMap<String, Members>,
    spreads: bool,
    /// Everybody is told that they have the flush lease.
    leaseless: bool,
    accepted: Vec<Landed>,
    waiting: Vec<Waker>,
}

/// The journal's server came back without something.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// When, in the order of all that happened.
    pub at: u64,
    /// The changes that it held all the same, and that were not known to be in SQL: keys and value entries.
    pub kept: Vec<(Bytes, Bytes)>,
}

/// What is there of changes that are not known to be in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Keys in the dirty set.
    pub dirty: usize,
    /// Changes in open batches.
    pub frozen: usize,
    /// Keys under which a change lies.
    pub entries: usize,
    /// Changes that were set aside.
    pub dead: usize,
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
        Identity(self.current.to_be_bytes().to_vec())
    }

    /// Every shard goes on, on this server, and nothing is on its way.
    fn is_drained(&self) -> bool {
        let identity = self.identity();
        let drained = |shard: &ShardState| shard.status(&identity, 0).installed && shard.dirty.len() + shard.frozen.len() == 0;
        !self.shards.is_empty() && self.shards.values().all(drained)
    }

    fn tell_the_waiting(&mut self) {
        if !self.waiting.is_empty() && self.is_drained() {
            self.waiting.drain(..).for_each(Waker::wake);
        }
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
        self.world.adversary(Arc::new(Restart { world: self.world.clone(), journal: self.state.clone() }));
        self
    }

    /// Between any two steps, as often as the scenario's `evictions` allow, another server is in use: first a copy, which may lack
    /// the last changes, then the former one as it was left, and so on by turns.
    #[must_use]
    pub fn alternating(self) -> Self {
        locked(&self.state).keeps_past = true;
        self.world.adversary(Arc::new(Alternate { world: self.world.clone(), journal: self.state.clone() }));
        self
    }

    /// Everybody has the flush lease, at any time: it saves work and gives no safety, so nothing may depend on it.
    #[must_use]
    pub fn leaseless(self) -> Self {
        locked(&self.state).leaseless = true;
        self
    }

    /// Processes hear of each other, and share the shards.
    #[must_use]
    pub fn spreading(self) -> Self {
        locked(&self.state).spreads = true;
        self
    }

    /// Ends when nothing is on its way: who waits for it keeps a flusher alive without a step of the schedule.
    pub async fn drained(&self) {
        poll_fn(|cx| {
            let mut state = locked(&self.state);
            if state.is_drained() {
                return Poll::Ready(());
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Every accept that landed, in order.
    #[must_use]
    pub fn accepted(&self) -> Vec<Landed> {
        locked(&self.state).accepted.clone()
    }

    /// When the server last came back without something.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        locked(&self.state).lost.clone()
    }

    /// What is there of changes that are not known to be in SQL.
    #[must_use]
    pub fn left(&self) -> Left {
        let state = locked(&self.state);
        let sum = |count: fn(&ShardState) -> usize| state.shards.values().map(count).sum();
        Left {
            dirty: sum(|shard| shard.dirty.len()),
            frozen: sum(|shard| shard.frozen.len()),
            entries: sum(|shard| shard.entries.values().filter(|held| matches!(held, Held::Dirty(_))).count()),
            dead: sum(|shard| shard.dead.len()),
        }
    }

    /// What was set aside: keys, value entries, and why.
    #[must_use]
    pub fn dead(&self) -> Vec<(Bytes, Bytes, Reason)> {
        let letter = |(key, dead): (&Bytes, &Dead)| (key.clone(), dead.change.value.clone(), dead.reason);
        let letters = |shard: &ShardState| shard.dead.iter().map(letter).collect::<Vec<_>>();
        locked(&self.state).shards.values().flat_map(letters).collect()
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
            state.tell_the_waiting();
            done
        };
        self.world.call(call, effect).await.map_err(|failed| match failed {
            Failed::Refused => Error::unavailable("the simulated journal refuses"),
            Failed::Unknown => Error::unknown("the simulated journal does not answer"),
        })
    }

    /// One operation on one shard.
    async fn on<T: Send + std::fmt::Debug + 'static>(
        &self,
        what: &'static str,
        shard: &Shard,
        ends: &'static [End],
        step: impl FnOnce(&mut ShardState, &Identity, u64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
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
