//! The end of a look-aside writer's transaction: the one place where SQL and cache meet.
//!
//! **Invariant.** Whenever a key of a strict namespace holds a value, it is the committed row now (proved in `entry::state`).
//!
//! Strict, after the statements have run and hold their row locks:
//!
//! 1. *begin*: a barrier on every touched key. It carries `not_after`, so that it cannot land after the caller was answered.
//!    Not acknowledged → roll back, finish without publishing.
//! 2. *guard*: three quarters of the barrier's life gone by our own clock, or the call's deadline passed → the same.
//! 3. *COMMIT*. Known to have failed → finish without publishing. Unknown → **touch nothing**: it may still land; the barrier
//!    lapses by itself, and the next fill is fresh.
//! 4. *finish*: publish what SQL returned, where nobody overlapped; else remove.
//!
//! A crash before 3 leaves a barrier and no commit; in or after 3, a barrier that lapses. Reads go to SQL meanwhile.
//!
//! Eventual namespaces skip 1 and 2; their 4 is one invalidation, done also when the outcome is unknown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Barriers, BeginBy, Bytes, Finish, Finished, Id};
use crate::change::CacheEffect;
use crate::error::{Error, Outcome, Result};
use crate::options::Mode;
use crate::runtime::Runtime;
use crate::stats::WriteCounts;
use crate::store::Transaction;
use crate::tasks::until;

/// The keys of one namespace that a transaction touched.
#[derive(Clone)]
pub(crate) struct Touched {
    pub(crate) cache: Arc<dyn Barriers>,
    pub(crate) mode: Mode,
    /// How long a barrier stands.
    pub(crate) within: Duration,
    /// How long an old value may live if the cache cannot be told.
    pub(crate) longest_life: Duration,
    /// What to publish; `None` invalidates.
    pub(crate) keys: BTreeMap<Bytes, Option<(Bytes, Duration)>>,
    pub(crate) counts: Arc<WriteCounts>,
}

/// What became of the cached copies.
pub(crate) type Effects = BTreeMap<Bytes, CacheEffect>;

/// Runs steps 1 to 4. It ends by `deadline`, of [`Runtime::now`].
pub(crate) async fn commit<T: Transaction>(
    tx: T,
    touched: &[Touched],
    runtime: &Arc<dyn Runtime>,
    deadline: Duration,
) -> Result<Vec<Effects>> {
    let token = Id::from(runtime.random());
    let started = runtime.now();
    let guard = of(touched, Mode::Strict).map(|t| started + t.within * 3 / 4).fold(deadline, Duration::min);
    for (before, namespace) in of(touched, Mode::Strict).enumerate() {
        if let Err(e) = namespace.begin(token, guard, runtime).await {
            let asked = of(touched, Mode::Strict).take(before + 1);
            return Err(abandon(tx, asked, token, runtime, deadline, e).await);
        }
    }
    if runtime.now() >= guard {
        let e = Error::unavailable("the time for the commit was over before it could be sent");
        return Err(abandon(tx, of(touched, Mode::Strict), token, runtime, deadline, e).await);
    }
    match until(&**runtime, deadline, tx.commit()).await {
        Some(Ok(())) => {}
        Some(Err(e)) if e.outcome() == Outcome::NotApplied => {
            void(of(touched, Mode::Strict), token, runtime);
            return Err(e);
        }
        failed => {
            of(touched, Mode::Eventual).for_each(|t| t.invalidate_behind(runtime));
            let unanswered = || Error::unknown("no answer to commit by the call's deadline");
            return Err(failed.and_then(Result::err).unwrap_or_else(unanswered));
        }
    }
    let mut effects = Vec::with_capacity(touched.len());
    for namespace in touched {
        effects.push(namespace.end(token, runtime, deadline).await);
    }
    Ok(effects)
}

fn of(touched: &[Touched], mode: Mode) -> impl Iterator<Item = &Touched> {
    touched.iter().filter(move |t| t.mode == mode && !t.keys.is_empty())
}

/// Rolls back; the barriers are removed in a task of their own, because the caller's time may be over.
async fn abandon<'t>(
    tx: impl Transaction,
    asked: impl Iterator<Item = &'t Touched>,
    token: Id,
    runtime: &Arc<dyn Runtime>,
    deadline: Duration,
    why: Error,
) -> Error {
    void(asked, token, runtime);
    until(&**runtime, deadline, tx.rollback()).await;
    why.with_outcome(Outcome::NotApplied)
}

/// Finishes without publishing. Nothing was and nothing will be committed, so the order does not matter.
fn void<'t>(asked: impl Iterator<Item = &'t Touched>, token: Id, runtime: &Arc<dyn Runtime>) {
    for namespace in asked {
        let cache = namespace.cache.clone();
        let ends: Vec<Finish> = namespace.keys.keys().map(|key| Finish { key: key.clone(), publish: None }).collect();
        // What is not removed lapses, so there is nothing to wait for after that.
        let (clock, lapsed) = (runtime.clone(), runtime.now() + namespace.within);
        let task = async move { drop(until(&*clock, lapsed, cache.finish(&ends, token)).await) };
        runtime.spawn("void", Box::pin(task));
    }
}

impl Touched {
    async fn begin(&self, token: Id, guard: Duration, runtime: &Arc<dyn Runtime>) -> Result<()> {
        let keys: Vec<Bytes> = self.keys.keys().cloned().collect();
        let by = BeginBy { within: self.within, not_after: guard };
        let placed = until(&**runtime, guard, self.cache.begin(&keys, token, by)).await;
        placed.unwrap_or_else(|| Err(Error::unavailable("the cache did not confirm the commit barrier in time")))
    }

    /// Tells the cache that the commit is there.
    async fn end(&self, token: Id, runtime: &Arc<dyn Runtime>, deadline: Duration) -> Effects {
        if self.mode == Mode::Strict {
            return self.finish(token, runtime, deadline).await;
        }
        self.invalidate(runtime, deadline).await
    }

    async fn finish(&self, token: Id, runtime: &Arc<dyn Runtime>, deadline: Duration) -> Effects {
        let end = |(key, publish): (&Bytes, &Option<_>)| Finish { key: key.clone(), publish: publish.clone() };
        let ends: Vec<Finish> = self.keys.iter().map(end).collect();
        match until(&**runtime, deadline, self.cache.finish(&ends, token)).await {
            Some(Ok(finished)) => {
                self.counted(self.keys.keys().cloned().zip(finished.into_iter().map(CacheEffect::from)).collect())
            }
            Some(Err(_)) | None => self.lapses(self.within),
        }
    }

    pub(crate) async fn invalidate(&self, runtime: &Arc<dyn Runtime>, deadline: Duration) -> Effects {
        let keys: Vec<Bytes> = self.keys.keys().cloned().collect();
        match until(&**runtime, deadline, self.cache.invalidate(&keys)).await {
            Some(Ok(())) => self.counted(keys.into_iter().map(|key| (key, CacheEffect::Invalidated)).collect()),
            Some(Err(_)) | None => self.lapses(self.longest_life),
        }
    }

    /// The commit may have landed or may land later: the old values go in any case, and the caller's time may be over.
    pub(crate) fn invalidate_behind(&self, runtime: &Arc<dyn Runtime>) {
        let (cache, keys) = (self.cache.clone(), self.keys.keys().cloned().collect::<Vec<_>>());
        let (clock, lived) = (runtime.clone(), runtime.now() + self.longest_life);
        let task = async move { drop(until(&*clock, lived, cache.invalidate(&keys)).await) };
        runtime.spawn("invalidate", Box::pin(task));
    }

    fn lapses(&self, within: Duration) -> Effects {
        tracing::warn!(name: "write.lapses", keys = self.keys.len(), ?within, "a committed write could not be told to the cache");
        self.counted(self.keys.keys().map(|key| (key.clone(), CacheEffect::Lapses { within })).collect())
    }

    fn counted(&self, effects: Effects) -> Effects {
        effects.values().for_each(|effect| self.counts.committed(*effect));
        effects
    }
}

impl From<Finished> for CacheEffect {
    fn from(finished: Finished) -> Self {
        match finished {
            Finished::Published => CacheEffect::Published,
            Finished::Voided => CacheEffect::Invalidated,
        }
    }
}
