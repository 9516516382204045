//! The bytes under one cache key.
//!
//! ```text
//! magic D7 | kind | format 01 | …                                              every entry
//!          | 'V'  |           | flags (1) | hash (8) | payload                 a value, or that there is no row
//!          | 'L'  |           | lease id (16) | owner until (8)                a fill lease
//!          | 'B'  |           | flags (1) | { token (16) | deadline (8) } …    commit barriers
//! ```
//!
//! and in write-back namespaces
//!
//! ```text
//!          | 'C'  |           | inc (8) | a whole 'V' or 'L'                   of one incarnation of the shard
//!          | 'D'  |           | schema (4) | version (16) | first (16) | a whole 'V'    accepted, not in SQL
//! ```
//!
//! Numbers are big-endian; times are the cache server's, in milliseconds. What lacks the magic, or a value whose hash does not
//! fit, is damage: a miss, overwritten by the next fill. The right magic with another kind or format belongs to another
//! process (a newer release, another strategy): readers read SQL and do not fill, writers refuse.
//!
//! The hash covers schema, row type, cache key, flags and payload, so that bytes are only ever read as what they were stored for.

pub mod held;
pub mod increments;
pub mod members;
pub mod shard;
pub mod state;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};

/// First byte of every entry.
pub const MAGIC: u8 = 0xD7;
/// Third byte of every entry that this release reads and writes.
pub const FORMAT: u8 = 1;
/// Second byte of a value.
pub const VALUE: u8 = b'V';
/// Second byte of a fill lease.
pub const LEASE: u8 = b'L';
/// Second byte of commit barriers.
pub const BARRIER: u8 = b'B';

/// Second byte of what is in SQL, in a write-back namespace.
pub const CLEAN: u8 = b'C';
/// Second byte of an accepted change.
pub const DIRTY: u8 = b'D';

/// Bytes before a value's payload.
pub const VALUE_HEADER: usize = 12;
const ABSENT: u8 = 1;

/// Writes and reads the values of one namespace.
#[derive(Clone, Debug)]
pub struct Seal {
    schema: u32,
    row_type: String,
    max_value_bytes: usize,
}

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// The row's payload.
    Row(&'a [u8]),
    /// There is no such row; with what was sealed besides, usually nothing.
    Absent(&'a [u8]),
}

impl Seal {
    /// For rows of type `R` in the given schema version.
    #[must_use]
    pub fn new<R>(schema: u32, max_value_bytes: usize) -> Self {
        Seal { schema, row_type: without_modules(std::any::type_name::<R>()), max_value_bytes }
    }

    /// The value that holds `payload`, or that there is no row.
    ///
    /// # Errors
    /// `Invalid` if the payload is longer than the namespace's `max_value_bytes`.
    pub fn seal(&self, key: &[u8], payload: Option<&[u8]>) -> Result<Vec<u8>> {
        self.sealed(key, if payload.is_none() { ABSENT } else { 0 }, payload.unwrap_or_default())
    }

    /// As [`seal`](Seal::seal), that there is no row; the payload says of what.
    ///
    /// # Errors
    /// As [`seal`](Seal::seal).
    pub fn seal_absent(&self, key: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
        self.sealed(key, ABSENT, payload)
    }

    fn sealed(&self, key: &[u8], flags: u8, body: &[u8]) -> Result<Vec<u8>> {
        if body.len() > self.max_value_bytes {
            let max = self.max_value_bytes;
            return Err(Error::invalid(format!("a row encodes to more than max_value_bytes ({max})")));
        }
        let mut out = Vec::with_capacity(VALUE_HEADER + body.len());
        out.extend_from_slice(&[MAGIC, VALUE, FORMAT, flags]);
        out.extend_from_slice(&self.hash(key, flags, body).to_be_bytes());
        out.extend_from_slice(body);
        Ok(out)
    }

    /// What a value says, or `None` if it is damaged, was stored for something else, or is longer than `max_value_bytes`.
    #[must_use]
    pub fn open<'a>(&self, key: &[u8], entry: &'a [u8]) -> Option<Opened<'a>> {
        let is_short = entry.len() <= VALUE_HEADER.saturating_add(self.max_value_bytes);
        is_short.then(|| self.open_accepted(key, entry)).flatten()
    }

    /// The same of an accepted change, however long: a process that allows more accepted it.
    #[must_use]
    pub fn open_accepted<'a>(&self, key: &[u8], entry: &'a [u8]) -> Option<Opened<'a>> {
        let (header, payload) = entry.split_at_checked(VALUE_HEADER)?;
        let (&[magic, kind, format, flags], hash) = header.split_first_chunk::<4>()?;
        let known = [magic, kind, format] == [MAGIC, VALUE, FORMAT] && flags <= ABSENT;
        if !known || hash != self.hash(key, flags, payload).to_be_bytes() {
            return None;
        }
        Some(if flags == ABSENT { Opened::Absent(payload) } else { Opened::Row(payload) })
    }

    fn hash(&self, key: &[u8], flags: u8, payload: &[u8]) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.schema.to_be_bytes());
        for part in [self.row_type.as_bytes(), key] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(&[flags]);
        hash.update(payload);
        hash.digest()
    }
}

/// The path of a module may change between releases of an application; the name of a type seldom does.
fn without_modules(path: &str) -> String {
    let parts = path.split_inclusive(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':')));
    parts.map(|part| part.rsplit("::").next().unwrap_or(part)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal() -> Seal {
        Seal::new::<String>(3, 64)
    }

    #[test]
    fn a_value_opens_only_as_what_it_was_stored_for() {
        let entry = seal().seal(b"users:7", Some(b"{}")).expect("short");
        assert_eq!(seal().open(b"users:7", &entry), Some(Opened::Row(b"{}")));
        assert_eq!(seal().open(b"users:8", &entry), None, "another key");
        assert_eq!(Seal::new::<String>(4, 64).open(b"users:7", &entry), None, "another schema");
        assert_eq!(Seal::new::<u8>(3, 64).open(b"users:7", &entry), None, "another type");
        assert_eq!(Seal::new::<String>(3, 1).open(b"users:7", &entry), None, "oversized");
        let accepted = Seal::new::<String>(3, 1);
        assert_eq!(
            accepted.open_accepted(b"users:7", &entry),
            Some(Opened::Row(b"{}")),
            "what was accepted is read at any length"
        );
        let absent = seal().seal(b"users:7", None).expect("empty");
        assert_eq!(seal().open(b"users:7", &absent), Some(Opened::Absent(b"")));
    }

    #[test]
    fn a_type_is_known_by_its_names() {
        assert_eq!(without_modules("app::rows::Page<app::rows::User, (u8, alloc::string::String)>"), "Page<User, (u8, String)>");
    }

    #[test]
    fn a_value_is_bounded() {
        assert!(seal().seal(b"k", Some(&[0; 64])).is_ok());
        assert!(seal().seal(b"k", Some(&[0; 65])).is_err());
    }

    proptest! {
        #[test]
        fn every_flipped_bit_and_every_cut_is_damage(payload in proptest::collection::vec(any::<u8>(), 0..40), at: usize, bit in 0..8) {
            let entry = seal().seal(b"k", Some(&payload)).expect("short");
            let mut flipped = entry.clone();
            flipped[at % entry.len()] ^= 1_u8 << bit;
            prop_assert_eq!(seal().open(b"k", &flipped), None);
            prop_assert_eq!(seal().open(b"k", &entry[..at % entry.len()]), None);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = seal().open(b"k", &bytes);
        }
    }
}
