//! Several keys in one call: one look for all, one round of fill leases for those that missed, one statement, one round of fills.
//!
//! The rules are those of a single read; a key that another process is loading is read from SQL without filling, so that one
//! slow load elsewhere does not hold up the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::{Ask, Bytes, Id, Lease, Lookup};
use crate::error::Result;
use crate::read::Reads;
use crate::store::Store;
use crate::tasks::until;

/// One round asks for at most this many keys; more take several rounds.
const MAX_ROUND: usize = 1_000;

/// One key on its way.
struct Cell<K, R> {
    key: K,
    at: Bytes,
    /// Known by now: the row, or that there is none.
    row: Option<Option<R>>,
    damaged: bool,
    lease: Option<Id>,
}

impl<S: Store> Reads<S> {
    pub(crate) async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Row>>> {
        let deadline = self.runtime.now() + self.call_timeout;
        let mut cells = BTreeMap::new();
        for key in keys {
            if !cells.contains_key(key) {
                let cell = Cell { key: key.clone(), at: self.keys.encode(key)?, row: None, damaged: false, lease: None };
                cells.insert(key.clone(), cell);
            }
        }
        let mut cells: Vec<_> = cells.into_values().collect();
        for round in cells.chunks_mut(MAX_ROUND) {
            self.round(round, deadline).await?;
        }
        let rows: BTreeMap<S::Key, Option<S::Row>> = cells.into_iter().map(|c| (c.key, c.row.flatten())).collect();
        Ok(keys.iter().map(|key| rows.get(key).cloned().flatten()).collect())
    }

    async fn round(&self, cells: &mut [Cell<S::Key, S::Row>], deadline: Duration) -> Result<()> {
        if self.look_many(cells, deadline).await {
            self.lease_many(cells, deadline).await;
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
        let fills = cells.iter().filter_map(|c| Some((c.at.clone(), c.lease?, c.row.as_ref()?.as_ref())));
        self.fill(fills, deadline).await;
        Ok(())
    }

    /// False if the cache did not answer: then nothing is asked of it any more.
    async fn look_many(&self, cells: &mut [Cell<S::Key, S::Row>], deadline: Duration) -> bool {
        let at: Vec<Bytes> = cells.iter().map(|c| c.at.clone()).collect();
        let Some(Ok(found)) = until(&*self.runtime, self.half(deadline), self.cache.get(&at)).await else { return false };
        for (cell, look) in cells.iter_mut().zip(found) {
            if let Lookup::Hit(entry) = look {
                cell.row = self.open(&cell.at, &entry);
                cell.damaged = cell.row.is_none();
            }
        }
        true
    }

    async fn lease_many(&self, cells: &mut [Cell<S::Key, S::Row>], deadline: Duration) {
        let mut missed: Vec<_> = cells.iter_mut().filter(|c| c.row.is_none()).collect();
        if missed.is_empty() {
            return;
        }
        let ask = |c: &&mut Cell<_, _>| Ask { key: c.at.clone(), id: Id::from(self.runtime.random()), discard: c.damaged };
        let asks: Vec<Ask> = missed.iter().map(ask).collect();
        let answers = until(&*self.runtime, self.half(deadline), self.cache.lease(&asks, self.load_time.hold())).await;
        for (cell, lease) in missed.iter_mut().zip(answers.and_then(Result::ok).unwrap_or_default()) {
            match lease {
                Lease::Hit(entry) => cell.row = self.open(&cell.at, &entry),
                Lease::Granted(id) => cell.lease = Some(id),
                Lease::Busy | Lease::Bypass => {}
            }
        }
    }
}
