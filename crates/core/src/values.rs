//! Rows to entries and back, for one namespace.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Bytes;
use crate::change::Change;
use crate::codec::{self, Row};
use crate::entry::{Opened, Seal};
use crate::error::{Error, Result};
use crate::expiry;

/// Makes and reads a namespace's value entries.
#[derive(Debug)]
pub struct Values<R> {
    seal: Seal,
    time_to_live: Duration,
    survives: OnceLock<()>,
    row: PhantomData<fn() -> R>,
}

impl<R: Row> Values<R> {
    /// For rows of one schema version.
    #[must_use]
    pub fn new(schema: u32, max_value_bytes: usize, time_to_live: Duration) -> Self {
        Values { seal: Seal::new::<R>(schema, max_value_bytes), time_to_live, survives: OnceLock::new(), row: PhantomData }
    }

    /// The entry of a row, or of there being none, and how long it lives. The type's first row is also checked to survive
    /// being cached.
    ///
    /// # Errors
    /// `Invalid` if the row does not serialise, does not survive it, or is too long.
    pub fn entry(&self, key: &[u8], row: Option<&R>, random: u128) -> Result<(Bytes, Duration)> {
        let Some(row) = row else {
            let ttl = expiry::negative(self.time_to_live);
            return Ok((self.seal.seal(key, None)?, expiry::jittered(ttl, random)));
        };
        if self.survives.get().is_none() {
            codec::check_round_trip(row)?;
            self.survives.get_or_init(|| ());
        }
        let payload = codec::encode(row)?;
        Ok((self.seal.seal(key, Some(&payload))?, expiry::jittered(self.time_to_live, random)))
    }

    /// The entry of something that stands for there being no row.
    ///
    /// # Errors
    /// As [`entry`](Values::entry).
    pub(crate) fn absent(&self, key: &[u8], row: &R, random: u128) -> Result<(Bytes, Duration)> {
        let (entry, _) = self.entry(key, Some(row), random)?;
        Ok((entry, expiry::jittered(expiry::negative(self.time_to_live), random)))
    }

    /// The value entry of a change: of a row, or of there being none under a key. Every row is checked: what could not be read
    /// again could not be brought to SQL. `is_there` says whether a row has the key that the entry is for.
    ///
    /// # Errors
    /// `Invalid` if the row does not serialise, does not survive it with its key, or is too long.
    pub fn change<K: Serialize>(&self, at: &[u8], change: &Change<K, R>, is_there: impl Fn(&R) -> bool) -> Result<Bytes> {
        match change {
            Change::Put(row) => {
                let (payload, read) = codec::check_round_trip(row)?;
                if !is_there(&read) {
                    return Err(Error::invalid("the row's key does not survive serialising: check its serde attributes"));
                }
                self.seal.seal(at, Some(&payload))
            }
            Change::Delete(key) => self.seal.seal_absent(at, &codec::encode(key)?),
        }
    }

    /// The change of which a value entry was made, or `None` if it is damaged or of another schema or type.
    #[must_use]
    pub fn read_change<K: DeserializeOwned>(&self, at: &[u8], entry: &[u8]) -> Option<Change<K, R>> {
        match self.seal.open_accepted(at, entry)? {
            Opened::Absent(key) => codec::decode(key).map(Change::Delete),
            Opened::Row(payload) => codec::decode(payload).map(Change::Put),
        }
    }

    /// What an entry says: a row, or that there is none. `None` is damage: another schema, type or key, or broken bytes.
    #[must_use]
    pub fn row(&self, key: &[u8], entry: &[u8]) -> Option<Option<R>> {
        match self.seal.open(key, entry)? {
            Opened::Absent(_) => Some(None),
            Opened::Row(payload) => codec::decode(payload).map(Some),
        }
    }

    /// The same of an accepted change, however long.
    #[must_use]
    pub fn accepted_row(&self, key: &[u8], entry: &[u8]) -> Option<Option<R>> {
        match self.seal.open_accepted(key, entry)? {
            Opened::Absent(_) => Some(None),
            Opened::Row(payload) => codec::decode(payload).map(Some),
        }
    }

    /// The longest that a value may stay in the cache.
    #[must_use]
    pub fn longest_life(&self) -> Duration {
        expiry::longest(self.time_to_live)
    }
}
