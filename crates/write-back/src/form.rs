//! How changes lie in the journal, and what SQL returned in the cache: rows whole, counters as increments and bases.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use writeway_core::cache::Bytes;
use writeway_core::change::Change;
use writeway_core::codec;
use writeway_core::counts::{Counts, Tally, from_journal, to_journal};
use writeway_core::error::{Error, Result};
use writeway_core::key::Key;
use writeway_core::read::Reads;
use writeway_core::read_counts::Bases;
use writeway_core::store::FencedStore;

/// Of one namespace.
pub(crate) trait Form<K, R>: Send + Sync {
    /// The change as it is accepted under `at`. `is_there` says whether a row has the key that `at` is of.
    fn write(&self, at: &[u8], change: &Change<K, R>, is_there: &dyn Fn(&R) -> bool) -> Result<Bytes>;

    /// The change of which that was made; `None` if it cannot be read.
    fn read(&self, at: &[u8], value: &[u8]) -> Option<Change<K, R>>;

    /// The row, or that there is none, as it is cached for the key of `at` since a batch is in effect, and how long it lives; `None` if
    /// it is too long.
    fn clean(&self, at: &[u8], batch: u64, row: Option<&R>, random: u128) -> Option<(Bytes, Duration)>;
}

/// Rows.
pub(crate) struct Rows<S: FencedStore>(pub(crate) Arc<Reads<S>>);

impl<S: FencedStore> Form<S::Key, S::Row> for Rows<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    fn write(&self, at: &[u8], change: &Change<S::Key, S::Row>, is_there: &dyn Fn(&S::Row) -> bool) -> Result<Bytes> {
        self.0.values.change(at, change, is_there)
    }

    fn read(&self, at: &[u8], value: &[u8]) -> Option<Change<S::Key, S::Row>> {
        self.0.values.read_change(at, value)
    }

    fn clean(&self, at: &[u8], _: u64, row: Option<&S::Row>, random: u128) -> Option<(Bytes, Duration)> {
        self.0.values.entry(at, row, random).ok()
    }
}

/// Increments.
pub(crate) struct Increments<K, C> {
    pub(crate) bases: Arc<Bases<C>>,
    pub(crate) key: PhantomData<fn() -> K>,
}

impl<K: Key + Serialize + DeserializeOwned, C: Counts> Form<K, Tally<K, C>> for Increments<K, C> {
    fn write(&self, _: &[u8], change: &Change<K, Tally<K, C>>, is_there: &dyn Fn(&Tally<K, C>) -> bool) -> Result<Bytes> {
        let Change::Put(tally) = change else { return Err(Error::invalid("counters are added to, not deleted")) };
        let key = codec::encode(&tally.key)?;
        let read = codec::decode(&key).map(|key| Tally { key, counts: C::default() });
        if !read.is_some_and(|read| is_there(&read)) {
            return Err(Error::invalid("the key does not survive serialising: check its serde attributes"));
        }
        Ok(to_journal(key, &tally.counts))
    }

    fn read(&self, at: &[u8], value: &[u8]) -> Option<Change<K, Tally<K, C>>> {
        let (key, counts) = from_journal(value)?;
        let key: K = codec::decode(&key)?;
        // There is no hash to tell that they lie where they were put.
        let mut name = b":e:".to_vec();
        key.encode(&mut name);
        at.ends_with(&name).then_some(Change::Put(Tally { key, counts }))
    }

    fn clean(&self, at: &[u8], batch: u64, row: Option<&Tally<K, C>>, random: u128) -> Option<(Bytes, Duration)> {
        self.bases.entry(&writeway_core::entry::increments::base_of(at), batch, row.map(|row| &row.counts), random).ok()
    }
}
