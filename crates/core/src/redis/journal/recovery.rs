//! After the server was restarted, replaced or restored, and what was set aside.

use redis::Value;

use super::flusher::{led, schema_and_version};
use super::{RedisJournal, Step, exact, not_ours};
use crate::cache::Bytes;
use crate::error::Result;
use crate::journal::{At, BatchId, DeadLetter, Install, Release, Shard};
use crate::redis::call::Repeat;
use crate::redis::reply;
use crate::redis::script::journal::{DEAD_LETTERS, DIRTY, RELEASE, RESUME, SUPERSEDE};

impl RedisJournal {
    pub(super) async fn dirty_keys(&self, at: &At, from: u64) -> Result<Vec<Bytes>> {
        let step = Step {
            script: &DIRTY,
            shard: &at.shard,
            parts: &["meta", "dirty"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(exact(from));
            },
            repeat: Repeat::WhenBroken,
        };
        let [keys] = reply::exactly(self.step(&step).await?)?;
        let stem = [at.shard.stem().as_slice(), b"e:"].concat();
        reply::list(keys)?.into_iter().map(|key| Ok([stem.as_slice(), &reply::text(key)?].concat())).collect()
    }

    pub(super) async fn drop_dirty(&self, at: &At, keys: &[Bytes], cause: Option<&str>) -> Result<()> {
        let keys: Vec<&Bytes> = keys.iter().collect();
        let step = Step {
            script: &SUPERSEDE,
            shard: &at.shard,
            parts: &["meta", "dirty", "dead", "letters", "frozen"],
            keys: &keys,
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(cause);
            },
            repeat: Repeat::WhenBroken,
        };
        self.step(&step).await.map(drop)
    }

    pub(super) async fn drop_or_dissolve(&self, at: &At, batch: BatchId, how: Release) -> Result<u64> {
        let step = Step {
            script: &RELEASE,
            shard: &at.shard,
            parts: &["meta", "dirty", "frozen", "open"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch).arg(match how {
                    Release::Drop => "DROP",
                    Release::Dissolve => "DISSOLVE",
                });
            },
            repeat: Repeat::WhenBroken,
        };
        reply::number(self.step(&step).await?)
    }

    pub(super) async fn end_recovery(&self, at: &At, install: &Install) -> Result<()> {
        let step = Step {
            script: &RESUME,
            shard: &at.shard,
            parts: &["meta"],
            keys: &[],
            arguments: &|link, cmd| {
                cmd.arg(link.identity()).arg(install.epoch).arg(install.batch);
            },
            repeat: Repeat::WhenBroken,
        };
        self.step(&step).await.map(drop)
    }

    pub(super) async fn letters(&self, shard: &Shard, after: Option<&Bytes>) -> Result<Vec<DeadLetter>> {
        let stem = [shard.stem().as_slice(), b"e:"].concat();
        let start = match after {
            None => b"-".to_vec(),
            Some(after) => [b"(", after.strip_prefix(stem.as_slice()).ok_or_else(not_ours)?].concat(),
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
}

fn letter(stem: &[u8], part: Value) -> Result<DeadLetter> {
    let [key, letter] = reply::exactly(part)?;
    let letter = reply::text(letter)?;
    let opened = || {
        let (numbers, rest) = letter.split_first_chunk::<20>()?;
        let (_first, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (cause, value) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        Some((schema_and_version(numbers).1, String::from_utf8_lossy(cause).into_owned(), value.to_vec()))
    };
    let (version, cause, value) = opened().ok_or_else(reply::strange)?;
    Ok(DeadLetter { key: [stem, &reply::text(key)?].concat(), version, cause, value })
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
