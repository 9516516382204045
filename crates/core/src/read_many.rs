//! Several keys in one call: one look for all, one round of fill leases for those that missed, one statement, one round of fills.
//!
//! The rules are those of a single read; a key that another process is loading is read from SQL without filling, so that one
//! slow load elsewhere does not hold up the rest.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::cache::{Ask, Bytes, Id, Lease, Lookup};
use crate::error::Result;
use crate::read::{Reads, late};
use crate::store::Store;
use crate::tasks::until;

/// One round asks for at most this many keys; more take several rounds.
const MAX_ROUND: usize = 1_000;

/// One key on its way.
struct Cell<K, R> {
    key: K,
    /// Known by now: the row, or that there is none.
    row: Option<Option<R>>,
    damaged: bool,
    lease: Option<Id>,
}

impl<S: Store> Reads<S> {
    /// The rows under `keys`, in the order asked.
    ///
    /// # Errors
    /// As [`get`](Reads::get), for all or none.
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Row>>> {
        let started = self.runtime.now();
        let found = self.find_many(keys, started + self.call_timeout).await;
        self.counts.answered(&*self.runtime, started, &found);
        found
    }

    async fn find_many(&self, keys: &[S::Key], deadline: Duration) -> Result<Vec<Option<S::Row>>> {
        let (mut places, mut cells, mut at) = (BTreeMap::new(), Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for key in keys {
            if let Entry::Vacant(place) = places.entry(key) {
                place.insert(cells.len());
                at.push(self.keys.encode(key)?);
                cells.push(Cell { key: key.clone(), row: None, damaged: false, lease: None });
            }
        }
        for (cells, at) in cells.chunks_mut(MAX_ROUND).zip(at.chunks(MAX_ROUND)) {
            self.round(cells, at, deadline).await?;
        }
        if cells.len() == keys.len() {
            return Ok(cells.into_iter().map(|cell| cell.row.flatten()).collect());
        }
        let row = |key| places.get(key).and_then(|&place: &usize| cells.get(place)).and_then(|cell| cell.row.clone().flatten());
        Ok(keys.iter().map(row).collect())
    }

    /// The n-th cell is cached under the n-th of `at`.
    async fn round(&self, cells: &mut [Cell<S::Key, S::Row>], at: &[Bytes], deadline: Duration) -> Result<()> {
        if self.look_many(cells, at, deadline).await? {
            self.lease_many(cells, at, deadline).await?;
        }
        let wanted: Vec<S::Key> = cells.iter().filter(|c| c.row.is_none()).map(|c| c.key.clone()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = self.fetch(&wanted, deadline, || ()).await?;
        let mut rows: BTreeMap<S::Key, S::Row> = rows.into_iter().map(|row| (self.store.key(&row), row)).collect();
        for cell in cells.iter_mut().filter(|c| c.row.is_none()) {
            cell.row = Some(rows.remove(&cell.key));
        }
        let fills = cells.iter().zip(at).filter_map(|(c, at)| Some((at.clone(), c.lease?, c.row.as_ref()?.as_ref())));
        self.fill(fills, deadline).await;
        Ok(())
    }

    /// False if the cache did not answer: then nothing is asked of it any more.
    async fn look_many(&self, cells: &mut [Cell<S::Key, S::Row>], at: &[Bytes], deadline: Duration) -> Result<bool> {
        let found = match until(&*self.runtime, self.half(deadline), self.cache.get(at)).await {
            Some(Ok(found)) => found,
            away => {
                self.counts.unanswered.add(at.len() as u64);
                return if self.ahead { away.unwrap_or_else(|| Err(late())).map(|_| false) } else { Ok(false) };
            }
        };
        for ((cell, at), look) in cells.iter_mut().zip(at).zip(found) {
            match look {
                Lookup::Hit(entry) => {
                    cell.row = self.open(at, &entry);
                    cell.damaged = cell.row.is_none();
                }
                Lookup::Dirty(entry) => cell.row = Some(self.open_dirty(at, &entry)?),
                Lookup::Miss => {}
            }
        }
        let hits = cells.iter().filter(|cell| cell.row.is_some()).count() as u64;
        self.counts.hits.add(hits);
        self.counts.misses.add(cells.len() as u64 - hits);
        Ok(true)
    }

    async fn lease_many(&self, cells: &mut [Cell<S::Key, S::Row>], at: &[Bytes], deadline: Duration) -> Result<()> {
        let mut missed: Vec<_> = cells.iter_mut().zip(at).filter(|(c, _)| c.row.is_none()).collect();
        if missed.is_empty() {
            return Ok(());
        }
        let id = || Id::from(self.runtime.random());
        let asks: Vec<Ask> = missed.iter().map(|(c, at)| Ask { key: (*at).clone(), id: id(), discard: c.damaged }).collect();
        let answers = until(&*self.runtime, self.half(deadline), self.cache.lease(&asks, self.load_time.hold())).await;
        for ((cell, at), lease) in missed.iter_mut().zip(answers.and_then(Result::ok).unwrap_or_default()) {
            match lease {
                Lease::Hit(entry) => cell.row = self.open(at, &entry),
                Lease::Dirty(entry) => cell.row = Some(self.open_dirty(at, &entry)?),
                Lease::Granted(id) => cell.lease = Some(id),
                Lease::Busy | Lease::Bypass => {}
            }
        }
        Ok(())
    }
}
