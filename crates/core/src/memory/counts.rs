//! A store of counters in the process.

use super::store::{COMMITS, MemoryStore, lock};
use crate::counts::{CountStore, Counts, Snapshot, Tally};
use crate::error::Result;
use crate::journal::Shard;
use crate::key::Key;

use std::sync::PoisonError;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One table of counters in the process, for trying things and for users' own tests. Cheap to clone; all clones are one table.
///
/// A row that is missing is made. Nothing survives the process.
#[derive(Debug)]
pub struct MemoryCounts<K, C>(MemoryStore<K, Tally<K, C>>)
where
    K: Key + Serialize + DeserializeOwned,
    C: Counts;

impl<K: Key + Serialize + DeserializeOwned, C: Counts> MemoryCounts<K, C> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        let sum = |old: &Tally<K, C>, by: &Tally<K, C>| {
            let counts = old.counts.clone().plus(&by.counts)?;
            Some(Tally { key: old.key.clone(), counts })
        };
        MemoryCounts(MemoryStore::adding(|row| row.key.clone(), sum))
    }

    /// The counters that are committed, as SQL would return them: for assertions.
    #[must_use]
    pub fn row(&self, key: &K) -> Option<C> {
        self.0.row(key).map(|row| row.counts)
    }
}

impl<K: Key + Serialize + DeserializeOwned, C: Counts> CountStore for MemoryCounts<K, C> {
    type Key = K;
    type Counts = C;
    type Tallies = MemoryStore<K, Tally<K, C>>;

    fn tallies(&self) -> Self::Tallies {
        self.0.clone()
    }

    async fn fetch_at(&self, shards: &[Shard], keys: &[K]) -> Result<Snapshot<K, C>> {
        // A flush holds the fences until it is committed.
        let fences = lock(&self.0.table.fences);
        let _whole = COMMITS.read().unwrap_or_else(PoisonError::into_inner);
        let batches = shards.iter().map(|shard| fences.get(shard).map_or(0, |fence| fence.batch)).collect();
        let rows = keys.iter().filter_map(|key| Some((key.clone(), self.row(key)?))).collect();
        Ok(Snapshot { batches, rows })
    }
}

impl<K: Key + Serialize + DeserializeOwned, C: Counts> Default for MemoryCounts<K, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Key + Serialize + DeserializeOwned, C: Counts> Clone for MemoryCounts<K, C> {
    fn clone(&self) -> Self {
        MemoryCounts(self.0.clone())
    }
}
