//! What the handle, its tickets and its flusher share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use writeway_core::cache::{Declaration, Id};
use writeway_core::error::{Error, Kind, Result};
use writeway_core::journal::{Bounds, Journal, Shard, Status};
use writeway_core::key::KeySpace;
use writeway_core::read::{Reads, late};
use writeway_core::runtime::Runtime;
use writeway_core::store::{Blame, FencedStore};
use writeway_core::tasks::{Gate, until};

use crate::form::Form;
use crate::gauges::Gauges;
use crate::members::Members;
use crate::settings::{Classify, Settings};
use crate::stats::Counters;
use crate::together::Queue;
use crate::watch::Watch;

pub(crate) struct Engine<S: FencedStore> {
    pub(crate) reads: Arc<Reads<S>>,
    /// Where changes lie in the journal.
    pub(crate) keys: KeySpace,
    /// How they do.
    pub(crate) form: Box<dyn Form<S::Key, S::Row>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) name: Arc<str>,
    pub(crate) shards: Vec<Shard>,
    /// The epoch of each shard in SQL when this handle was built: a cache server that knows none so late was left since.
    pub(crate) epochs: Vec<u64>,
    pub(crate) bounds: Bounds,
    /// So many dead letters a shard may have.
    pub(crate) max_dead: u64,
    pub(crate) classify: Option<Arc<Classify>>,
    pub(crate) settings: Settings,
    /// This handle's name in flush leases.
    pub(crate) holder: Id,
    /// Counts the writes under way.
    pub(crate) gate: Gate,
    pub(crate) counters: Counters,
    /// Whose the shards are.
    pub(crate) members: Members,
    /// How the journal's server is set up.
    pub(crate) watch: Watch,
    pub(crate) gauges: Gauges,
    /// Rings whenever a batch has taken effect.
    pub(crate) flushed: watch::Sender<()>,
    /// By shard: increments that are about to be accepted.
    pub(crate) queues: Vec<Queue>,
    /// By shard: flush what is there without waiting for the delay.
    urgent: Vec<AtomicBool>,
    wake: Notify,
    /// One flush at a time: one connection of the pool.
    sql: Semaphore,
    /// The time for draining is over: what is not in SQL yet stays in the journal.
    ending: AtomicBool,
}

impl<S: FencedStore> Engine<S> {
    pub(crate) fn new(
        reads: Arc<Reads<S>>,
        form: Box<dyn Form<S::Key, S::Row>>,
        journal: Arc<dyn Journal>,
        declaration: Declaration,
        shards: impl Iterator<Item = (Shard, u64)>,
        settings: Settings,
        classify: Option<Arc<Classify>>,
    ) -> Self {
        let (shards, epochs): (Vec<_>, Vec<_>) = shards.unzip();
        let bounds = settings.bounds(shards.len());
        Engine {
            holder: Id::from(reads.runtime.random()),
            reads,
            keys: KeySpace::sharded(&shards),
            form,
            journal,
            counters: Counters::new(&declaration.namespace),
            gauges: Gauges::new(&declaration.namespace, shards.len(), bounds),
            name: declaration.namespace.as_str().into(),
            members: Members::unknown(),
            watch: Watch::over(declaration),
            bounds,
            max_dead: settings.dead(shards.len()),
            classify,
            settings,
            gate: Gate::open(),
            flushed: watch::Sender::new(()),
            queues: shards.iter().map(|_| Queue::default()).collect(),
            urgent: shards.iter().map(|_| AtomicBool::new(false)).collect(),
            shards,
            epochs,
            wake: Notify::new(),
            sql: Semaphore::new(1),
            ending: AtomicBool::new(false),
        }
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.reads.runtime
    }

    /// When a call that starts now must have ended.
    pub(crate) fn deadline(&self) -> Duration {
        self.runtime().now() + self.reads.call_timeout
    }

    /// One call of the journal, within the `call_timeout`.
    pub(crate) async fn ask<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        until(self.runtime(), self.deadline(), call).await.unwrap_or_else(|| Err(late()))
    }

    /// One transaction of the flusher in SQL for a shard, within the given time from when it is its turn; none any more when the handle
    /// ends, or somebody else leads the shard by then.
    pub(crate) async fn in_sql<T>(
        &self,
        shard: usize,
        within: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Option<Result<T>> {
        let asked = self.runtime().now();
        // Never closed.
        let _turn = self.sql.acquire().await;
        if self.runtime().now() > asked + self.settings.hold() / 4 {
            // The flush lease was taken before the wait.
            match self.lead(shard).await {
                Ok(true) => {}
                Ok(false) => return Some(Err(Error::fenced())),
                Err(e) => return Some(Err(e)),
            }
        }
        if self.is_ending() {
            return Some(Err(Error::closed()));
        }
        until(self.runtime(), self.runtime().now() + within, work).await
    }

    /// Whose fault it is that a flush failed.
    pub(crate) fn blame(&self, e: &Error) -> Blame {
        let classified = self.classify.as_ref().and_then(|classify| classify(e));
        classified.unwrap_or_else(|| self.reads.store.blame(e))
    }

    pub(crate) async fn status(&self, shard: usize) -> Result<Status> {
        let status = self.ask(self.journal.status(&self.shards[shard])).await?;
        self.gauges.saw(shard, &status);
        Ok(status)
    }

    /// From now on nothing more is begun in SQL.
    pub(crate) fn end(&self) {
        self.ending.store(true, SeqCst);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(SeqCst)
    }

    /// The flusher looks at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The flusher looks at once, if a batch is there.
    pub(crate) fn wake_under_pressure(&self, dirty: u64, dirty_bytes: u64) {
        if dirty >= self.settings.max_batch as u64 || dirty_bytes >= self.settings.max_batch_bytes as u64 {
            self.wake();
        }
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The flusher flushes what is in the shard, without waiting for the delay.
    pub(crate) fn urge(&self, shard: usize) {
        self.urgent[shard].store(true, SeqCst);
        self.wake();
    }

    /// Whether the shard was urged since the last look.
    pub(crate) fn take_urgency(&self, shard: usize) -> bool {
        self.urgent[shard].swap(false, SeqCst)
    }

    /// For the caller: a shard that must be opened first will be, in a moment. What was accepted before it came to that stays so.
    pub(crate) fn told(&self, e: Error, attempt: &'static str) -> Error {
        if e.kind() != Kind::Fenced {
            return e.during(attempt, &self.name);
        }
        self.wake();
        Error::unavailable("the journal is being compared with sql").with_outcome(e.outcome()).during(attempt, &self.name)
    }
}
