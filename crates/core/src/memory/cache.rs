//! A cache in the process: a sharded map of key states.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::cache::{
    Ask, Barriers, BeginBy, Begun, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use crate::entry::state::{Slot, State};
use crate::error::{Error, Result};
use crate::runtime::{Runtime, Tokio};

const SHARDS: usize = 16;

/// A bounded cache in the process, with the semantics of a Redis of its own. Cheap to clone; all clones are one cache.
///
/// Only the handles of this process see it, so all writers of its tables must be in this process too. When it is full, values
/// and fill leases make room for newer ones; commit barriers stay.
#[derive(Clone)]
pub struct MemoryCache(Arc<Shared>);

struct Shared {
    shards: Vec<Mutex<HashMap<Bytes, Slot>>>,
    modes: Mutex<HashMap<String, &'static str>>,
    max_per_shard: usize,
    runtime: Arc<dyn Runtime>,
}

impl MemoryCache {
    /// At most 100,000 entries.
    #[must_use]
    pub fn new() -> Self {
        Self::with(100_000, Arc::new(Tokio))
    }

    /// At most about `max_entries`, on the given clock.
    #[must_use]
    pub fn with(max_entries: usize, runtime: Arc<dyn Runtime>) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let max_per_shard = max_entries.div_ceil(SHARDS).max(1);
        MemoryCache(Arc::new(Shared { shards, modes: Mutex::default(), max_per_shard, runtime }))
    }

    /// How many entries it holds, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs one step of a key's state machine.
    fn step<T>(&self, key: &[u8], step: impl FnOnce(&mut Slot, u64) -> T) -> T {
        let now = millis(self.0.runtime.now());
        // The remainder is below SHARDS.
        let at = usize::try_from(xxh3_64(key) % SHARDS as u64).unwrap_or(0);
        let mut shard = lock(&self.0.shards[at]);
        if let Some(slot) = shard.get_mut(key) {
            slot.expire(now);
            let answer = step(slot, now);
            if slot.state == State::Absent {
                shard.remove(key);
            }
            return answer;
        }
        let mut slot = Slot::default();
        let answer = step(&mut slot, now);
        if slot.state != State::Absent {
            make_room(&mut shard, self.0.max_per_shard, now);
            shard.insert(key.to_vec(), slot);
        }
        answer
    }
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks at a few entries, as Redis does, and drops what has expired, else any that may be evicted.
fn make_room(shard: &mut HashMap<Bytes, Slot>, max: usize, now: u64) {
    if shard.len() < max {
        return;
    }
    let evictable = || shard.iter().filter(|(_, slot)| slot.expires.is_some()).take(8);
    let victim = evictable().min_by_key(|(_, slot)| slot.expires.filter(|&at| at > now)).map(|(key, _)| key.clone());
    if let Some(key) = victim {
        shard.remove(&key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A step is pure and does not panic; a panic elsewhere leaves no slot half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Later than any use of a cache is soon enough.
pub(super) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX >> 1)
}

fn ready<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

fn foreign() -> Error {
    Error::rejected("a cache key belongs to another strategy or a newer release")
}

impl Entries for MemoryCache {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        let mut modes = lock(&self.0.modes);
        let recorded = *modes.entry(declaration.namespace.clone()).or_insert(declaration.mode);
        ready(if recorded == declaration.mode {
            Ok(())
        } else {
            Err(Error::invalid(format!("the namespace is recorded as {recorded}; all its writers must agree")))
        })
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        ready(Ok(keys.iter().map(|key| self.step(key, |slot, _| slot.get())).collect()))
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        let (owner, key) = (millis(hold.owner), millis(hold.key));
        let lease = |ask: &Ask| self.step(&ask.key, |slot, now| slot.lease(ask.id, ask.discard, now, owner, key));
        ready(Ok(asks.iter().map(lease).collect()))
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        for fill in fills {
            self.step(&fill.key, |slot, now| slot.fill(fill.lease, &fill.entry, millis(fill.ttl), now));
        }
        ready(Ok(()))
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        let kept = keys.iter().filter(|key| !self.step(key, Slot::invalidate)).count();
        ready(if kept == 0 { Ok(()) } else { Err(foreign()) })
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        // One page per shard.
        let shard = usize::try_from(cursor).ok().and_then(|at| self.0.shards.get(at));
        let keys = shard.map(|shard| lock(shard).keys().filter(|key| key.starts_with(stem)).cloned().collect());
        ready(Ok(((cursor + 1) % SHARDS as u64, keys.unwrap_or_default())))
    }
}

impl Barriers for MemoryCache {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        let (within, not_after) = (millis(by.within), millis(by.not_after));
        for key in keys {
            let begun = self.step(key, |slot, now| slot.begin(token, within, not_after, now));
            let refused = match begun {
                Begun::Placed => continue,
                Begun::Late => Error::unavailable("a commit barrier came too late"),
                Begun::Full => Error::overloaded("too many writers are committing the same key"),
                Begun::Foreign => foreign(),
            };
            return ready(Err(refused));
        }
        ready(Ok(()))
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        let finish = |end: &Finish| {
            let publish = end.publish.as_ref().map(|(entry, ttl)| (entry.as_slice(), millis(*ttl)));
            self.step(&end.key, |slot, now| slot.finish(token, publish, now))
        };
        ready(Ok(ends.iter().map(finish).collect()))
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache").field("entries", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stays_within_its_bound_and_keeps_barriers() {
        let cache = MemoryCache::with(160, Arc::new(Tokio));
        let by = BeginBy { within: Duration::from_secs(60), not_after: Duration::MAX };
        let barrier = b"barrier".to_vec();
        cache.begin(std::slice::from_ref(&barrier), Id([1; 16]), by).await.expect("placed");
        let hold = Hold { owner: Duration::from_secs(1), key: Duration::from_secs(60) };
        for n in 0..10_000_u32 {
            let ask = Ask { key: n.to_be_bytes().to_vec(), id: Id([2; 16]), discard: false };
            cache.lease(&[ask], hold).await.expect("granted");
        }
        assert!(cache.len() <= 160, "{cache:?}");
        let ask = Ask { key: barrier, id: Id([2; 16]), discard: false };
        assert_eq!(cache.lease(&[ask], hold).await.expect("an answer"), [Lease::Bypass]);
    }
}
