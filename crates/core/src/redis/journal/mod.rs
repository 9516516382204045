//! The journal in Redis: the dirty sets of write-back.
//!
//! Of each shard there lie, all behind `prefix:{namespace:3}:`,
//!
//! ```text
//! e:<key>   string  an entry, see `entry::held`
//! b:<key>   string  the same, of what is cached of SQL where the namespace counts: `e:` holds increments only
//! meta      hash    identity, recovering, epoch, inc, batch, acked, seq, dirty_bytes, and of the open batch:
//!                   open_epoch, open_batch, open_count, open_whole, open_bytes, open_tries, open_keep,
//!                   open_since, open_first; while it recovers known, began_batch, began_epoch, began_open, began_first
//! dirty     zset    <key> → since when, in milliseconds
//! frozen    zset    <key> → its place in the open batch
//! open      hash    h<key> → since (8) schema (4) version (16) first (16), v<key> → the value entry
//! strikes   hash    <key> → how often it failed alone, of those that are dirty or frozen
//! dead      zset    version (16) <key> → 0: its order is the versions'
//! letters   hash    <key> → schema (4) version (16) first (16) when (8) tries (4) reason (1), length (4) and text of the cause, the
//!                   value entry
//! lease     string  who flushes
//! mark      string  1: written anew whenever what the shard holds is confirmed at a level
//! ```
//!
//! and of the namespace, behind `prefix:{namespace}:`, `members`, a zset: process → until when it is taken for present;
//! where `<key>` is what follows `e:`, and numbers in bytes are big-endian. A frozen change lies in two fields, so that whoever
//! needs its version need not carry its value.
//!
//! The braces are a hash tag: Redis Cluster keeps all keys of a shard in one slot, whatever follows. A script names in `KEYS`
//! every key that the caller knows; the entries of keys that it finds in `dirty` or `frozen` it derives, and they cannot lie in
//! another slot.
//!
//! [`accept`] and [`flusher`] are the two sides of the dirty set, [`failure`] is what happens to a batch that SQL does not take and
//! [`letters`] what became of it, [`count`] reads counters, [`recovery`] is what comes after a loss, [`entries`] the cache.

mod accept;
mod confirm;
mod count;
mod entries;
mod failure;
mod flusher;
mod letters;
mod members;
mod recovery;

pub(super) use self::confirm::Confirms;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::call::{Calls, Repeat};
use super::link::Link;
use super::script::Script;
use super::{Redis, reply};
use crate::cache::{BoxFuture, Bytes, Declaration, Id};
use crate::error::{Error, Result};
use crate::journal::{
    Accept, Accepted, Ack, At, BatchId, Bounds, Claimed, Confirm, Counted, DeadLetter, Freeze, Install, Installed, Journal,
    Level, PAGE, Park, Redriven, Release, Settled, Shard, Split, Status, Version,
};

/// A Redis server as the cache and journal of write-back namespaces. Cheap to clone; it shares the connections, limits and
/// breaker of the [`Redis`] it was made from.
///
/// **A namespace of write-back is lost with its Redis** up to what its persistence and replication keep; that changes were
/// possibly lost is noticed, and reported. So a server without an append-only file, or one that could evict an accepted change,
/// is refused unless that was accepted by name.
///
/// An accept is sent once: where no answer came, its outcome is unknown. A connection that broke while it was idle looks the same.
/// All other calls are repeated as those of [`Redis`] are.
///
/// # Cancel safety
/// A dropped call may still be carried out by the server.
///
/// # Examples
/// ```no_run
/// # async fn run() -> writeway_core::error::Result<()> {
/// use std::sync::Arc;
///
/// use writeway_core::journal::Journal;
/// use writeway_core::redis::Redis;
///
/// let journal: Arc<dyn Journal> = Redis::connect("redis://localhost:6379").await?.into();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisJournal {
    redis: Redis,
}

impl From<Redis> for RedisJournal {
    fn from(redis: Redis) -> Self {
        RedisJournal { redis }
    }
}

impl From<Redis> for Arc<dyn Journal> {
    fn from(redis: Redis) -> Self {
        Arc::new(RedisJournal { redis })
    }
}

impl From<RedisJournal> for Arc<dyn Journal> {
    fn from(journal: RedisJournal) -> Self {
        Arc::new(journal)
    }
}

/// One script on one shard.
struct Step<'a> {
    script: &'static Script,
    shard: &'a Shard,
    /// Names of the shard's own keys.
    parts: &'a [&'static str],
    /// Cache keys, behind them.
    keys: &'a [&'a Bytes],
    /// Adds the arguments.
    arguments: &'a (dyn Fn(&Link, &mut Cmd) + Sync),
    repeat: Repeat,
}

impl RedisJournal {
    async fn step(&self, step: &Step<'_>) -> Result<Value> {
        let stem = step.shard.stem();
        if step.keys.len() > PAGE {
            return Err(Error::invalid(format!("a call on a shard is given more than {PAGE} keys")));
        }
        if !step.keys.iter().all(|key| key.strip_prefix(stem.as_slice()).is_some_and(|rest| rest.starts_with(b"e:"))) {
            return Err(not_ours());
        }
        let calls = Calls {
            script: step.script,
            count: 1,
            call: &|_, link, cmd| {
                cmd.arg(step.parts.len() + step.keys.len());
                for part in step.parts {
                    cmd.arg(self.part(&stem, part));
                }
                for key in step.keys {
                    cmd.arg(self.redis.full_key(key));
                }
                (step.arguments)(link, cmd);
            },
            bytes: &|_| 0,
            repeat: step.repeat,
        };
        let answer = self.redis.run(&calls).await?.into_iter().next().unwrap_or(Value::Nil);
        judged(answer)
    }

    /// A key of the shard with this stem.
    fn part(&self, stem: &[u8], name: &str) -> Bytes {
        [&self.redis.shared.prefix, stem, name.as_bytes()].concat()
    }
}

/// The answer, unless the shard is not installed on the server that was asked, or the epoch is over.
fn judged(answer: Value) -> Result<Value> {
    match &answer {
        Value::BulkString(word) if word == b"EPOCH" => Err(Error::fenced()),
        _ => reply::whole(answer),
    }
}

fn not_ours() -> Error {
    Error::invalid("not a key of this shard of a write-back namespace")
}

/// The scripts' numbers are exact up to 2^53.
fn exact(n: u64) -> u64 {
    n.min(1 << 53)
}

impl Journal for RedisJournal {
    fn status<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Status>> {
        Box::pin(self.look(shard))
    }

    fn accept<'a>(
        &'a self,
        shard: &'a Shard,
        changes: &'a [Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> BoxFuture<'a, Result<Accepted>> {
        Box::pin(self.accept_in_time(shard, changes, bounds, not_after))
    }

    fn confirm<'a>(&'a self, level: Level, of: &'a [Confirm], not_after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.confirm_in_time(level, of, not_after))
    }

    fn unmet<'a>(&'a self, declaration: &'a Declaration, level: Level) -> BoxFuture<'a, Result<Vec<Error>>> {
        Box::pin(self.not_met(declaration, level))
    }

    fn settled<'a>(&'a self, shard: &'a Shard, inc: u64, changes: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<Vec<Settled>>> {
        Box::pin(self.what_became_of(shard, inc, changes))
    }

    fn count<'a>(&'a self, asks: &'a [(Shard, Vec<Bytes>)]) -> BoxFuture<'a, Result<Vec<Counted>>> {
        Box::pin(self.counted(asks))
    }

    fn lead<'a>(&'a self, shard: &'a Shard, holder: Id, hold: Duration) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.take_lease(shard, holder, hold))
    }

    fn present<'a>(&'a self, namespace: &'a str, holder: Id, hold: Duration) -> BoxFuture<'a, Result<Vec<Id>>> {
        Box::pin(self.who_is_there(namespace, holder, hold))
    }

    fn install<'a>(&'a self, shard: &'a Shard, install: &'a Install) -> BoxFuture<'a, Result<Installed>> {
        Box::pin(self.take_over(shard, install))
    }

    fn claim<'a>(&'a self, at: &'a At, from: u64, freeze: Freeze) -> BoxFuture<'a, Result<Option<Claimed>>> {
        Box::pin(self.page_of_batch(at, from, freeze))
    }

    fn acknowledge<'a>(&'a self, at: &'a At, batch: BatchId, acks: &'a [Ack]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.flushed(at, batch, acks))
    }

    fn park<'a>(&'a self, at: &'a At, batch: BatchId, park: Park<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.set_aside(at, batch, park))
    }

    fn split<'a>(&'a self, at: &'a At, batch: BatchId, keep: u64) -> BoxFuture<'a, Result<Option<Split>>> {
        Box::pin(self.keep_some(at, batch, keep))
    }

    fn ended<'a>(&'a self, at: &'a At, batch: BatchId) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.tries_ended(at, batch))
    }

    fn delay<'a>(&'a self, at: &'a At, batch: BatchId, pause: Duration, counts: bool) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.hold_back(at, batch, pause, counts))
    }

    fn dirty<'a>(&'a self, at: &'a At, from: u64) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        Box::pin(self.dirty_keys(at, from))
    }

    fn supersede<'a>(&'a self, at: &'a At, keys: &'a [Bytes], cause: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.drop_dirty(at, keys, cause))
    }

    fn release<'a>(&'a self, at: &'a At, batch: BatchId, how: Release<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.drop_or_dissolve(at, batch, how))
    }

    fn resume<'a>(&'a self, at: &'a At, install: &'a Install) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.end_recovery(at, install))
    }

    fn dead_letters<'a>(
        &'a self,
        shard: &'a Shard,
        after: Option<&'a (Version, Bytes)>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        Box::pin(self.letters(shard, after))
    }

    fn redrive<'a>(
        &'a self,
        shard: &'a Shard,
        letters: &'a [(Bytes, Version)],
        bounds: Bounds,
    ) -> BoxFuture<'a, Result<Vec<Redriven>>> {
        Box::pin(self.drive_again(shard, letters, bounds))
    }

    fn discard<'a>(&'a self, shard: &'a Shard, letters: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.throw_away(shard, letters))
    }
}

impl fmt::Debug for RedisJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisJournal").field("redis", &self.redis).finish()
    }
}
