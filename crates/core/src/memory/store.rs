//! A store in the process: a map with row locks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::fence::Fences;
use crate::change::{Change, Stored};
use crate::codec::Row;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::store::{Store, Transaction};

/// A statement sees a commit whole or not at all, over all tables.
pub(super) static COMMITS: RwLock<()> = RwLock::new(());

/// One table in the process, for trying things and for users' own tests. Cheap to clone; all clones are one table.
///
/// It behaves as a SQL table read at READ COMMITTED: a changed row is locked until the end of its transaction, other writers of
/// it wait, readers see what is committed. Nothing survives the process.
pub struct MemoryStore<K: Key, R: Row> {
    pub(super) table: Arc<Table<K, R>>,
    key: fn(&R) -> K,
    /// What an old row and one that is put are together, where rows are added up.
    sum: Option<fn(&R, &R) -> Option<R>>,
}

pub(super) struct Table<K, R> {
    pub(super) fences: Mutex<Fences>,
    rows: Mutex<BTreeMap<K, R>>,
    locks: Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

/// An open transaction of [`MemoryStore`]s.
#[derive(Default)]
pub struct MemoryTx {
    held: Vec<OwnedMutexGuard<()>>,
    writes: Vec<Box<dyn FnOnce() + Send>>,
}

impl<K: Key, R: Row> MemoryStore<K, R> {
    /// An empty table whose rows have this key.
    #[must_use]
    pub fn new(key: fn(&R) -> K) -> Self {
        let table = Arc::new(Table { fences: Mutex::default(), rows: Mutex::default(), locks: Mutex::default() });
        MemoryStore { table, key, sum: None }
    }

    /// An empty table whose rows are added up; those of which there is no sum are refused.
    pub(super) fn adding(key: fn(&R) -> K, sum: fn(&R, &R) -> Option<R>) -> Self {
        MemoryStore { sum: Some(sum), ..Self::new(key) }
    }

    /// The committed row, as SQL would return it: for assertions.
    #[must_use]
    pub fn row(&self, key: &K) -> Option<R> {
        lock(&self.table.rows).get(key).cloned()
    }

    /// Waits for the row, unless this transaction has it already.
    async fn lock_row(&self, tx: &mut MemoryTx, key: &K) {
        let row_lock = {
            let mut locks = lock(&self.table.locks);
            locks.retain(|_, held| held.strong_count() > 0);
            let held = locks.get(key).and_then(Weak::upgrade).unwrap_or_default();
            locks.insert(key.clone(), Arc::downgrade(&held));
            held
        };
        if !tx.held.iter().any(|held| Arc::ptr_eq(OwnedMutexGuard::mutex(held), &row_lock)) {
            tx.held.push(row_lock.lock_owned().await);
        }
    }
}

impl<K: Key, R: Row> Store for MemoryStore<K, R> {
    type Key = K;
    type Row = R;
    type Tx = MemoryTx;

    fn key(&self, row: &R) -> K {
        (self.key)(row)
    }

    async fn fetch(&self, keys: &[K]) -> Result<Vec<R>> {
        let _whole = COMMITS.read().unwrap_or_else(PoisonError::into_inner);
        let rows = lock(&self.table.rows);
        Ok(keys.iter().filter_map(|key| rows.get(key).cloned()).collect())
    }

    async fn begin(&self, _commit_within: Option<Duration>) -> Result<MemoryTx> {
        Ok(MemoryTx::default())
    }

    async fn apply_in(&self, tx: &mut MemoryTx, changes: &[Change<K, R>]) -> Result<Vec<Stored<R>>> {
        let mut stored = Vec::with_capacity(changes.len());
        for change in changes {
            let key = match change {
                Change::Put(row) => self.key(row),
                Change::Delete(key) => key.clone(),
            };
            self.lock_row(tx, &key).await;
            let table = self.table.clone();
            stored.push(match change {
                Change::Put(row) => {
                    let old = self.sum.and_then(|sum| Some((sum, self.row(&key)?)));
                    let added = old.map_or_else(|| Some(row.clone()), |(sum, old)| sum(&old, row));
                    let row = added.ok_or_else(|| Error::rejected("the sum is out of the column's range"))?;
                    let written = Stored::As(row.clone());
                    tx.writes.push(Box::new(move || drop(lock(&table.rows).insert(key, row))));
                    written
                }
                Change::Delete(_) => {
                    tx.writes.push(Box::new(move || drop(lock(&table.rows).remove(&key))));
                    // Unlike in SQL, a missing row is locked too.
                    Stored::Gone
                }
            });
        }
        Ok(stored)
    }
}

impl MemoryTx {
    pub(super) fn commit_now(self) {
        let _whole = COMMITS.write().unwrap_or_else(PoisonError::into_inner);
        self.writes.into_iter().for_each(|write| write());
    }
}

impl Transaction for MemoryTx {
    async fn commit(self) -> Result<()> {
        self.commit_now();
        Ok(())
    }

    async fn rollback(self) {}
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only a user's Clone or Ord can panic under these locks, before anything is changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Key, R: Row> Clone for MemoryStore<K, R> {
    fn clone(&self) -> Self {
        MemoryStore { table: self.table.clone(), key: self.key, sum: self.sum }
    }
}

impl<K: Key, R: Row> fmt::Debug for MemoryStore<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("rows", &lock(&self.table.rows).len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTx").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}
