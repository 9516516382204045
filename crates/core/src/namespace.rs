//! One look-aside namespace: what the handles of the strategy crates hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::audit::Audit;
use crate::cache::{Barriers, Bytes};
use crate::change::{Change, Changes, Written};
use crate::commit::Touched;
use crate::error::{Error, Outcome, Result};
use crate::key::KeySpace;
use crate::options::{Mode, Options};
use crate::read::{Reads, late};
use crate::stats::{self, Stats, WriteCounts};
use crate::store::Store;
use crate::tasks::{Gate, until};
use crate::transaction::Tx;

/// What a writer may leave in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The row that SQL returned: write-through.
    Publish,
    /// Nothing: write-around.
    Invalidate,
}

/// A namespace of one table, its cache and its options. Cheap to clone; all clones are one handle.
pub struct Namespace<S: Store> {
    pub(crate) reads: Arc<Reads<S>>,
    pub(crate) cache: Arc<dyn Barriers>,
    pub(crate) name: Arc<str>,
    pub(crate) options: Arc<Options>,
    pub(crate) policy: Policy,
    pub(crate) gate: Gate,
    pub(crate) counts: Arc<WriteCounts>,
}

impl<S: Store> Clone for Namespace<S> {
    fn clone(&self) -> Self {
        Namespace {
            reads: self.reads.clone(),
            cache: self.cache.clone(),
            name: self.name.clone(),
            options: self.options.clone(),
            policy: self.policy,
            gate: self.gate.clone(),
            counts: self.counts.clone(),
        }
    }
}

impl<S: Store> Namespace<S> {
    /// Checks the options, the namespace's recorded mode, the cache's eviction policy and the SQL side's time-outs.
    ///
    /// # Errors
    /// `Invalid` says what to change; `Unavailable` that a server could not be asked.
    pub async fn open(store: S, cache: Arc<dyn Barriers>, options: Options, policy: Policy) -> Result<Self> {
        options.check()?;
        let name: Arc<str> = options.namespace.as_str().into();
        let during = |e: Error| e.during("build", &name);
        let runtime = options.runtime.clone();
        let deadline = runtime.now() + options.call_timeout;
        let declaration = options.declaration();
        let declared = until(&*runtime, deadline, cache.declare(&declaration)).await;
        declared.unwrap_or_else(|| Err(late())).map_err(during)?;
        if let Some(below) = options.server_timeouts_below() {
            let begun = until(&*runtime, deadline, store.begin(Some(below))).await;
            let tx = begun.unwrap_or_else(|| Err(late())).map_err(during)?;
            until(&*runtime, deadline, crate::store::Transaction::rollback(tx)).await;
        }
        let reads = Reads::new(store, cache.clone(), KeySpace::new(&name)?, &options, false);
        let counts = Arc::new(WriteCounts::new(stats::namespace(&name)));
        Ok(Namespace { reads: Arc::new(reads), cache, name, options: Arc::new(options), policy, gate: Gate::open(), counts })
    }

    /// What this handle and its clones did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { reads: self.reads.stats(), writes: self.counts.read() }
    }

    /// The row under `key`, from the cache or else from SQL.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`, `Rejected`, `Invalid`, `Closed`, always with `NotApplied`.
    pub async fn get(&self, key: &S::Key) -> Result<Option<S::Row>> {
        self.gate.check()?;
        self.reads.get(key).await.map_err(|e| e.during("get", &self.name))
    }

    /// The rows under `keys`, in the order asked.
    ///
    /// # Errors
    /// As [`get`](Namespace::get), for all or none.
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Row>>> {
        self.gate.check()?;
        self.reads.get_many(keys).await.map_err(|e| e.during("get_many", &self.name))
    }

    /// Commits all changes or none, in a task of its own: the caller's cancellation changes nothing. One answer per key, in key
    /// order, the last change of a key counting.
    ///
    /// # Errors
    /// See [`Outcome`]; the cache never makes an error of a committed change.
    pub async fn write(&self, attempt: &'static str, changes: Changes<S::Key, S::Row>) -> Result<Vec<Written<S::Row>>> {
        let during = |e: Error| e.during(attempt, &self.name);
        let pass = self.gate.enter().map_err(during)?;
        let started = self.reads.runtime.now();
        let changes = changes.coalesce(|row| self.reads.store.key(row));
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut writes = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            match self.checked(&key, &change) {
                Ok(at) => writes.push((at, change)),
                Err(e) => return self.counted(started, Err(e)).map_err(during),
            }
        }
        let (answer, answered) = oneshot::channel();
        let (namespace, deadline) = (self.clone(), started + self.options.call_timeout);
        let task = async move {
            let written = namespace.run(writes, deadline).await;
            // Here, and not by the caller, who may have gone away.
            namespace.counts.ends.answered(&*namespace.reads.runtime, started, &written);
            drop(pass);
            // Nobody may be waiting any more.
            let _ = answer.send(written);
        };
        self.reads.runtime.spawn("write", Box::pin(task));
        // A task dies of a panic in the table's code, or with its runtime: how far it had come is not known here.
        let died = |_| self.counted(started, Err(Error::unknown("the write's task died")));
        answered.await.unwrap_or_else(died).map_err(during)
    }

    /// The change's cache key. What could not be cached is refused before any I/O.
    fn checked(&self, key: &S::Key, change: &Change<S::Key, S::Row>) -> Result<Bytes> {
        let at = self.reads.keys.encode(key)?;
        if let Change::Put(row) = change {
            self.reads.values.entry(&at, Some(row), 0)?;
        }
        Ok(at)
    }

    fn counted<T>(&self, started: Duration, answer: Result<T>) -> Result<T> {
        self.counts.ends.answered(&*self.reads.runtime, started, &answer);
        answer
    }

    /// [`write`](Namespace::write) of one change.
    ///
    /// # Errors
    /// As there.
    pub async fn write_one(&self, attempt: &'static str, change: Change<S::Key, S::Row>) -> Result<Written<S::Row>> {
        let written = self.write(attempt, Changes::from_iter([change])).await?.pop();
        written.ok_or_else(|| Error::invalid("the store did not answer the change").with_outcome(Outcome::Unknown))
    }

    /// Removes the keys' values from the cache, whatever SQL holds: for rows that somebody else changed.
    ///
    /// # Errors
    /// `Unavailable`: the old values may still be there.
    pub async fn invalidate(&self, keys: &[S::Key]) -> Result<()> {
        self.gate.check()?;
        self.reads.invalidate(keys).await.map_err(|e| e.during("invalidate", &self.name))
    }

    /// Removes every value of the namespace from the cache, page by page; each page has the call's deadline. Says how many keys
    /// it went through. What is filled meanwhile may stay.
    ///
    /// # Errors
    /// `Unavailable`: some may be gone, others not; repeat it.
    pub async fn invalidate_all(&self) -> Result<u64> {
        self.gate.check()?;
        self.reads.invalidate_all().await.map_err(|e| e.during("invalidate_all", &self.name))
    }

    /// Compares some of the cache's keys with SQL.
    ///
    /// # Errors
    /// As [`Reads::audit`].
    pub async fn audit(&self, sample: usize) -> Result<Audit<S::Key>> {
        self.gate.check()?;
        self.reads.audit(sample, None).await.map_err(|e| e.during("audit", &self.name))
    }

    /// A transaction of the user's own on this namespace's database.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin(&self) -> Result<Tx<S::Tx>> {
        let during = |e: Error| e.during("begin", &self.name);
        let pass = self.gate.enter().map_err(during)?;
        let checked = self.options.server_timeouts_below();
        let begun = until(&*self.reads.runtime, self.deadline(), self.reads.store.begin(checked)).await;
        let tx = begun.unwrap_or_else(|| Err(late())).map_err(during)?;
        let accepted = checked.or((self.options.mode == Mode::Strict).then_some(self.options.commit_within));
        Ok(Tx::new(tx, pass, self.name.clone(), self.options.clone(), self.counts.clone(), accepted))
    }

    /// Notes in `tx` that it changed the row under `key`.
    pub fn touch(&self, tx: &mut Tx<S::Tx>, key: &S::Key) {
        tx.note(&self.name, &self.cache, self.reads.keys.encode(key).map(|at| (at, None)), || self.touched());
    }

    /// Notes in `tx` that the row now stands so, as SQL returned it in this very transaction.
    pub fn publish(&self, tx: &mut Tx<S::Tx>, row: &S::Row) {
        let entry = |at: Bytes| {
            let entry = self.reads.values.entry(&at, Some(row), self.reads.runtime.random())?;
            Ok((at, Some(entry)))
        };
        let noted = self.reads.keys.encode(&self.reads.store.key(row)).and_then(entry);
        tx.note(&self.name, &self.cache, noted, || self.touched());
    }

    /// Lets no call in any more and waits for the writes under way, at most for `within`. Says how many are still running:
    /// they go on by themselves.
    pub async fn shutdown(&self, within: Duration) -> usize {
        let runtime = &*self.reads.runtime;
        self.gate.close(runtime, runtime.now().saturating_add(within)).await
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.reads.runtime.now() + self.options.call_timeout
    }

    pub(crate) fn touched(&self) -> Touched {
        Touched {
            cache: self.cache.clone(),
            mode: self.options.mode,
            within: self.options.commit_within,
            longest_life: self.reads.values.longest_life(),
            keys: std::collections::BTreeMap::new(),
            counts: self.counts.clone(),
        }
    }
}

impl<S: Store> fmt::Debug for Namespace<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("options", &self.options).field("policy", &self.policy).finish_non_exhaustive()
    }
}
