//! What lies under one key of a write-back namespace.

use crate::cache::{Bytes, Id, Lease, Lookup};
use crate::entry::state::{self, Slot, State};
use crate::entry::{CLEAN, DIRTY, FORMAT, MAGIC};
use crate::journal::Version;

/// Bytes before the value or fill lease of one incarnation.
pub const CLEAN_HEADER: usize = 11;
/// Bytes before an accepted change's value.
pub const DIRTY_HEADER: usize = 39;

/// What lies under a key. Of one that is absent there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A copy of what is in SQL, or the right to fetch one: a look-aside key without barriers.
    Clean {
        /// In which incarnation of the shard; in any other it is nothing.
        inc: u64,
        /// Its state and expiry.
        slot: Slot,
    },
    /// An accepted change that is not known to be in SQL. It never expires.
    Dirty(Dirty),
    /// The right magic with another kind or format: hands off.
    Foreign(Bytes),
}

/// An accepted change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// The row's schema version.
    pub schema: u32,
    /// Which change of the key.
    pub version: Version,
    /// The first of those that were coalesced into it and are in no batch.
    pub first: Version,
    /// A whole value entry.
    pub value: Bytes,
}

impl Dirty {
    /// False of what was cut short: every change that was accepted has a version.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.version != Version::default()
    }
}

impl Held {
    /// Drops what has expired.
    pub fn expire(this: &mut Option<Held>, now: u64) {
        if matches!(this, Some(Held::Clean { slot, .. }) if slot.expires.is_some_and(|at| at <= now)) {
            *this = None;
        }
    }

    /// A read in incarnation `inc`.
    #[must_use]
    pub fn get(this: Option<&Held>, inc: u64) -> Lookup {
        match this {
            Some(Held::Dirty(dirty)) => Lookup::Dirty(dirty.value.clone()),
            // A change that only a newer release can read.
            Some(Held::Foreign(bytes)) if is_dirty(bytes) => Lookup::Dirty(bytes.clone()),
            Some(Held::Clean { inc: its, slot }) if *its == inc => slot.get(),
            _ => Lookup::Miss,
        }
    }

    /// A reader asks for the right to fill. What is of another incarnation is nothing.
    pub fn lease(this: &mut Option<Held>, inc: u64, id: Id, discard: bool, now: u64, owner_for: u64, keep_for: u64) -> Lease {
        let mut slot = match this {
            Some(Held::Dirty(dirty)) => return Lease::Dirty(dirty.value.clone()),
            Some(Held::Foreign(bytes)) if is_dirty(bytes) => return Lease::Dirty(bytes.clone()),
            Some(Held::Foreign(_)) => return Lease::Bypass,
            Some(Held::Clean { inc: its, slot }) if *its == inc => std::mem::take(slot),
            _ => Slot::default(),
        };
        let answer = slot.lease(id, discard, now, owner_for, keep_for);
        *this = Some(Held::Clean { inc, slot });
        answer
    }

    /// Stores a loaded value, only into the lease of this very incarnation under which it was loaded.
    pub fn fill(this: &mut Option<Held>, inc: u64, lease: Id, entry: &[u8], ttl: u64, now: u64) {
        if let Some(Held::Clean { inc: its, slot }) = this
            && *its == inc
        {
            slot.fill(lease, entry, ttl, now);
        }
    }

    /// Removes a clean value and voids a lease; an accepted change stays. False: hands off.
    pub fn invalidate(this: &mut Option<Held>) -> bool {
        match this {
            Some(Held::Foreign(_)) => return false,
            Some(Held::Clean { .. }) => *this = None,
            Some(Held::Dirty(_)) | None => {}
        }
        true
    }
}

/// A foreign entry that is an accepted change of a newer release.
pub(super) fn is_dirty(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&DIRTY)
}

/// As they lie in Redis.
#[must_use]
pub fn to_bytes(held: &Held) -> Bytes {
    let mut out = vec![MAGIC];
    match held {
        Held::Foreign(bytes) => return bytes.clone(),
        Held::Clean { inc, slot } => {
            out.extend([CLEAN, FORMAT]);
            out.extend(inc.to_be_bytes());
            out.extend(state::to_bytes(&slot.state).unwrap_or_default());
        }
        Held::Dirty(dirty) => {
            out.extend([DIRTY, FORMAT]);
            out.extend(dirty.schema.to_be_bytes());
            for version in [dirty.version, dirty.first] {
                out.extend(version.epoch.to_be_bytes());
                out.extend(version.seq.to_be_bytes());
            }
            out.extend(&dirty.value);
        }
    }
    out
}

/// What bytes found under a key say, with their expiry. What is no entry is damage, hence nothing; an accepted change that was
/// cut short is still one, of which nothing can be read.
#[must_use]
pub fn from_bytes(bytes: &[u8], expires: Option<u64>) -> Option<Held> {
    let (&[magic, kind, format], body) = bytes.split_first_chunk::<3>()?;
    if magic != MAGIC {
        return None;
    }
    match (kind, format) {
        (DIRTY, FORMAT) => Some(Held::Dirty(dirty(body).unwrap_or_default())),
        (CLEAN, FORMAT) => {
            let (inc, entry) = body.split_first_chunk::<8>()?;
            let state = match state::from_bytes(entry) {
                state @ (State::Value(_) | State::Leased { .. }) => state,
                _ => return None,
            };
            Some(Held::Clean { inc: u64::from_be_bytes(*inc), slot: Slot { state, expires } })
        }
        _ => Some(Held::Foreign(bytes.to_vec())),
    }
}

fn dirty(body: &[u8]) -> Option<Dirty> {
    let (schema, rest) = body.split_first_chunk::<4>()?;
    let (numbers, value) = rest.split_first_chunk::<32>()?;
    let number = |at: usize| numbers[at..].first_chunk::<8>().map_or(0, |n| u64::from_be_bytes(*n));
    let version = |at: usize| Version { epoch: number(at), seq: number(at + 8) };
    Some(Dirty { schema: u32::from_be_bytes(*schema), version: version(0), first: version(16), value: value.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Seal;

    #[test]
    fn bytes_and_back() {
        let value = Seal::new::<u8>(0, 64).seal(b"k", Some(b"1")).expect("short");
        let version = Version { epoch: 3, seq: 9 };
        let dirty = Held::Dirty(Dirty { schema: 2, version, first: Version { epoch: 3, seq: 7 }, value: value.clone() });
        let slot = |state| Slot { state, expires: Some(5) };
        for held in [
            dirty,
            Held::Clean { inc: 4, slot: slot(State::Value(value)) },
            Held::Clean { inc: 4, slot: slot(State::Leased { id: Id([7; 16]), owner_until: 8 }) },
            Held::Foreign(vec![MAGIC, b'V', FORMAT, 0]),
        ] {
            assert_eq!(from_bytes(&to_bytes(&held), Some(5)), Some(held));
        }
        assert!(matches!(from_bytes(&[MAGIC, DIRTY, FORMAT, 1], None), Some(Held::Dirty(_))), "cut short, and still dirty");
        assert_eq!(from_bytes(b"{}", None), None);
    }

    #[test]
    fn a_dirty_entry_is_never_a_miss() {
        for bytes in [&[MAGIC, DIRTY, FORMAT][..], &[MAGIC, DIRTY, FORMAT + 1, 9], &[MAGIC, DIRTY, FORMAT, 0, 0, 0, 0, 1]] {
            let mut held = from_bytes(bytes, None);
            let found = Held::get(held.as_ref(), 1);
            assert!(matches!(found, Lookup::Dirty(_)), "invariant violated: a dirty entry is never a miss: {bytes:?}");
            let lease = Held::lease(&mut held, 1, Id([0; 16]), true, 0, 1, 1);
            assert!(matches!(lease, Lease::Dirty(_)), "invariant violated: a dirty entry is never a miss: {bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in prop_oneof![Just(CLEAN), Just(DIRTY), any::<u8>()]) {
            let _ = from_bytes(&bytes, None);
            let _ = from_bytes(&[&[MAGIC, kind, FORMAT], bytes.as_slice()].concat(), None);
        }
    }
}
