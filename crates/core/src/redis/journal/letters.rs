//! What was set aside.

use std::time::Duration;

use redis::Value;

use super::flusher::schema_and_version;
use super::{RedisJournal, Step, exact, not_ours};
use crate::cache::Bytes;
use crate::error::Result;
use crate::journal::{Bound, Bounds, DeadLetter, Reason, Redriven, Shard, Version};
use crate::redis::call::Repeat;
use crate::redis::script::journal::{DEAD_LETTERS, DISCARD, REDRIVE};
use crate::redis::{reply, whole_millis};

impl RedisJournal {
    pub(super) async fn letters(&self, shard: &Shard, after: Option<&(Version, Bytes)>) -> Result<Vec<DeadLetter>> {
        let stem = [shard.stem().as_slice(), b"e:"].concat();
        let start = match after {
            None => b"-".to_vec(),
            Some((version, key)) => {
                [b"(", &in_bytes(*version)[..], key.strip_prefix(stem.as_slice()).ok_or_else(not_ours)?].concat()
            }
        };
        let step = Step {
            script: &DEAD_LETTERS,
            shard,
            parts: &["dead", "letters"],
            keys: &[],
            arguments: &|_, cmd| {
                cmd.arg(&start);
            },
            repeat: Repeat::WhenBroken,
        };
        let [letters] = reply::exactly(self.step(&step).await?)?;
        reply::list(letters)?.into_iter().map(|part| letter(&stem, part)).collect()
    }

    pub(super) async fn drive_again(&self, shard: &Shard, letters: &[(Bytes, Version)], bounds: Bounds) -> Result<Vec<Redriven>> {
        let keys: Vec<&Bytes> = letters.iter().map(|(key, _)| key).collect();
        let step = Step {
            script: &REDRIVE,
            shard,
            parts: &["meta", "dirty", "frozen", "open", "dead", "letters"],
            keys: &keys,
            arguments: &|link, cmd| {
                cmd.arg(link.identity()).arg(exact(bounds.keys)).arg(exact(bounds.bytes)).arg(whole_millis(bounds.age));
                for (_, version) in letters {
                    cmd.arg(&in_bytes(*version)[..]);
                }
            },
            // Sent twice, the second answer would be that there is no such letter.
            repeat: Repeat::Never,
        };
        let [answers] = reply::exactly(self.step(&step).await?)?;
        let driven = reply::text(answers)?.into_iter().map(driven).collect::<Result<Vec<_>>>()?;
        if driven.len() == letters.len() { Ok(driven) } else { Err(reply::strange()) }
    }

    pub(super) async fn throw_away(&self, shard: &Shard, letters: &[(Bytes, Version)]) -> Result<u64> {
        let keys: Vec<&Bytes> = letters.iter().map(|(key, _)| key).collect();
        let step = Step {
            script: &DISCARD,
            shard,
            parts: &["meta", "dead", "letters"],
            keys: &keys,
            arguments: &|link, cmd| {
                cmd.arg(link.identity());
                for (_, version) in letters {
                    cmd.arg(&in_bytes(*version)[..]);
                }
            },
            repeat: Repeat::WhenBroken,
        };
        reply::number(self.step(&step).await?)
    }
}

/// In the order of versions.
fn in_bytes(version: Version) -> [u8; 16] {
    (u128::from(version.epoch) << 64 | u128::from(version.seq)).to_be_bytes()
}

fn driven(letter: u8) -> Result<Redriven> {
    match letter {
        b'D' => Ok(Redriven::Dirty),
        b'S' => Ok(Redriven::Superseded),
        b'G' => Ok(Redriven::Gone),
        b'F' => Ok(Redriven::Foreign),
        b'U' => Ok(Redriven::Unfit),
        b'K' => Ok(Redriven::Full(Bound::Keys)),
        b'B' => Ok(Redriven::Full(Bound::Bytes)),
        b'A' => Ok(Redriven::Full(Bound::Age)),
        _ => Err(reply::strange()),
    }
}

fn letter(stem: &[u8], part: Value) -> Result<DeadLetter> {
    let [key, letter] = reply::exactly(part)?;
    let letter = reply::text(letter)?;
    let key = [stem, &reply::text(key)?].concat();
    opened(key, &letter).ok_or_else(reply::strange)
}

fn opened(key: Bytes, letter: &[u8]) -> Option<DeadLetter> {
    let (numbers, rest) = letter.split_first_chunk::<20>()?;
    let (_first, rest) = rest.split_first_chunk::<16>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let (tries, rest) = rest.split_first_chunk::<4>()?;
    let ([reason], rest) = rest.split_first_chunk::<1>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (cause, value) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let reason = match reason {
        b'R' => Reason::Refused,
        b'D' => Reason::Damaged,
        b'A' => Reason::Ambiguous,
        _ => return None,
    };
    let (schema, version) = schema_and_version(numbers);
    Some(DeadLetter {
        key,
        version,
        schema,
        reason,
        cause: String::from_utf8_lossy(cause).into_owned(),
        tries: u32::from_be_bytes(*tries).into(),
        at: Duration::from_millis(u64::from_be_bytes(*at)),
        value: value.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = letter(b"e:", Value::Array(vec![Value::BulkString(b"k".into()), Value::BulkString(bytes)]));
        }
    }
}
