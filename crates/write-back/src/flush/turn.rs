//! One shard's turn: look, lead, open, flush what is due, and say when to look again.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use writeway_core::error::{Error, Kind, Result};
use writeway_core::journal::{At, Freeze};
use writeway_core::retry::backoff;
use writeway_core::store::{Blame, FencedStore};

use super::apply::Done;
use super::plan;
use super::trouble::Trouble;
use crate::engine::Engine;
use crate::members::{is_overdue, look};
use crate::stats::Counters;

/// So many batches of one shard are flushed before another shard may have its turn.
const BATCHES: usize = 8;
/// The first pause after a failure.
const PAUSE: Duration = Duration::from_millis(50);

/// What the flusher knows of a shard between two turns.
#[derive(Clone, Default)]
pub(super) struct Desk {
    /// Opened by this process, and not fenced since.
    pub(super) at: Option<At>,
    /// What it knows of the batches that failed.
    pub(super) trouble: Trouble,
    /// What failed alone goes first in the next batch, or last: by turns.
    suspects_first: bool,
    /// The last epoch that it has seen, on whatever server.
    seen: u64,
    /// The flush lease was its own at the last look.
    pub(super) leads: bool,
    /// When to look again.
    pub(super) look: Duration,
    /// Not before, whoever wakes it.
    earliest: Duration,
    failures: u32,
    /// Which of all turns was the shard's last, by their ends.
    pub(super) ended: u64,
}

impl Desk {
    /// Of a shard that is known to have come to this epoch.
    pub(super) fn new(seen: u64) -> Self {
        Desk { seen, ..Desk::default() }
    }

    /// Looks as soon as it may.
    pub(super) fn wake(&mut self) {
        self.look = self.earliest;
    }
}

/// A turn's end.
pub(super) struct Ended {
    pub(super) shard: usize,
    pub(super) desk: Desk,
}

/// A turn under way; it reports also if it panics.
pub(super) struct Turn<S: FencedStore> {
    engine: Arc<Engine<S>>,
    shard: usize,
    desk: Desk,
    done: Option<Result<Duration>>,
    report: mpsc::UnboundedSender<Box<Ended>>,
}

impl<S: FencedStore> Turn<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    pub(super) fn start(engine: &Arc<Engine<S>>, shard: usize, desk: Desk, report: &mpsc::UnboundedSender<Box<Ended>>) {
        let turn = Turn { engine: engine.clone(), shard, desk, done: None, report: report.clone() };
        engine.reads.runtime.spawn("flush", Box::pin(turn.run()));
    }

    async fn run(mut self) {
        let urgent = self.engine.take_urgency(self.shard);
        let done = self.engine.clone().turn(self.shard, &mut self.desk, urgent).await;
        if let Err(e) = &done {
            self.engine.note_failure(e);
            if urgent {
                self.engine.urge(self.shard);
            }
        }
        let _ = self.done.insert(done);
    }
}

impl<S: FencedStore> Drop for Turn<S> {
    fn drop(&mut self) {
        let now = self.engine.runtime().now();
        let died = || Err(Error::unknown("the flush panicked, or its runtime ended"));
        match self.done.take().unwrap_or_else(died) {
            Ok(sleep) => (self.desk.failures, self.desk.look) = (0, now + sleep),
            Err(e) => {
                let pause = self.engine.failed(self.shard, &mut self.desk, &e);
                (self.desk.look, self.desk.earliest) = (now + pause, now + pause);
            }
        }
        // The flusher may be gone.
        let _ = self.report.send(Box::new(Ended { shard: self.shard, desk: std::mem::take(&mut self.desk) }));
    }
}

impl<S: FencedStore> Engine<S> {
    /// A process that fails and fails again leaves its shards to others. With a row's fault they would fare no better.
    fn note_failure(&self, e: &Error) {
        let is_ours = !matches!(e.kind(), Kind::Fenced | Kind::Closed);
        if is_ours && !matches!(self.blame(e), Blame::Row | Blame::Parent) {
            self.members.failed(self.counters.batches.get(), self.runtime().now());
        }
    }

    /// Notes a failure. Calls nothing of the application's: it may have panicked just now. Says for how long to pause.
    fn failed(&self, shard: usize, desk: &mut Desk, e: &Error) -> Duration {
        if e.kind() == Kind::Fenced {
            if desk.at.take().is_some() {
                Counters::add(&self.counters.fenced, 1);
            }
        } else if e.kind() != Kind::Closed {
            if e.kind() == Kind::Invalid {
                // SQL's bookkeeping may have been restored to an older state: an epoch of its own is what it can be compared by.
                desk.at = None;
            }
            Counters::add(&self.counters.retries, 1);
            tracing::warn!(
                name: "flush.failed", shard = ?self.shards[shard], error = %e, attempt = desk.failures,
                "a flush failed; it will be tried again"
            );
        }
        let pause = backoff(desk.failures, PAUSE, self.runtime().random());
        desk.failures = desk.failures.saturating_add(1);
        pause
    }
}

impl<S: FencedStore> Engine<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Says when to look again.
    async fn yield_to_its_owner(&self, shard: usize, desk: &mut Desk) -> Duration {
        if desk.leads {
            self.resign(shard).await;
            (desk.leads, desk.at) = (false, None);
        }
        look(&self.settings)
    }

    async fn turn(&self, shard: usize, desk: &mut Desk, mut urgent: bool) -> Result<Duration> {
        let mine = self.members.is_mine(shard);
        for _ in 0..BATCHES {
            if self.is_ending() {
                return Ok(Duration::ZERO);
            }
            let status = self.status(shard).await?;
            let due = plan::due(&status, &self.settings, urgent);
            // A server that was left comes back as it was.
            let installed = status.installed && status.epoch >= desk.seen;
            desk.seen = desk.seen.max(status.epoch);
            let away = self.members.is_away(self.runtime().now());
            if !mine && (away || (!urgent && installed && !is_overdue(&status, &self.settings))) {
                return Ok(self.yield_to_its_owner(shard, desk).await);
            }
            if installed && !due {
                return Ok(plan::sleep(&status, &self.settings));
            }
            desk.leads = self.lead(shard).await?;
            if !desk.leads {
                desk.at = None;
                return Ok(self.settings.tick());
            }
            let at = match desk.at.take().filter(|at| installed && at.epoch == status.epoch) {
                Some(at) => at,
                None => self.open(shard).await?.at,
            };
            desk.at = Some(at.clone());
            if !due {
                continue;
            }
            if status.open > 0 && (status.tries > 0 || desk.trouble.is_failing()) {
                self.probe(shard, &at).await?;
            }
            let schema = self.reads.store.schema();
            let (max_keys, max_bytes) = (self.settings.max_batch as u64, self.settings.max_batch_bytes as u64);
            desk.suspects_first = plan::suspects_first(desk.suspects_first, &status);
            let freeze =
                Freeze { schema, max_keys: desk.trouble.limit(max_keys), max_bytes, suspects_first: desk.suspects_first };
            match self.batch(shard, desk, &at, freeze, status.dead).await? {
                Done::Flushed => desk.trouble.landed(max_keys),
                // What is there now has not failed yet.
                Done::Resolved => desk.failures = 0,
                // Their entries were gone.
                Done::Nothing if self.status(shard).await?.dirty < status.dirty => continue,
                Done::Nothing => return Ok(self.pass_on(shard, desk).await),
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

    /// What is due is of another schema version: a process that knows it must have its turn.
    async fn pass_on(&self, shard: usize, desk: &mut Desk) -> Duration {
        tracing::warn!(
            name: "flush.left", shard = ?self.shards[shard],
            "accepted changes of another schema version wait for a process that knows it"
        );
        self.resign(shard).await;
        let hold = self.settings.hold();
        *desk = Desk { earliest: self.runtime().now() + hold, seen: desk.seen, ..Desk::default() };
        hold
    }
}
