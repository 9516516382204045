//! The cache of a write-back namespace: hits, among them accepted changes, and fill leases.

use redis::{Pipeline, Value};

use super::{RedisJournal, judged, not_ours};
use crate::cache::{Ask, BoxFuture, Bytes, Declaration, Entries, Fill, Hold, Lease, Lookup};
use crate::entry::held::{self, Held};
use crate::error::{Error, Result};
use crate::memory::stem_of;
use crate::redis::call::{Calls, Repeat};
use crate::redis::declared::is_journal;
use crate::redis::entries::{foreign, leased, wrong_type};
use crate::redis::script::journal::{FILL, INVALIDATE, LEASE};
use crate::redis::{PAGE, millis, reply};

impl Entries for RedisJournal {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if !is_journal(declaration.mode) {
                return Err(Error::invalid("a journal is for write-back namespaces only"));
            }
            self.redis.record(declaration).await
        })
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(keys.len());
            for page in keys.chunks(PAGE) {
                self.read(page, &mut found).await?;
            }
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        Box::pin(async move {
            let metas = self.metas(asks.iter().map(|ask| &ask.key))?;
            let (owner, keep) = (millis(hold.owner), millis(hold.key));
            let calls = Calls {
                script: &LEASE,
                count: asks.len(),
                call: &|n, link, cmd| {
                    cmd.arg(2).arg(&metas[n]).arg(self.redis.full_key(&asks[n].key)).arg(link.identity());
                    cmd.arg(&asks[n].id.0[..]).arg(u8::from(asks[n].discard)).arg(owner).arg(keep);
                },
                bytes: &|_| 0,
                repeat: Repeat::WhenBroken,
            };
            let answers = self.redis.run(&calls).await?.into_iter();
            answers
                .map(|answer| if reply::is_wrong_type(&answer) { Ok(Lease::Bypass) } else { leased(judged(answer)?) })
                .collect()
        })
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let metas = self.metas(fills.iter().map(|fill| &fill.key))?;
            let calls = Calls {
                script: &FILL,
                count: fills.len(),
                call: &|n, link, cmd| {
                    let Fill { key, lease, entry, ttl } = &fills[n];
                    cmd.arg(2).arg(&metas[n]).arg(self.redis.full_key(key)).arg(link.identity());
                    cmd.arg(&lease.0[..]).arg(entry).arg(millis(*ttl));
                },
                bytes: &|n| fills[n].entry.len(),
                repeat: Repeat::WhenBroken,
            };
            let mut answers = self.redis.run(&calls).await?.into_iter();
            // Not a string: nobody holds a lease on it.
            answers.try_for_each(|answer| if reply::is_wrong_type(&answer) { Ok(()) } else { judged(answer).map(drop) })
        })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.metas(keys.iter())?;
            let calls = Calls {
                script: &INVALIDATE,
                count: keys.len(),
                call: &|n, _, cmd| {
                    cmd.arg(1).arg(self.redis.full_key(&keys[n]));
                },
                bytes: &|_| 0,
                repeat: Repeat::WhenBroken,
            };
            let answers = self.redis.run(&calls).await?;
            // All keys have been tried by now; the first refusal is told.
            keys.iter().zip(answers).try_for_each(|(key, answer)| {
                if reply::is_wrong_type(&answer) {
                    return Err(wrong_type(key));
                }
                if reply::text(answer)? == b"FOREIGN" { Err(foreign(key)) } else { Ok(()) }
            })
        })
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        Box::pin(self.redis.scan_page(stem, cursor))
    }
}

impl RedisJournal {
    /// The keys that say whether the shards of these keys are installed.
    fn metas<'a>(&self, keys: impl Iterator<Item = &'a Bytes>) -> Result<Vec<Bytes>> {
        keys.map(|key| stem(key).map(|stem| self.part(stem, "meta"))).collect()
    }

    /// Reads a page: of every shard, once, whether and as which incarnation it is installed, and behind that the keys. What is
    /// read later may only be newer.
    async fn read(&self, keys: &[Bytes], found: &mut Vec<Lookup>) -> Result<()> {
        let mut stems: Vec<&[u8]> = Vec::new();
        let mut shards = Vec::with_capacity(keys.len());
        for key in keys {
            let stem = stem(key)?;
            shards.push(stems.iter().position(|other| *other == stem).unwrap_or_else(|| {
                stems.push(stem);
                stems.len() - 1
            }));
        }
        let build = |_: &_| {
            let mut pipeline = Pipeline::with_capacity(stems.len() + 1);
            for stem in &stems {
                pipeline.cmd("HMGET").arg(self.part(stem, "meta")).arg(&["inc", "recovering", "identity"]);
            }
            pipeline.cmd(if keys.len() == 1 { "GET" } else { "MGET" });
            for key in keys {
                pipeline.arg(self.redis.full_key(key));
            }
            pipeline
        };
        let (link, answers) = self.redis.exchange_as(Repeat::WhenBroken, self.redis.deadline(), &build).await?;
        let mut answers = answers.into_iter();
        let incs = answers.by_ref().take(stems.len()).map(|meta| installed(meta, link.identity())).collect::<Result<Vec<_>>>()?;
        let values = match answers.next().unwrap_or(Value::Nil) {
            value if reply::is_wrong_type(&value) => vec![Value::Nil],
            value if keys.len() == 1 => vec![value],
            values => reply::list(values)?,
        };
        if values.len() != keys.len() {
            return Err(reply::strange());
        }
        for (shard, value) in shards.into_iter().zip(values) {
            let held = reply::optional(value)?.and_then(|bytes| held::from_bytes(&bytes, None));
            found.push(Held::get(held.as_ref(), incs[shard]));
        }
        Ok(())
    }
}

/// In which incarnation the shard is installed on this server.
fn installed(meta: Value, here: &[u8]) -> Result<u64> {
    let [inc, recovering, identity] = reply::exactly(meta)?;
    if reply::optional(identity)?.as_deref() != Some(here) || recovering != Value::Nil {
        return Err(Error::fenced());
    }
    if inc == Value::Nil { Ok(0) } else { reply::number(inc) }
}

fn stem(key: &[u8]) -> Result<&[u8]> {
    let is_entry = |stem: &&[u8]| key[stem.len()..].starts_with(b"e:") || key[stem.len()..].starts_with(b"b:");
    stem_of(key).filter(is_entry).ok_or_else(not_ours)
}
