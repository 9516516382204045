//! Reads of counters: what is cached of SQL, the open batch and what was added since, in one look.
//!
//! 1. Look into the journal: base, open batch, pending, at one moment. With a base it is a hit: one round trip.
//! 2. Miss: ask for the fill lease. *Busy*: another reader loads; wait with backoff and look again, at last load without filling.
//! 3. Pass the cap on concurrent loads. One snapshot of SQL: the row and the fence's batch.
//! 4. Fill, only into that very lease.
//! 5. Look again: only what the journal says at one moment may be added up. A base that is cached by now is as good as the row that was
//!    read; without one, that row is the base, unless a later batch was acknowledged since. Then it starts over.
//!
//! **Invariant.** What is answered counts every acknowledged increment once: see `entry::shard::count`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cache::{Ask, Bytes, Fill, Id, Lease};
use crate::counts::{CountStore, Counts, Snapshot, from_journal};
use crate::error::{Error, Result};
use crate::journal::{Count, Counted, Journal, PAGE, Shard};
use crate::key::KeySpace;
use crate::options::Options;
use crate::read::{Reads, late};
use crate::retry::backoff;
use crate::tasks::until;
use crate::values::Values;

/// One round asks for at most this many keys; more take several rounds.
const MAX_ROUND: usize = 1_000;

/// The row of a counter as SQL had it with a batch; without counts, there was none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Base<C> {
    batch: u64,
    counts: Option<C>,
}

/// How counters lie in the cache: rows with the batch that was in effect.
#[derive(Debug)]
pub struct Bases<C>(Values<Base<C>>);

impl<C: Counts> Bases<C> {
    /// For one schema version.
    #[must_use]
    pub fn new(schema: u32, options: &Options) -> Self {
        Bases(Values::new(schema, options.max_value_bytes, options.lifetime()))
    }

    /// The entry under `at` of the counts that SQL has with a batch, and how long it lives.
    ///
    /// # Errors
    /// `Invalid` if it is too long to be cached.
    pub fn entry(&self, at: &[u8], batch: u64, counts: Option<&C>, random: u128) -> Result<(Bytes, Duration)> {
        let base = Base { batch, counts: counts.cloned() };
        if counts.is_some() { self.0.entry(at, Some(&base), random) } else { self.0.absent(at, &base, random) }
    }

    fn open(&self, at: &[u8], entry: &[u8]) -> Option<Base<C>> {
        self.0.row(at, entry).flatten()
    }
}

/// Reads of one namespace of counters.
pub struct CountReads<S: CountStore> {
    reads: Arc<Reads<S::Tallies>>,
    bases: Arc<Bases<S::Counts>>,
    store: S,
    journal: Arc<dyn Journal>,
    shards: Vec<Shard>,
    keys: KeySpace,
}

/// One key on its way.
struct Cell<K, C> {
    key: K,
    shard: usize,
    /// Where its increments lie, and its base.
    at: Bytes,
    base_at: Bytes,
    /// As SQL had it, with a batch.
    read: Option<Base<C>>,
    damaged: bool,
    lease: Option<Id>,
    /// Known by now.
    total: Option<Option<C>>,
}

impl<S: CountStore> CountReads<S> {
    /// Over `reads`, whose keys are those of the bases.
    pub fn new(
        store: S,
        reads: Arc<Reads<S::Tallies>>,
        bases: Arc<Bases<S::Counts>>,
        journal: Arc<dyn Journal>,
        shards: Vec<Shard>,
    ) -> Self {
        let keys = KeySpace::sharded(&shards);
        CountReads { reads, bases, store, journal, shards, keys }
    }

    /// The counters under `keys`, in the order asked.
    ///
    /// # Errors
    /// `Unavailable`, `Overloaded`, `Rejected`, `Invalid`, always with `NotApplied`; for all keys or none.
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Counts>>> {
        let runtime = &*self.reads.runtime;
        let started = runtime.now();
        let found = self.find(keys, started + self.reads.call_timeout).await;
        self.reads.counts.answered(runtime, started, &found);
        found
    }

    async fn find(&self, keys: &[S::Key], deadline: Duration) -> Result<Vec<Option<S::Counts>>> {
        let mut cells = BTreeMap::new();
        for key in keys {
            if !cells.contains_key(key) {
                let (shard, at) = self.keys.place(key)?;
                let base_at = self.reads.keys.encode(key)?;
                let key = key.clone();
                let cell = Cell { key: key.clone(), shard, at, base_at, read: None, damaged: false, lease: None, total: None };
                cells.insert(key, cell);
            }
        }
        let mut all: Vec<_> = cells.values_mut().collect();
        for cells in all.chunks_mut(MAX_ROUND) {
            self.round(cells, deadline).await?;
        }
        Ok(keys.iter().map(|key| cells.get(key).and_then(|cell| cell.total.clone()).flatten()).collect())
    }

    async fn round(&self, cells: &mut [&mut Cell<S::Key, S::Counts>], deadline: Duration) -> Result<()> {
        let (runtime, give_up) = (&*self.reads.runtime, self.reads.half(deadline));
        for attempt in 0.. {
            self.look(cells, deadline, attempt == 0).await?;
            let mut missed: Vec<_> = cells.iter_mut().filter(|cell| cell.total.is_none()).collect();
            if missed.is_empty() {
                return Ok(());
            }
            if runtime.now() >= deadline {
                return Err(late());
            }
            let busy = self.lease(&mut missed, deadline).await;
            let mut wanted = missed;
            if runtime.now() < give_up {
                // Another reader loads these, which will be there soon.
                let mut is_busy = busy.into_iter();
                wanted.retain(|_| !is_busy.next().unwrap_or(false));
            }
            if wanted.is_empty() {
                runtime.sleep(backoff(attempt, self.reads.load_time.typical() / 2, runtime.random())).await;
            } else {
                if wanted.iter().any(|cell| cell.read.is_some()) {
                    // A batch was acknowledged since it was read, and it could not be filled.
                    runtime.sleep(backoff(attempt, self.reads.load_time.typical() / 2, runtime.random())).await;
                }
                self.load(&mut wanted, deadline).await?;
            }
        }
        unreachable!("the deadline comes")
    }

    /// Steps 1 and 5.
    async fn look(&self, cells: &mut [&mut Cell<S::Key, S::Counts>], deadline: Duration, first: bool) -> Result<()> {
        let mut by_shard = BTreeMap::<usize, Vec<&mut Cell<S::Key, S::Counts>>>::new();
        for cell in cells.iter_mut().filter(|cell| cell.total.is_none()) {
            by_shard.entry(cell.shard).or_default().push(cell);
        }
        let (mut pages, mut asks) = (Vec::new(), Vec::new());
        for (shard, cells) in &mut by_shard {
            for page in cells.chunks_mut(PAGE) {
                asks.push((self.shards[*shard].clone(), page.iter().map(|cell| cell.at.clone()).collect::<Vec<_>>()));
                pages.push(page);
            }
        }
        let counted = until(&*self.reads.runtime, self.reads.half(deadline), self.journal.count(&asks)).await;
        let counted = match counted.unwrap_or_else(|| Err(late())) {
            Ok(counted) => counted,
            Err(e) => {
                self.reads.counts.unanswered.add(asks.iter().map(|(_, keys)| keys.len() as u64).sum());
                return Err(e);
            }
        };
        for (page, counted) in pages.iter_mut().zip(&counted) {
            for (cell, count) in page.iter_mut().zip(&counted.counts) {
                self.add_up(cell, counted, count)?;
                if first {
                    let known = cell.total.is_some();
                    if known { &self.reads.counts.hits } else { &self.reads.counts.misses }.add(1);
                }
            }
        }
        Ok(())
    }

    /// The total, if there is a base of which it can be made.
    fn add_up(&self, cell: &mut Cell<S::Key, S::Counts>, counted: &Counted, count: &Count) -> Result<()> {
        let cached = count.base.as_ref().and_then(|entry| self.bases.open(&cell.base_at, entry));
        if count.base.is_some() && cached.is_none() {
            cell.damaged = true;
            self.reads.counts.damaged.add(1);
            tracing::warn!(name: "entry.damaged", "a cached counter does not fit its key, type or schema");
        }
        // What was read before a batch that is acknowledged by now lacks its increments, and they are nowhere else.
        let read = cell.read.clone().filter(|read| read.batch >= counted.acked);
        let Some(Base { batch, counts }) = cached.or(read) else { return Ok(()) };
        let mut total = counts;
        let frozen = count.frozen.as_ref().filter(|_| counted.open > batch);
        for value in frozen.into_iter().chain(&count.pending) {
            let (_, by) = from_journal::<S::Counts>(value).ok_or_else(unreadable)?;
            total = Some(
                total
                    .unwrap_or_default()
                    .plus(&by)
                    .ok_or_else(|| Error::rejected("the sum of a counter does not fit 64 bits"))?,
            );
        }
        cell.total = Some(total);
        Ok(())
    }

    /// Step 2: which of them others are loading.
    async fn lease(&self, missed: &mut [&mut &mut Cell<S::Key, S::Counts>], deadline: Duration) -> Vec<bool> {
        let reads = &self.reads;
        let ask = |cell: &&mut &mut Cell<S::Key, S::Counts>| Ask {
            key: cell.base_at.clone(),
            id: Id::from(reads.runtime.random()),
            discard: cell.damaged,
        };
        let asks: Vec<Ask> = missed.iter().map(ask).collect();
        let answers = until(&*reads.runtime, reads.half(deadline), reads.cache.lease(&asks, reads.load_time.hold())).await;
        let answers = answers.and_then(Result::ok).unwrap_or_default();
        let busy = |(cell, lease): (&mut &mut &mut Cell<S::Key, S::Counts>, Lease)| {
            cell.lease = if let Lease::Granted(id) = lease { Some(id) } else { None };
            // A base is there by now: look again, too.
            matches!(lease, Lease::Busy | Lease::Hit(_))
        };
        missed.iter_mut().zip(answers).map(busy).collect()
    }

    /// Steps 3 and 4.
    async fn load(&self, wanted: &mut [&mut &mut Cell<S::Key, S::Counts>], deadline: Duration) -> Result<()> {
        let reads = &self.reads;
        let keys: Vec<S::Key> = wanted.iter().map(|cell| cell.key.clone()).collect();
        let mut numbers: Vec<usize> = wanted.iter().map(|cell| cell.shard).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards: Vec<Shard> = numbers.iter().map(|number| self.shards[*number].clone()).collect();
        let Snapshot { batches, rows } = reads.counted_in_turn(deadline, || (), self.store.fetch_at(&shards, &keys)).await?;
        let batches: BTreeMap<usize, u64> = numbers.into_iter().zip(batches).collect();
        let mut rows: BTreeMap<S::Key, S::Counts> = rows.into_iter().collect();
        let mut fills = Vec::new();
        for cell in wanted.iter_mut() {
            let batch = batches.get(&cell.shard).copied().ok_or_else(|| Error::invalid("the store tells no batch of a shard"))?;
            let counts = rows.remove(&cell.key);
            if let Some(lease) = cell.lease.take()
                && let Ok((entry, ttl)) = self.bases.entry(&cell.base_at, batch, counts.as_ref(), reads.runtime.random())
            {
                fills.push(Fill { key: cell.base_at.clone(), lease, entry, ttl });
            }
            cell.read = Some(Base { batch, counts });
        }
        if !fills.is_empty() {
            // A fill that fails costs the next reader a load, nothing else.
            let filled = until(&*reads.runtime, reads.half(deadline), reads.cache.fill(&fills)).await;
            let took = filled.is_some_and(|filled| filled.is_ok());
            if took { &reads.counts.fills } else { &reads.counts.fills_failed }.add(fills.len() as u64);
        }
        Ok(())
    }
}

/// As for an accepted change of a row: SQL has less.
fn unreadable() -> Error {
    Error::rejected(
        "increments of another schema, or damaged, lie there: they are flushed by a release that knows them, or set aside",
    )
}
