//! What a caller asks of a store, and what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::key::Key;

/// One change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K, R> {
    /// Insert the row or replace it.
    Put(R),
    /// Remove the row, if there is one.
    Delete(K),
}

/// Several changes for one call, which commits all of them or none.
#[derive(Clone, Debug)]
pub struct Changes<K, R> {
    list: Vec<Change<K, R>>,
}

impl<K, R> Changes<K, R> {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Changes { list: Vec::new() }
    }

    /// Insert the row or replace it.
    #[must_use]
    pub fn put(mut self, row: R) -> Self {
        self.list.push(Change::Put(row));
        self
    }

    /// Remove the row, if there is one.
    #[must_use]
    pub fn delete(mut self, key: K) -> Self {
        self.list.push(Change::Delete(key));
        self
    }

    /// How many were named, a key named twice counting twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One change per key, the last one named, in key order: the order in which all writers take their row locks. (Two changes
    /// of one key in one upsert are PostgreSQL's error 21000.)
    pub fn coalesce(self, key_of: impl Fn(&R) -> K) -> Vec<(K, Change<K, R>)>
    where
        K: Key,
    {
        let mut last = BTreeMap::new();
        for change in self.list {
            let key = match &change {
                Change::Put(row) => key_of(row),
                Change::Delete(key) => key.clone(),
            };
            last.insert(key, change);
        }
        last.into_iter().collect()
    }
}

impl<K, R> Default for Changes<K, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, R> Extend<Change<K, R>> for Changes<K, R> {
    fn extend<I: IntoIterator<Item = Change<K, R>>>(&mut self, changes: I) {
        self.list.extend(changes);
    }
}

impl<K, R> FromIterator<Change<K, R>> for Changes<K, R> {
    fn from_iter<I: IntoIterator<Item = Change<K, R>>>(changes: I) -> Self {
        Changes { list: changes.into_iter().collect() }
    }
}

/// What the store knows of a row after a change, hence what may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<R> {
    /// The row as it now stands, read under its row lock. Its key may differ from the one that was put (a trigger, a
    /// case-insensitive column): then both keys were touched.
    As(R),
    /// The row was there and is gone; its lock is held until the commit.
    Gone,
    /// Not known, or known without a lock: the cached copy must be invalidated. A delete that found no row is such a case,
    /// because nothing keeps another writer from inserting it in the same instant.
    Unread,
}

/// What an acknowledged write did. The change is committed whatever the cache did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<R> {
    /// The row as SQL returned it; `None` after a delete, or where SQL returned none.
    pub row: Option<R>,
    /// What became of the cached copy.
    pub cache: CacheEffect,
}

/// What an acknowledged write did to the cached copy of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheEffect {
    /// The next read is a hit of the new value.
    Published,
    /// The next read is a miss and loads the new value.
    Invalidated,
    /// The cache did not confirm. In strict mode reads go to SQL until the barrier lapses, after at most this time; in eventual
    /// mode the old value may be served for at most this time.
    Lapses {
        /// Counted from the answer.
        within: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_wins_in_key_order() {
        let changes = Changes::new().put((3, "a")).put((1, "b")).delete(3).put((2, "c")).put((1, "d"));
        assert_eq!(changes.len(), 5);
        let kept = changes.coalesce(|row: &(i32, &str)| row.0);
        assert_eq!(kept, [(1, Change::Put((1, "d"))), (2, Change::Put((2, "c"))), (3, Change::Delete(3))]);
    }
}
