//! Counters: a type whose named integer fields are added up, and what a store of counters offers.

use std::future::Future;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache::Bytes;
use crate::codec::Row;
use crate::entry::increments::Increments;
use crate::error::Result;
use crate::journal::Shard;
use crate::key::Key;
use crate::store::FencedStore;

/// Named integers, of which increments are added up field by field: `likes: 1, views: 3`. Written by [`counts!`](crate::counts).
///
/// The names are part of what lies in Redis, so that an application may add a field and raise its schema version while older
/// releases run. A field that is renamed or removed takes its pending increments with it: flush before.
pub trait Counts: Row + Default {
    /// The names of the fields, 1 to 64 bytes each.
    const FIELDS: &'static [&'static str];

    /// The value of the field at this place of [`FIELDS`](Counts::FIELDS).
    fn at(&self, field: usize) -> i64;

    /// The same, to be changed.
    fn at_mut(&mut self, field: usize) -> &mut i64;

    /// Adds others, field by field. `None` where a sum does not fit 64 bits.
    #[must_use]
    fn plus(mut self, other: &Self) -> Option<Self> {
        for field in 0..Self::FIELDS.len() {
            *self.at_mut(field) = self.at(field).checked_add(other.at(field))?;
        }
        Some(self)
    }
}

/// Says which fields of a struct are counters. All are `i64`; the struct has no others, and is `Default`, `Clone`, `Serialize` and
/// `Deserialize`.
///
/// ```
/// #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
/// struct PostCounts { likes: i64, views: i64 }
///
/// writeway_core::counts!(PostCounts { likes, views });
/// ```
#[macro_export]
macro_rules! counts {
    ($name:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::counts::Counts for $name {
            const FIELDS: &'static [&'static str] = &[$(::core::stringify!($field)),+];

            fn at(&self, field: usize) -> i64 {
                // No other fields than these.
                let Self { $($field),+ } = self;
                [$(*$field),+][field]
            }

            fn at_mut(&mut self, field: usize) -> &mut i64 {
                let fields: [&mut i64; <Self as $crate::counts::Counts>::FIELDS.len()] = [$(&mut self.$field),+];
                fields.into_iter().nth(field).expect("a field of this type")
            }
        }
    };
}

/// Counts under a key: a row of a table of counters, or increments of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally<K, C> {
    /// The primary key.
    pub key: K,
    /// The counts.
    pub counts: C,
}

/// Rows of counters as one snapshot of SQL has them, with the batches that are in effect in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<K, C> {
    /// Of each shard that was asked for, the fence's batch.
    pub batches: Vec<u64>,
    /// The rows that exist, in any order.
    pub rows: Vec<(K, C)>,
}

/// A table of counters in the system of record: rows to whose columns is added.
pub trait CountStore: Clone + Send + Sync + 'static {
    /// Its primary key.
    type Key: Key + Serialize + DeserializeOwned;
    /// Its counters.
    type Counts: Counts;
    /// The same table, where a `Put` *adds*, and returns the row as it then stands.
    type Tallies: FencedStore<Key = Self::Key, Row = Tally<Self::Key, Self::Counts>>;

    /// The table as the flusher takes it. It is for the handle of counters only: any other strategy over it would take what is to be
    /// added for a row.
    fn tallies(&self) -> Self::Tallies;

    /// The rows that exist among `keys`, and the batches of the shards, in **one** snapshot of the primary: a row has the increments
    /// of the batches up to its shard's, and of no later one.
    ///
    /// # Errors
    /// As [`Store::fetch`](crate::store::Store::fetch).
    fn fetch_at(
        &self,
        shards: &[Shard],
        keys: &[Self::Key],
    ) -> impl Future<Output = Result<Snapshot<Self::Key, Self::Counts>>> + Send;
}

/// Increments as they lie in the journal, with the payload of their key. What is zero is left out.
#[must_use]
pub fn to_journal<C: Counts>(key: Bytes, by: &C) -> Bytes {
    let fields = C::FIELDS.iter().enumerate().filter(|(field, _)| by.at(*field) != 0);
    let fields = fields.map(|(field, name)| (name.as_bytes().to_vec(), by.at(field))).collect();
    Increments { key, fields }.to_bytes()
}

/// The payload of the key, and what was added; `None` if it cannot be read, or is of a field that this type does not have.
#[must_use]
pub fn from_journal<C: Counts>(value: &[u8]) -> Option<(Bytes, C)> {
    let increments = Increments::from_bytes(value)?;
    let mut counts = C::default();
    for (name, by) in &increments.fields {
        let field = C::FIELDS.iter().position(|known| known.as_bytes() == name)?;
        *counts.at_mut(field) = *by;
    }
    Some((increments.key, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct PostCounts {
        likes: i64,
        views: i64,
    }
    crate::counts!(PostCounts { likes, views });

    #[test]
    fn fields_go_by_their_names() {
        let counts = PostCounts { likes: 1, views: -3 };
        let value = to_journal(b"7".to_vec(), &counts);
        assert_eq!(from_journal(&value), Some((b"7".to_vec(), counts)));
        let other = Increments { key: b"7".to_vec(), fields: vec![(b"shares".to_vec(), 1)] };
        assert_eq!(from_journal::<PostCounts>(&other.to_bytes()), None, "another release's field");
    }

    #[test]
    fn sums_do_not_wrap() {
        let most = PostCounts { likes: i64::MAX, views: 0 };
        assert_eq!(most.clone().plus(&PostCounts { likes: 1, views: 0 }), None);
        assert_eq!(most.clone().plus(&PostCounts { likes: -1, views: 2 }), Some(PostCounts { likes: i64::MAX - 1, views: 2 }));
    }
}
