//! The flusher: one task per handle, which looks at every shard, flushes those that are due and nobody else flushes, one after
//! the other over one connection, and sleeps.
//!
//! What it does for one shard is a task of its own: a panic in the table's code ends that task, not the flusher. What fails is
//! tried again after a pause that grows; the other shards do not wait for it.

mod apply;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};
use writeway_core::error::{Error, Kind, Result};
use writeway_core::journal::{At, Freeze};
use writeway_core::retry::backoff;
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;
use crate::stats::Counters;

/// So many batches of one shard are flushed before the next shard has its turn.
const TURN: usize = 8;
/// The first pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);

/// What the flusher knows of a shard.
#[derive(Clone, Default)]
struct Desk {
    /// Opened by this process, and not fenced since.
    at: Option<At>,
    leads: bool,
    failures: u32,
    /// Not before.
    again: Duration,
}

/// Runs until `stopped` says so, or is gone with the last handle.
pub(crate) async fn run<S: FencedStore>(engine: Arc<Engine<S>>, mut stopped: watch::Receiver<bool>)
where
    S::Key: Serialize + DeserializeOwned,
{
    let mut desks = vec![Desk::default(); engine.shards.len()];
    loop {
        let mut sleep = engine.settings.tick();
        for (shard, desk) in desks.iter_mut().enumerate() {
            if *stopped.borrow() || stopped.has_changed().is_err() {
                break;
            }
            sleep = sleep.min(engine.clone().visit(shard, desk).await);
        }
        let next = engine.runtime().now() + sleep;
        let stop = async {
            tokio::select! {
                biased;
                stop = stopped.wait_for(|stop| *stop) => drop(stop),
                () = engine.woken() => return false,
            }
            true
        };
        if until(engine.runtime(), next, stop).await == Some(true) {
            break;
        }
    }
    for (shard, _) in desks.iter().enumerate().filter(|(_, desk)| desk.leads) {
        engine.resign(shard).await;
    }
}

impl<S: FencedStore> Engine<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Looks at a shard and does what is due. Says when to look again.
    async fn visit(self: Arc<Self>, shard: usize, desk: &mut Desk) -> Duration {
        let now = self.runtime().now();
        if desk.again > now {
            return desk.again - now;
        }
        let (answer, answered) = oneshot::channel();
        let (engine, before, runtime) = (self.clone(), desk.clone(), self.reads.runtime.clone());
        let task = async move {
            let mut desk = before;
            let done = engine.tend(shard, &mut desk).await;
            // The flusher may be gone.
            let _ = answer.send((desk, done));
        };
        runtime.spawn("flush", Box::pin(task));
        let died = |_| (Desk { at: None, ..desk.clone() }, Err(Error::unknown("the flush panicked")));
        let (after, done) = answered.await.unwrap_or_else(died);
        *desk = after;
        match done {
            Ok(sleep) => {
                desk.failures = 0;
                sleep
            }
            Err(e) => self.failed(shard, desk, &e),
        }
    }

    fn failed(&self, shard: usize, desk: &mut Desk, e: &Error) -> Duration {
        if e.kind() == Kind::Fenced {
            if desk.at.take().is_some() {
                Counters::add(&self.counters.fenced, 1);
            }
        } else {
            Counters::add(&self.counters.retries, 1);
            tracing::warn!(name: "flush.failed", shard = ?self.shards[shard], error = %e, attempt = desk.failures, "a flush failed; it will be tried again");
        }
        let pause = backoff(desk.failures, PAUSE, self.runtime().random());
        desk.failures = desk.failures.saturating_add(1);
        desk.again = self.runtime().now() + pause;
        pause
    }

    /// One turn of a shard.
    async fn tend(&self, shard: usize, desk: &mut Desk) -> Result<Duration> {
        let urgent = self.take_urgency(shard);
        let done = self.turn(shard, desk, urgent).await;
        if done.is_err() && urgent {
            self.urge(shard);
        }
        done
    }

    async fn turn(&self, shard: usize, desk: &mut Desk, mut urgent: bool) -> Result<Duration> {
        for _ in 0..TURN {
            let status = self.status(shard).await?;
            let due = plan::due(&status, &self.settings, urgent);
            if status.installed && due.is_none() {
                return Ok(plan::sleep(&status, &self.settings));
            }
            desk.leads = self.lead(shard).await?;
            if !desk.leads {
                desk.at = None;
                return Ok(self.settings.tick());
            }
            let at = match desk.at.take().filter(|at| status.installed && at.epoch == status.epoch) {
                Some(at) => at,
                None => self.open(shard).await?,
            };
            desk.at = Some(at.clone());
            let Some(waited) = due else { continue };
            let schema = self.reads.store.schema();
            let (max_keys, max_bytes) = (self.settings.max_batch as u64, self.settings.max_batch_bytes as u64);
            if !self.batch(&at, Freeze { schema, waited, max_keys, max_bytes }).await? {
                // What is due is of another schema version: a process that knows it must have its turn.
                tracing::warn!(name: "flush.left", shard = ?at.shard, "accepted changes of another schema version wait for a process that knows it");
                self.resign(shard).await;
                *desk = Desk { again: self.runtime().now() + self.settings.hold(), ..Desk::default() };
                return Ok(self.settings.hold());
            }
            // An open batch from before does not count: a barrier is for what came after it, too.
            urgent &= status.open > 0;
        }
        // More may be due: the other shards first, then at once.
        if urgent {
            self.urge(shard);
        }
        Ok(Duration::ZERO)
    }
}
