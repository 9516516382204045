//! The flusher's side: leading a shard, and emptying it batch by batch.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{RedisJournal, Step, exact};
use crate::cache::{Bytes, Id};
use crate::error::Result;
use crate::journal::{Ack, At, BatchId, Claimed, Found, Freeze, Identity, Install, Installed, Item, Shard, Status, Version};
use crate::redis::call::Repeat;
use crate::redis::link::Link;
use crate::redis::script::journal::{ACKNOWLEDGE, CLAIM, INSTALL, LEAD, STATUS};
use crate::redis::{millis, reply};

impl RedisJournal {
    pub(super) async fn look(&self, shard: &Shard) -> Result<Status> {
        let status = self.look_once(shard).await?;
        if status.installed {
            return Ok(status);
        }
        // A server may begin another history under its connections: whoever opens a shard must not learn an outdated identity.
        let about = self.redis.about(self.redis.deadline()).await?;
        if self.redis.shared.connector.is_still(&about) {
            return Ok(status);
        }
        tracing::info!(name: "redis.identity.changed", "the cache server is not the one it was: its connections are left");
        self.look_once(shard).await
    }

    async fn look_once(&self, shard: &Shard) -> Result<Status> {
        let step = Step {
            script: &STATUS,
            shard,
            parts: &["meta", "dirty", "frozen", "dead", "open", "strikes"],
            keys: &[],
            arguments: &|link, cmd| {
                cmd.arg(link.identity());
            },
            repeat: Repeat::WhenBroken,
        };
        let [
            identity,
            installed,
            epoch,
            dirty,
            dirty_bytes,
            oldest,
            open,
            open_bytes,
            dead,
            seq,
            over,
            suspects,
            delayed,
            tries,
            known,
        ] = reply::exactly(self.step(&step).await?)?;
        let epoch = reply::number(epoch)?;
        Ok(Status {
            identity: Identity(reply::text(identity)?),
            installed: reply::number(installed)? == 1,
            epoch,
            known: reply::number(known)?,
            dirty: reply::number(dirty)?,
            dirty_bytes: reply::number(dirty_bytes)?,
            delayed: reply::number(delayed)?,
            suspects: reply::number(suspects)?,
            oldest: if oldest == Value::Int(-1) { None } else { Some(Duration::from_millis(reply::number(oldest)?)) },
            over: reply::number(over)?,
            open: reply::number(open)?,
            open_bytes: reply::number(open_bytes)?,
            tries: reply::number(tries)?,
            dead: reply::number(dead)?,
            version: Version { epoch, seq: reply::number(seq)? },
        })
    }

    pub(super) async fn take_lease(&self, shard: &Shard, holder: Id, hold: Duration) -> Result<bool> {
        // Only no time at all gives it up.
        let hold = if hold.is_zero() { 0 } else { millis(hold) };
        let step = Step {
            script: &LEAD,
            shard,
            parts: &["lease"],
            keys: &[],
            arguments: &|_, cmd| {
                cmd.arg(&holder.0[..]).arg(hold);
            },
            repeat: Repeat::WhenBroken,
        };
        Ok(reply::number(self.step(&step).await?)? == 1)
    }

    pub(super) async fn take_over(&self, shard: &Shard, install: &Install) -> Result<Installed> {
        let step = Step {
            script: &INSTALL,
            shard,
            parts: &["meta", "dirty"],
            keys: &[],
            arguments: &|link, cmd| {
                cmd.arg(link.identity()).arg(&install.identity.0).arg(install.epoch).arg(install.batch);
                cmd.arg(install.diverged.map_or(String::new(), |epoch| epoch.to_string()));
            },
            repeat: Repeat::WhenBroken,
        };
        let mut parts = reply::list(self.step(&step).await?)?.into_iter();
        let mut next = || parts.next().ok_or_else(reply::strange);
        match reply::text(next()?)?.as_slice() {
            b"REFUSED" => Ok(Installed::Refused),
            b"READY" => Ok(Installed::Ready),
            b"RECOVER" => {
                let open = match (next()?, next()?) {
                    (Value::Nil, _) | (_, Value::Nil) => None,
                    (epoch, batch) => Some(BatchId { epoch: reply::number(epoch)?, batch: reply::number(batch)? }),
                };
                let [first, epoch, batch, dirty, whole] = [next()?, next()?, next()?, next()?, next()?].map(reply::number);
                let (first, epoch, batch) = (first?, epoch?, batch?);
                Ok(Installed::Recover(Found { epoch, batch, open, first, whole: whole? == 1, dirty: dirty? }))
            }
            _ => Err(reply::strange()),
        }
    }

    pub(super) async fn page_of_batch(&self, at: &At, from: u64, freeze: Freeze) -> Result<Option<Claimed>> {
        let step = Step {
            script: &CLAIM,
            shard: &at.shard,
            parts: &["meta", "dirty", "frozen", "open", "strikes"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(exact(from)).arg(&freeze.schema.to_be_bytes()[..]);
                cmd.arg(exact(freeze.max_keys)).arg(exact(freeze.max_bytes)).arg(u8::from(freeze.suspects_first));
            },
            repeat: Repeat::WhenBroken,
        };
        let answer = self.step(&step).await?;
        if matches!(&answer, Value::Array(parts) if parts.len() == 1) {
            return Ok(None);
        }
        let [_, epoch, batch, whole, items, tries, strikes] = reply::exactly(answer)?;
        let id = BatchId { epoch: reply::number(epoch)?, batch: reply::number(batch)? };
        let stem = [at.shard.stem().as_slice(), b"e:"].concat();
        let items = reply::list(items)?.into_iter().map(|part| item(&stem, part)).collect::<Result<_>>()?;
        let [tries, strikes] = [tries, strikes].map(reply::number);
        Ok(Some(Claimed { id, items, whole: reply::number(whole)? == 1, tries: tries?, strikes: strikes? }))
    }

    pub(super) async fn flushed(&self, at: &At, batch: BatchId, acks: &[Ack]) -> Result<u64> {
        let keys: Vec<&Bytes> = acks.iter().map(|ack| &ack.key).collect();
        let step = Step {
            script: &ACKNOWLEDGE,
            shard: &at.shard,
            parts: &["meta", "frozen", "open", "strikes", "dead", "letters"],
            keys: &keys,
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch);
                for ack in acks {
                    match &ack.clean {
                        Some((entry, ttl)) => cmd.arg(entry).arg(millis(*ttl)),
                        None => cmd.arg("").arg(0),
                    };
                }
            },
            repeat: Repeat::WhenBroken,
        };
        reply::number(self.step(&step).await?)
    }
}

/// What every call of a flusher starts with.
pub(super) fn led(at: &At, link: &Link, cmd: &mut Cmd) {
    cmd.arg(link.identity()).arg(at.epoch);
}

fn item(stem: &[u8], part: Value) -> Result<Item> {
    let [key, numbers, value] = reply::exactly(part)?;
    let numbers: [u8; 20] = reply::text(numbers)?.try_into().map_err(|_| reply::strange())?;
    let (schema, version) = schema_and_version(&numbers);
    Ok(Item { key: [stem, &reply::text(key)?].concat(), version, schema, value: reply::text(value)? })
}

/// A change's first numbers, as they lie in Redis.
pub(super) fn schema_and_version(numbers: &[u8; 20]) -> (u32, Version) {
    let number = |at: usize| numbers[at..].first_chunk::<8>().map_or(0, |n| u64::from_be_bytes(*n));
    let schema = numbers.first_chunk::<4>().map_or(0, |n| u32::from_be_bytes(*n));
    (schema, Version { epoch: number(4), seq: number(12) })
}
