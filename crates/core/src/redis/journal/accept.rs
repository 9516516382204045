//! The writers' side: accepting, and asking what became of it.

use std::time::Duration;

use redis::Value;

use super::{RedisJournal, Step, exact};
use crate::cache::Bytes;
use crate::error::{Outcome, Result};
use crate::journal::{Accept, Accepted, Bound, Bounds, Settled, Shard, Version};
use crate::redis::call::Repeat;
use crate::redis::entries::wrong_type;
use crate::redis::script::journal::{ACCEPT, SETTLED};
use crate::redis::{reply, whole_millis};

impl RedisJournal {
    pub(super) async fn accept_in_time(
        &self,
        shard: &Shard,
        changes: &[Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> Result<Accepted> {
        let accepted = self.accept_once(shard, changes, bounds, not_after).await?;
        if accepted == Accepted::Late && self.redis.shared.runtime.now() < not_after {
            // There is time left, so it was the clocks: the answer has told the server's, and the limit is derived anew.
            tracing::debug!(name: "redis.clock.learned", "a change came too late by an outdated clock");
            return self.accept_once(shard, changes, bounds, not_after).await;
        }
        Ok(accepted)
    }

    async fn accept_once(&self, shard: &Shard, changes: &[Accept], bounds: Bounds, not_after: Duration) -> Result<Accepted> {
        // Past its own limit this call has been answered, too.
        let not_after = not_after.min(self.redis.deadline());
        let keys: Vec<&Bytes> = changes.iter().map(|change| &change.key).collect();
        let step = Step {
            script: &ACCEPT,
            shard,
            parts: &["meta", "dirty", "frozen", "open"],
            keys: &keys,
            arguments: &|link, cmd| {
                cmd.arg(link.identity()).arg(link.clock().not_after(not_after));
                cmd.arg(exact(bounds.keys)).arg(exact(bounds.bytes)).arg(whole_millis(bounds.age));
                for change in changes {
                    cmd.arg(&change.schema.to_be_bytes()[..]).arg(&change.value);
                }
            },
            repeat: Repeat::Never,
        };
        match self.step(&step).await {
            Ok(answer) => accepted(answer, changes.len()),
            Err(e) if e.outcome() == Outcome::Unknown => {
                // It may still be on its way. Whoever hears of that may write anew on another connection and must not be overtaken,
                // so they hear once the server refuses it.
                let runtime = &self.redis.shared.runtime;
                runtime.sleep(not_after.saturating_sub(runtime.now())).await;
                Err(e)
            }
            Err(e) if is_wrong_type(&e) => Err(wrong_type(changes.first().map_or(b"", |change| &change.key))),
            Err(e) => Err(e),
        }
    }

    pub(super) async fn what_became_of(&self, shard: &Shard, inc: u64, changes: &[(Bytes, Version)]) -> Result<Vec<Settled>> {
        let keys: Vec<&Bytes> = changes.iter().map(|(key, _)| key).collect();
        let step = Step {
            script: &SETTLED,
            shard,
            parts: &["meta", "dirty", "open", "letters"],
            keys: &keys,
            arguments: &|link, cmd| {
                cmd.arg(link.identity()).arg(inc);
                for (_, version) in changes {
                    cmd.arg([version.epoch.to_be_bytes(), version.seq.to_be_bytes()].concat());
                }
            },
            repeat: Repeat::WhenBroken,
        };
        let [letters] = reply::exactly(self.step(&step).await?)?;
        let settled = reply::text(letters)?.into_iter().map(settled).collect::<Result<Vec<_>>>()?;
        if settled.len() == changes.len() { Ok(settled) } else { Err(reply::strange()) }
    }
}

fn settled(letter: u8) -> Result<Settled> {
    match letter {
        b'P' => Ok(Settled::Pending),
        b'X' => Ok(Settled::Dead),
        b'D' => Ok(Settled::Durable),
        b'U' => Ok(Settled::Unknown),
        _ => Err(reply::strange()),
    }
}

/// The answer to an accept of so many changes, without the server's clock at its end.
fn accepted(answer: Value, count: usize) -> Result<Accepted> {
    let mut parts = reply::list(answer)?.into_iter();
    let mut next = || parts.next().ok_or_else(reply::strange);
    match reply::text(next()?)?.as_slice() {
        b"AS" => {
            let [epoch, last, inc, dirty, dirty_bytes] = [next()?, next()?, next()?, next()?, next()?].map(reply::number);
            let (epoch, last) = (epoch?, last?);
            let before = last.checked_sub(count as u64).ok_or_else(reply::strange)?;
            let versions = (before..last).map(|seq| Version { epoch, seq: seq + 1 }).collect();
            Ok(Accepted::As { versions, inc: inc?, dirty: dirty?, dirty_bytes: dirty_bytes? })
        }
        b"FULL" => match reply::text(next()?)?.as_slice() {
            b"KEYS" => Ok(Accepted::Full(Bound::Keys)),
            b"BYTES" => Ok(Accepted::Full(Bound::Bytes)),
            b"AGE" => Ok(Accepted::Full(Bound::Age)),
            _ => Err(reply::strange()),
        },
        b"LATE" => Ok(Accepted::Late),
        b"FOREIGN" => Ok(Accepted::Foreign),
        b"UNFIT" => Ok(Accepted::Unfit),
        _ => Err(reply::strange()),
    }
}

fn is_wrong_type(error: &crate::error::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<redis::RedisError>());
    cause.is_some_and(|e| e.code() == Some("WRONGTYPE"))
}
