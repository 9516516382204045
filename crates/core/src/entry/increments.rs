//! What was added to a counter and is on its way: the value of an accepted change of a namespace that counts.
//!
//! ```text
//! 0xD7 'I' format | length (4) and payload of the key | per field: length (1) and text of its name, increment (8)
//! ```
//!
//! Numbers are big-endian, increments in two's complement. There is no hash: the server sums them. Fields are named, so that
//! releases of an application that know different ones can share a sum.
//!
//! A counter's pending increments lie where a row's accepted change would, and are gone from there when they are frozen. What is
//! cached of SQL lies beside them, under [`base_of`] their key.

use crate::cache::Bytes;
use crate::entry::{FORMAT, MAGIC};

/// Second byte of increments.
pub const INCREMENTS: u8 = b'I';
/// The longest name of a field.
pub const MAX_NAME: usize = 64;

/// Increments of one counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Increments {
    /// The key's payload.
    pub key: Bytes,
    /// By field, each at most once.
    pub fields: Vec<(Bytes, i64)>,
}

impl Increments {
    /// As they lie in the journal.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = vec![MAGIC, INCREMENTS, FORMAT];
        out.extend(u32::try_from(self.key.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(&self.key);
        for (name, by) in &self.fields {
            out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.extend(name);
            out.extend(by.to_be_bytes());
        }
        out
    }

    /// What bytes say; `None` is damage, or a sum that did not fit.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[magic, kind, format], rest) = bytes.split_first_chunk::<3>()?;
        if [magic, kind, format] != [MAGIC, INCREMENTS, FORMAT] {
            return None;
        }
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (key, mut rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let mut fields: Vec<(Bytes, i64)> = Vec::new();
        while let Some((&length, behind)) = rest.split_first() {
            let (name, behind) = behind.split_at_checked(length.into())?;
            let (by, behind) = behind.split_first_chunk::<8>()?;
            if name.is_empty() || name.len() > MAX_NAME || fields.iter().any(|(other, _)| other == name) {
                return None;
            }
            fields.push((name.to_vec(), i64::from_be_bytes(*by)));
            rest = behind;
        }
        Some(Increments { key: key.to_vec(), fields })
    }

    /// Adds others of the same key. `None` where they are not, or a sum does not fit 64 bits.
    fn plus(mut self, other: Increments) -> Option<Self> {
        if self.key != other.key {
            return None;
        }
        for (name, by) in other.fields {
            match self.fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum = sum.checked_add(by)?,
                None => self.fields.push((name, by)),
            }
        }
        Some(self)
    }
}

/// Whether a change is one of increments, damaged or not.
#[must_use]
pub fn is_increments(value: &[u8]) -> bool {
    value.starts_with(&[MAGIC, INCREMENTS, FORMAT])
}

/// What two changes of one key are together, where the second is added to the first or replaces it; `None` where they are no sum.
#[must_use]
pub fn combine(before: &[u8], value: &[u8]) -> Option<Bytes> {
    if is_increments(before) || is_increments(value) {
        Increments::from_bytes(before)?.plus(Increments::from_bytes(value)?).map(|sum| sum.to_bytes())
    } else {
        Some(value.to_vec())
    }
}

/// The sum of two changes that were accepted. Where there is none, both, one behind the other: nobody can read that, so whoever
/// meets it sets it aside, and nothing is lost.
#[must_use]
pub fn join(before: &[u8], value: &[u8]) -> Bytes {
    combine(before, value).unwrap_or_else(|| [before, value].concat())
}

/// Where a counter's row in SQL is cached, by the key of its increments.
#[must_use]
pub fn base_of(key: &[u8]) -> Bytes {
    let mut base = key.to_vec();
    // `{namespace:3}:e:`
    let at = key.iter().position(|&byte| byte == b'}').map_or(0, |end| end + 2);
    if let Some(letter) = base.get_mut(at) {
        *letter = b'b';
    }
    base
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[(&str, i64)]) -> Increments {
        Increments { key: b"7".to_vec(), fields: fields.iter().map(|(name, by)| (name.as_bytes().to_vec(), *by)).collect() }
    }

    #[test]
    fn bytes_and_back() {
        let increments = of(&[("likes", 1), ("views", i64::MIN)]);
        assert_eq!(Increments::from_bytes(&increments.to_bytes()), Some(increments));
    }

    #[test]
    fn sums_are_exact_and_never_wrap() {
        let sum = |a: i64, b: i64| combine(&of(&[("n", a)]).to_bytes(), &of(&[("n", b)]).to_bytes());
        assert_eq!(sum(i64::MAX - 1, 1), Some(of(&[("n", i64::MAX)]).to_bytes()));
        assert_eq!(sum(i64::MAX, i64::MIN), Some(of(&[("n", -1)]).to_bytes()));
        assert_eq!(sum(i64::MAX, 1), None);
        assert_eq!(sum(i64::MIN, -1), None);
        let other = Increments { key: b"8".to_vec(), fields: Vec::new() };
        assert_eq!(combine(&of(&[("n", 1)]).to_bytes(), &other.to_bytes()), None, "another counter's");
        let both = combine(&of(&[("likes", 1)]).to_bytes(), &of(&[("views", 2), ("likes", 3)]).to_bytes());
        assert_eq!(both, Some(of(&[("likes", 4), ("views", 2)]).to_bytes()));
    }

    #[test]
    fn what_cannot_be_summed_is_kept_as_damage() {
        let most = of(&[("n", i64::MAX)]).to_bytes();
        let joined = join(&most, &most);
        assert_eq!(joined, [most.clone(), most].concat());
        assert_eq!(Increments::from_bytes(&joined), None);
        assert!(is_increments(&joined));
    }

    #[test]
    fn a_base_lies_beside_its_increments() {
        assert_eq!(base_of(b"{posts:3}:e:7"), b"{posts:3}:b:7");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Increments::from_bytes(&bytes);
            let _ = Increments::from_bytes(&[&[MAGIC, INCREMENTS, FORMAT, 0, 0, 0, 1], bytes.as_slice()].concat());
            let _ = base_of(&bytes);
        }
    }
}
