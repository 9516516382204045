//! The read path, the same for every strategy: look-aside, single-flight, fill lease, fill.
//!
//! 1. Look into the cache. A value is a hit: one round trip. Damage is a miss that discards what lies there.
//! 2. Miss: board the key's flight. Its leader, a task of its own so that no caller's cancellation stops it, does the rest.
//! 3. Ask for the fill lease. *Hit*: somebody filled meanwhile; everybody looks again. *Busy*: another process loads; wait with
//!    backoff, ask again, at last load without filling. *Bypass*: load without filling.
//! 4. Pass the cap on concurrent loads. The flight departs: nobody joins a read that has started.
//! 5. A new statement on the primary, after the lease was granted.
//! 6. Fill, only into that very lease; then land.
//!
//! An error of the cache is never a miss: what it cannot answer is loaded from SQL under the same cap, without filling. Where the
//! cache is ahead of SQL (write-back), step 1 must be answered: a look that says miss, after the call began, is what makes the
//! row in SQL an answer. What is dirty and cannot be read is `Rejected`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::audit::Bookmark;
use crate::cache::{Ask, Bytes, Entries, Fill, Id, Lease, Lookup};
use crate::error::{Error, Result};
use crate::fill_lease::LoadTime;
use crate::key::KeySpace;
use crate::options::Options;
use crate::retry::backoff;
use crate::runtime::Runtime;
use crate::single_flight::{Flights, Leader, Seat};
use crate::span::carried;
use crate::stats::{self, ReadCounts, ReadStats};
use crate::store::Store;
use crate::tasks::until;
use crate::values::Values;

/// Reads of one namespace.
pub struct Reads<S: Store> {
    /// The system of record.
    pub store: S,
    /// Time, tasks and chance.
    pub runtime: Arc<dyn Runtime>,
    /// How keys are named in the cache.
    pub keys: KeySpace,
    /// How rows lie in the cache.
    pub values: Values<S::Row>,
    /// The deadline of every call.
    pub call_timeout: Duration,
    pub(crate) cache: Arc<dyn Entries>,
    pub(crate) load_time: LoadTime,
    pub(crate) flights: Flights<Landed<S::Row>>,
    /// The cache may hold changes that SQL lacks.
    pub(crate) ahead: bool,
    pub(crate) counts: ReadCounts,
    pub(crate) bookmark: Bookmark,
    loads: Semaphore,
}

/// What a flight tells those who joined it.
#[derive(Clone)]
pub(crate) enum Landed<R> {
    /// The row as one read found it that started after they had joined.
    Loaded(Result<Option<R>>),
    /// Look into the cache again.
    LookAgain,
}

/// What a look into the cache says.
enum Look<R> {
    Hit(Option<R>),
    Miss,
    /// A value that is none: overwrite it.
    Damage,
    /// The cache did not answer.
    Away(Error),
}

impl<S: Store> Reads<S> {
    /// Over the given cache, which is `ahead` of SQL if changes are accepted there first.
    pub fn new(store: S, cache: Arc<dyn Entries>, keys: KeySpace, options: &Options, ahead: bool) -> Self {
        Reads {
            values: Values::new(store.schema(), options.max_value_bytes, options.lifetime()),
            store,
            runtime: options.runtime.clone(),
            keys,
            call_timeout: options.call_timeout,
            cache,
            load_time: LoadTime::new(),
            flights: Flights::new(),
            loads: Semaphore::new(options.max_loads),
            ahead,
            bookmark: Bookmark::default(),
            counts: ReadCounts::new(stats::namespace(&options.namespace)),
        }
    }

    /// The row under `key`, from the cache or else from SQL.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`, `Rejected`, `Invalid`, always with `NotApplied`.
    pub async fn get(self: &Arc<Self>, key: &S::Key) -> Result<Option<S::Row>> {
        let started = self.runtime.now();
        let found = self.find(key, started + self.call_timeout).await;
        self.counts.answered(&*self.runtime, started, &found);
        found
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> ReadStats {
        self.counts.read()
    }

    async fn find(self: &Arc<Self>, key: &S::Key, deadline: Duration) -> Result<Option<S::Row>> {
        let at = self.keys.encode(key)?;
        for nth in 0.. {
            let look = self.look(&at, deadline).await?;
            if nth == 0 {
                // What a flight makes it look again for was a miss.
                self.count(&look);
            }
            let look = match look {
                Look::Hit(row) => return Ok(row),
                Look::Away(e) if self.ahead => return Err(e),
                look => look,
            };
            let follower = match self.flights.board(&at) {
                Seat::Follow(follower) => {
                    self.counts.joined.add(1);
                    follower
                }
                Seat::Lead(leader, follower) => {
                    let load = carried(self.clone().load(leader, key.clone(), at.clone(), look, deadline));
                    self.runtime.spawn("load", Box::pin(load));
                    follower
                }
            };
            match until(&*self.runtime, deadline, follower.landed()).await {
                Some(Some(Landed::Loaded(row))) => return row,
                Some(Some(Landed::LookAgain)) if self.runtime.now() < deadline => {}
                Some(None) => return Err(Error::unavailable("the load ended without an answer")),
                Some(Some(Landed::LookAgain)) | None => return Err(late()),
            }
        }
        unreachable!("the deadline comes")
    }

    fn count(&self, look: &Look<S::Row>) {
        match look {
            Look::Hit(_) => self.counts.hits.add(1),
            Look::Miss | Look::Damage => self.counts.misses.add(1),
            Look::Away(_) => self.counts.unanswered.add(1),
        }
    }

    async fn look(&self, at: &Bytes, deadline: Duration) -> Result<Look<S::Row>> {
        let found = until(&*self.runtime, self.half(deadline), self.cache.get(std::slice::from_ref(at))).await;
        Ok(match found.unwrap_or_else(|| Err(late())).map(|found| found.into_iter().next()) {
            Ok(Some(Lookup::Hit(entry))) => self.open(at, &entry).map_or(Look::Damage, Look::Hit),
            Ok(Some(Lookup::Dirty(entry))) => Look::Hit(self.open_dirty(at, &entry)?),
            Ok(Some(Lookup::Miss) | None) => Look::Miss,
            Err(e) => Look::Away(e),
        })
    }

    /// An accepted change that cannot be read is not a miss: SQL has an older row.
    pub(crate) fn open_dirty(&self, at: &[u8], entry: &[u8]) -> Result<Option<S::Row>> {
        let unreadable = || {
            Error::rejected(
                "an accepted change of another schema, or damaged, lies there: only a newer put or delete replaces it",
            )
        };
        self.values.accepted_row(at, entry).ok_or_else(unreadable)
    }

    pub(crate) fn open(&self, at: &[u8], entry: &[u8]) -> Option<Option<S::Row>> {
        let row = self.values.row(at, entry);
        if row.is_none() {
            self.counts.damaged.add(1);
            tracing::warn!(name: "entry.damaged", bytes = entry.len(), "a cached value does not fit its key, type or schema");
        }
        row
    }

    /// Steps 3 to 6, in a task of the flight's own.
    async fn load(
        self: Arc<Self>,
        leader: Leader<Landed<S::Row>>,
        key: S::Key,
        at: Bytes,
        look: Look<S::Row>,
        deadline: Duration,
    ) {
        let lease = match look {
            Look::Away(_) => None,
            _ => match self.lease(&at, matches!(look, Look::Damage), deadline).await {
                Some(Lease::Hit(_) | Lease::Dirty(_)) => return leader.land(Landed::LookAgain),
                Some(Lease::Granted(id)) => Some(id),
                _ => None,
            },
        };
        let loaded = self.fetch(&[key], deadline, || leader.depart()).await.map(|mut rows| rows.pop());
        if let (Some(id), Ok(row)) = (lease, &loaded) {
            self.fill([(at, id, row.as_ref())], deadline).await;
        }
        leader.land(Landed::Loaded(loaded));
    }

    /// When a call that starts now must have ended.
    pub(crate) fn deadline(&self) -> Duration {
        self.runtime.now() + self.call_timeout
    }

    /// The cache gets half of the time that is left: the rest is for SQL.
    pub(crate) fn half(&self, deadline: Duration) -> Duration {
        let now = self.runtime.now();
        now + deadline.saturating_sub(now) / 2
    }

    /// Asks until the answer is not `Busy`, or until the cache's share of the time is gone.
    async fn lease(&self, at: &Bytes, discard: bool, deadline: Duration) -> Option<Lease> {
        let give_up = self.half(deadline);
        for attempt in 0.. {
            let ask = Ask { key: at.clone(), id: Id::from(self.runtime.random()), discard };
            let answer = until(&*self.runtime, give_up, self.cache.lease(&[ask], self.load_time.hold())).await;
            let lease = answer?.ok()?.into_iter().next()?;
            if lease != Lease::Busy {
                return Some(lease);
            }
            let pause = backoff(attempt, self.load_time.typical() / 2, self.runtime.random());
            if self.runtime.now() + pause >= give_up {
                return None;
            }
            self.runtime.sleep(pause).await;
        }
        None
    }

    /// One statement under the cap. `departing` is called when nothing but the statement is left.
    pub(crate) async fn fetch(&self, keys: &[S::Key], deadline: Duration, departing: impl FnOnce()) -> Result<Vec<S::Row>> {
        self.counted_in_turn(deadline, departing, self.store.fetch(keys)).await
    }

    /// The same of whatever reads SQL.
    pub(crate) async fn counted_in_turn<T>(
        &self,
        deadline: Duration,
        departing: impl FnOnce(),
        statement: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let loaded = self.in_turn(deadline, departing, statement).await;
        if loaded.is_ok() { &self.counts.loads } else { &self.counts.loads_failed }.add(1);
        loaded
    }

    async fn in_turn<T>(
        &self,
        deadline: Duration,
        departing: impl FnOnce(),
        statement: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        // A load that is let in at the last instant cannot end in time; who waits is told what it waited for.
        let now = self.runtime.now();
        let give_up = now + deadline.saturating_sub(now) * 15 / 16;
        let permit = until(&*self.runtime, give_up, self.loads.acquire()).await;
        departing();
        let Some(_permit) = permit else {
            return Err(Error::overloaded("too many loads from sql are under way: max_loads"));
        };
        let started = self.runtime.now();
        let read = until(&*self.runtime, deadline, statement).await.unwrap_or_else(|| Err(late()))?;
        self.load_time.observe(self.runtime.now().saturating_sub(started));
        Ok(read)
    }

    /// One statement under the cap, of an audit: no load, and nothing is learned from it of how long a load takes.
    pub(crate) async fn fetch_uncounted(&self, keys: &[S::Key]) -> Result<Vec<S::Row>> {
        // Never closed.
        let _turn = self.loads.acquire().await;
        self.store.fetch(keys).await
    }

    /// What cannot be cached is left to the lease's end: the reader has its row.
    pub(crate) async fn fill<'r>(&self, rows: impl IntoIterator<Item = (Bytes, Id, Option<&'r S::Row>)>, deadline: Duration)
    where
        S::Row: 'r,
    {
        let mut fills = Vec::new();
        for (key, lease, row) in rows {
            match self.values.entry(&key, row, self.runtime.random()) {
                Ok((entry, ttl)) => fills.push(Fill { key, lease, entry, ttl }),
                Err(e) => {
                    self.counts.fills_failed.add(1);
                    tracing::warn!(name: "fill.failed", error = %e, "a loaded row cannot be cached");
                }
            }
        }
        if !fills.is_empty() {
            // A fill that fails costs the next reader a load, nothing else; one that hangs must not cost this one its row.
            let filled = until(&*self.runtime, self.half(deadline), self.cache.fill(&fills)).await;
            let took = filled.is_some_and(|filled| filled.is_ok());
            if took { &self.counts.fills } else { &self.counts.fills_failed }.add(fills.len() as u64);
        }
    }
}

/// A call's deadline has come.
#[must_use]
pub fn late() -> Error {
    Error::unavailable("no answer by the call's deadline")
}
