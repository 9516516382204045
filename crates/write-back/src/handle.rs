//! The handle: reads, the barrier, the end. Writes are in `write`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::field::Empty;
use writeway_core::error::{Error, Result};
use writeway_core::journal::Status;
use writeway_core::options::Mode;
use writeway_core::span::within;
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::builder::WriteBackBuilder;
use crate::engine::Engine;
use crate::flush;
use crate::gauges::fullness_percent;
use crate::stats::Stats;
use crate::ticket::Receipt;

/// A write-back namespace: one table, its cache and journal. Cheap to clone, to be shared between tasks.
///
/// Every call ends by the `call_timeout`, except where it says otherwise. When the last clone is dropped the flusher ends, and
/// what is dirty stays in the journal, for any process that opens the namespace.
pub struct WriteBack<S: FencedStore> {
    pub(crate) engine: Arc<Engine<S>>,
    life: Arc<Life>,
}

/// The flusher runs for as long as this lives.
struct Life {
    stop: watch::Sender<bool>,
    /// Closed when the flusher has ended.
    ended: watch::Receiver<()>,
}

/// What a shutdown left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Rows that this process flushed since the shutdown began.
    pub flushed: u64,
    /// Rows that are still in the journal: a successor brings them to SQL.
    pub left: u64,
}

impl<S: FencedStore> Clone for WriteBack<S> {
    fn clone(&self) -> Self {
        WriteBack { engine: self.engine.clone(), life: self.life.clone() }
    }
}

impl<S: FencedStore> WriteBack<S> {
    /// Starts with the table.
    pub fn builder(store: S) -> WriteBackBuilder<S> {
        WriteBackBuilder::new(store, Mode::WriteBack)
    }

    pub(crate) fn start(engine: Engine<S>) -> Self
    where
        S::Key: Serialize + DeserializeOwned,
    {
        let engine = Arc::new(engine);
        let ((stop, stopped), (end, ended)) = (watch::channel(false), watch::channel(()));
        let (flusher, runtime) = (engine.clone(), engine.reads.runtime.clone());
        let task = async move {
            flush::run(flusher, stopped).await;
            drop(end);
        };
        runtime.spawn("flusher", Box::pin(task));
        WriteBack { engine, life: Arc::new(Life { stop, ended }) }
    }

    /// Ends when all shards are open.
    pub(crate) async fn opened(&self) -> Result<()> {
        let engine = &self.engine;
        let deadline = engine.runtime().now() + engine.settings.patience();
        for shard in 0..engine.shards.len() {
            // What others have accepted is not due for that.
            let open = engine
                .wait_for(shard, deadline, Push::Open, |status, _| status.installed && status.epoch >= engine.epochs[shard])
                .await;
            open.map_err(|e| engine.told(e, "build"))?;
        }
        Ok(())
    }

    /// The row under `key`: the last accepted change, else what the cache or SQL has.
    ///
    /// # Errors
    /// `Unavailable` if Redis did not answer in time, or while its contents are compared with SQL: SQL may be behind, and is not
    /// asked instead. `Unavailable` or `Overloaded` if a miss could not be loaded from SQL in time. `Rejected` if an accepted
    /// change lies there that cannot be read: of another schema version, or damaged. `Rejected` or `Invalid` also if SQL refused
    /// the statement or the key cannot be encoded. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Changes nothing; a load that was begun goes on for others.
    pub async fn get(&self, key: &S::Key) -> Result<Option<S::Row>> {
        self.engine.gate.check()?;
        let span = tracing::debug_span!("get", namespace = &*self.engine.name, ended = Empty);
        within(span, self.engine.reads.get(key)).await.map_err(|e| self.engine.told(e, "get"))
    }

    /// The rows under `keys`, in the order asked. More than 1,000 keys take several rounds.
    ///
    /// # Errors
    /// As [`get`](Self::get), for all keys or none.
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Row>>> {
        self.engine.gate.check()?;
        let span = tracing::debug_span!("get_many", namespace = &*self.engine.name, keys = keys.len(), ended = Empty);
        within(span, self.engine.reads.get_many(keys)).await.map_err(|e| self.engine.told(e, "get_many"))
    }

    /// Removes the keys' clean values from the cache: for rows that were changed by somebody who does not take part. Accepted
    /// changes stay; SQL is not touched.
    ///
    /// # Errors
    /// `Unavailable` if the cache did not confirm: the old values may still be there. `Rejected` if a key belongs to another
    /// strategy or a newer release, `Invalid` if it holds another kind of data or cannot be encoded; the values of the other keys
    /// may be gone. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Dropped before its end, any of the values may still be there.
    pub async fn invalidate(&self, keys: &[S::Key]) -> Result<()> {
        self.engine.gate.check()?;
        self.engine.reads.invalidate(keys).await.map_err(|e| self.engine.told(e, "invalidate"))
    }

    /// Removes every clean value of the namespace from the cache, page by page, each within the `call_timeout`. Says how many
    /// keys it went through.
    ///
    /// # Errors
    /// `Unavailable` if the cache did not confirm: repeat it. `Rejected`, `Invalid` and `Closed` as
    /// [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`invalidate`](Self::invalidate).
    pub async fn invalidate_all(&self) -> Result<u64> {
        self.engine.gate.check()?;
        self.engine.reads.invalidate_all().await.map_err(|e| self.engine.told(e, "invalidate_all"))
    }

    /// Ends when the changes of a [`Ticket`](crate::Ticket) of any process are committed in SQL; as
    /// [`Ticket::durable`](crate::Ticket::durable).
    ///
    /// # Errors
    /// As there; `Invalid` for a receipt of another namespace.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn durable(&self, receipt: &Receipt) -> Result<()> {
        self.engine.durable(receipt).await
    }

    /// Ends when everything that was accepted before, by any process, is in SQL, or set aside as a dead letter: a
    /// [`Ticket`](crate::Ticket) tells which. What failed alone and is held back is waited for, too. Waits no longer than `max_delay`, two flushes
    /// and a takeover may take. What Redis lost before is not there to be flushed, and goes unnoticed here: a
    /// [`Ticket`](crate::Ticket) tells.
    ///
    /// # Errors
    /// `Unavailable` if it is not there by then. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn flush(&self) -> Result<()> {
        let engine = &self.engine;
        engine.gate.check()?;
        let started = engine.runtime().now();
        let deadline = started + engine.settings.patience();
        for shard in 0..engine.shards.len() {
            let newer = |status: &Status, asked: Duration| {
                // The journal counts whole milliseconds.
                let done = |waited: Duration| waited + Duration::from_millis(2) < asked.saturating_sub(started);
                status.installed && status.suspects == 0 && status.oldest.is_none_or(done)
            };
            engine.wait_for(shard, deadline, Push::Flush, newer).await.map_err(|e| engine.told(e, "flush"))?;
        }
        Ok(())
    }

    /// What is on its way, and what this process did so far.
    ///
    /// # Errors
    /// `Unavailable` if Redis did not answer.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn stats(&self) -> Result<Stats> {
        self.counted("stats").await
    }

    async fn counted(&self, attempt: &'static str) -> Result<Stats> {
        let mut stats = Stats { reads: self.engine.reads.stats(), ..self.engine.counters.read() };
        for shard in 0..self.engine.shards.len() {
            let status = self.engine.status(shard).await.map_err(|e| self.engine.told(e, attempt))?;
            stats.dirty += status.dirty + status.open;
            stats.dirty_bytes += status.dirty_bytes + status.open_bytes;
            stats.suspects += status.suspects;
            stats.dead += status.dead;
            stats.oldest = stats.oldest.max(status.oldest);
            stats.fullness_percent = stats.fullness_percent.max(fullness_percent(&status, self.engine.bounds));
        }
        Ok(stats)
    }

    /// Accepts no more, flushes what is there, at most for `within`, and ends the flusher: a flush that is under way by then is
    /// waited for. Says what was flushed and what is left in the journal.
    ///
    /// # Errors
    /// `Unavailable` if Redis did not say what is left.
    ///
    /// # Cancel safety
    /// Dropped before its end, the handle stays closed, and its flusher goes on until it is told to end: by this call if it came
    /// so far, by another, or when the last clone is dropped.
    pub async fn shutdown(&self, within: Duration) -> Result<Drained> {
        let engine = &self.engine;
        let before = engine.counters.read().flushed;
        let deadline = engine.runtime().now().saturating_add(within);
        engine.gate.close(engine.runtime(), deadline).await;
        let drained = async {
            for shard in 0..engine.shards.len() {
                // What is left is counted below.
                let empty = |status: &Status, _| status.installed && status.dirty + status.open == 0;
                let _ = engine.wait_for(shard, deadline, Push::Flush, empty).await;
            }
        };
        until(engine.runtime(), deadline, drained).await;
        engine.end();
        // Nobody may be listening any more.
        let _ = self.life.stop.send(true);
        let mut ended = self.life.ended.clone();
        let longest = engine.runtime().now() + engine.settings.patience();
        until(engine.runtime(), longest, async { while ended.changed().await.is_ok() {} }).await;
        let left = self.counted("shutdown").await?;
        Ok(Drained { flushed: left.flushed - before, left: left.dirty })
    }
}

/// What the flusher is to do, now and not when it is due.
#[derive(Clone, Copy)]
enum Push {
    Open,
    Flush,
}

impl<S: FencedStore> Engine<S> {
    /// Pushes the flusher and looks at the shard, again and again. `fits` is told when the journal was asked: the answer is of
    /// then or later, and may have been long on its way.
    async fn wait_for<F>(&self, shard: usize, deadline: Duration, push: Push, fits: F) -> Result<()>
    where
        F: Fn(&Status, Duration) -> bool,
    {
        let mut flushed = self.flushed.subscribe();
        let push = |shard: usize| match push {
            Push::Open => self.wake(),
            Push::Flush => self.urge(shard),
        };
        (0..self.shards.len()).for_each(push);
        loop {
            let asked = self.runtime().now();
            match self.status(shard).await {
                Ok(status) if fits(&status, asked) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.is_retryable() => {}
                Err(e) => return Err(e),
            }
            let next = self.runtime().now() + self.settings.tick() / 2;
            if next >= deadline {
                return Err(Error::unavailable("the shard is not flushed, or not even open, in time"));
            }
            until(self.runtime(), next, flushed.changed()).await;
            push(shard);
        }
    }
}

impl<S: FencedStore> fmt::Debug for WriteBack<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBack").field("namespace", &self.engine.name).finish_non_exhaustive()
    }
}
