//! Keys: how a row's primary key becomes the bytes of a cache key.

use std::hash::Hash;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::journal::Shard;

/// The longest encoded key, in bytes. Longer ones are refused before any I/O.
pub const MAX_KEY_BYTES: usize = 1024;

/// A primary key: one column, or a tuple of columns.
///
/// `Ord` gives the order in which a write of several rows takes its row locks, so it must be the same in every process.
/// Equality must be SQL's equality of the key columns: a case-insensitive column needs a key type that compares so.
pub trait Key: Clone + Ord + Hash + Send + Sync + 'static {
    /// Appends the key to a cache key. Two keys that differ must append different bytes, and what is appended must be free of
    /// `:`, `{` and `}` other than as the separator of a tuple: [`encode_text`] sees to both.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Appends one column's text, escaped so that tuples stay unambiguous and Redis Cluster sees no hash tag in it.
pub fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if matches!(byte, b':' | b'%' | b'{' | b'}' | 0..=b' ' | 0x7F) {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

macro_rules! numbers {
    ($($t:ty),+) => { $(
        impl Key for $t {
            fn encode(&self, out: &mut Vec<u8>) {
                use std::io::Write;
                // Writing to a Vec cannot fail.
                let _ = write!(out, "{self}");
            }
        }
    )+ };
}
numbers!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, bool);

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_bytes(), out);
    }
}

impl Key for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }
}

macro_rules! tuples {
    ($(($($name:ident . $at:tt),+))+) => { $(
        impl<$($name: Key),+> Key for ($($name,)+) {
            fn encode(&self, out: &mut Vec<u8>) {
                $( if $at > 0 { out.push(b':'); } self.$at.encode(out); )+
            }
        }
    )+ };
}
tuples! { (A.0, B.1) (A.0, B.1, C.2) (A.0, B.1, C.2, D.3) }

/// `prefix:namespace:` once per handle, the key's own bytes per call; with shards, `prefix:{namespace:3}:e:`.
#[derive(Clone, Debug)]
pub struct KeySpace {
    stems: Vec<Vec<u8>>,
}

impl KeySpace {
    /// The key space of one namespace. The cache adapter adds its own prefix in front.
    ///
    /// # Errors
    /// `Invalid` unless the name is 1 to 64 of `a-z A-Z 0-9 _ . -`.
    pub fn new(namespace: &str) -> Result<Self> {
        check_name("namespace", namespace)?;
        Ok(KeySpace { stems: vec![format!("{namespace}:").into_bytes()] })
    }

    /// The key space of one write-back namespace, of at least one shard.
    #[must_use]
    pub fn sharded(shards: &[Shard]) -> Self {
        KeySpace { stems: shards.iter().map(|shard| [shard.stem().as_slice(), b"e:"].concat()).collect() }
    }

    /// The same, for what is cached of a namespace that counts: the [bases](crate::entry::increments::base_of) of its counters.
    #[must_use]
    pub fn bases(shards: &[Shard]) -> Self {
        KeySpace { stems: shards.iter().map(|shard| [shard.stem().as_slice(), b"b:"].concat()).collect() }
    }

    /// The cache key of `key`.
    ///
    /// # Errors
    /// `Invalid` if it is longer than [`MAX_KEY_BYTES`].
    pub fn encode(&self, key: &impl Key) -> Result<Vec<u8>> {
        self.place(key).map(|(_, at)| at)
    }

    /// The number of the key's shard, and its cache key.
    ///
    /// # Errors
    /// As [`encode`](KeySpace::encode).
    pub fn place(&self, key: &impl Key) -> Result<(usize, Vec<u8>)> {
        let mut out = Vec::with_capacity(64);
        key.encode(&mut out);
        if out.len() > MAX_KEY_BYTES {
            return Err(Error::invalid(format!("a key encodes to more than {MAX_KEY_BYTES} bytes")));
        }
        // All processes must agree: the hash is part of the format. The remainder is below the number of shards.
        let shard = if self.stems.len() > 1 { usize::try_from(xxh3_64(&out) % self.stems.len() as u64).unwrap_or(0) } else { 0 };
        out.splice(..0, self.stems[shard].iter().copied());
        Ok((shard, out))
    }

    /// What the cache keys of the namespace start with.
    #[must_use]
    pub fn stems(&self) -> &[Vec<u8>] {
        &self.stems
    }
}

/// Prefixes and namespace names share one rule.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        return Err(Error::invalid(format!("{what} must be 1 to 64 of a-z A-Z 0-9 _ . -")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: &impl Key) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    #[test]
    fn keys_read_well() {
        assert_eq!(encoded(&(7_i64, "a b".to_owned())), b"7:a%20b");
        assert_eq!(KeySpace::new("users").and_then(|s| s.encode(&-3_i32)).ok(), Some(b"users:-3".to_vec()));
    }

    #[test]
    fn a_sharded_key_names_its_shard_in_braces() {
        let shards: Vec<Shard> = (0..16).map(|number| Shard { namespace: "likes".into(), number }).collect();
        let space = KeySpace::sharded(&shards);
        let places: Vec<_> = (0..1_000).map(|key: i32| space.place(&key).expect("short")).collect();
        assert_eq!(places[7], (10, b"{likes:10}:e:7".to_vec()), "this is part of the format");
        assert!((0..16).all(|shard| places.iter().filter(|place| place.0 == shard).count() > 30), "evenly spread");
    }

    #[test]
    fn names_and_lengths_are_bounded() {
        for bad in ["", "a:b", "a{b", "ü", &"x".repeat(65)] {
            assert!(KeySpace::new(bad).is_err(), "{bad}");
        }
        let space = KeySpace::new("users").expect("a good name");
        assert!(space.encode(&"x".repeat(MAX_KEY_BYTES)).is_ok());
        assert!(space.encode(&"x".repeat(MAX_KEY_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn different_keys_encode_differently(a: (String, String, Vec<u8>), b: (String, String, Vec<u8>)) {
            prop_assert_eq!(a == b, encoded(&a) == encoded(&b));
        }

        #[test]
        fn no_key_holds_a_separator_or_a_hash_tag(a: String) {
            let bytes = encoded(&a);
            let reserved = bytes.iter().any(|b| b":{}".contains(b));
            prop_assert!(!reserved);
        }
    }
}
