//! A cache that holds bytes, as Redis does, and shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use writeway_core::cache::{
    Ask, Barriers, BeginBy, Begun, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_core::entry::state::{Slot, State, from_bytes, to_bytes};
use writeway_core::error::{Error, Result};
use writeway_core::runtime::Runtime;

/// The core's state machine over plain bytes, on the clock of a runtime. Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub struct RawCache(Arc<Shared>);

struct Shared {
    keys: Mutex<BTreeMap<Bytes, (Bytes, Option<u64>)>>,
    modes: Mutex<BTreeMap<String, &'static str>>,
    runtime: Arc<dyn Runtime>,
}

impl RawCache {
    /// An empty cache.
    #[must_use]
    pub fn new(runtime: impl Runtime) -> Self {
        let (keys, modes) = (Mutex::default(), Mutex::default());
        RawCache(Arc::new(Shared { keys, modes, runtime: Arc::new(runtime) }))
    }

    /// The bytes under a key.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<Bytes> {
        self.keys().get(key.as_bytes()).map(|(bytes, _)| bytes.clone())
    }

    /// What lies under a key, read as the core reads it.
    #[must_use]
    pub fn state(&self, key: &str) -> State {
        self.raw(key).map_or(State::Absent, |bytes| from_bytes(&bytes))
    }

    /// Writes any bytes under a key, for a minute.
    pub fn plant(&self, key: &str, bytes: &[u8]) {
        let until = self.now() + 60_000;
        self.keys().insert(key.as_bytes().to_vec(), (bytes.to_vec(), Some(until)));
    }

    /// Removes a key, as an eviction would.
    pub fn evict(&self, key: &str) {
        self.keys().remove(key.as_bytes());
    }

    /// How many keys hold a barrier with a live token.
    #[must_use]
    pub fn barriers(&self) -> usize {
        let now = self.now();
        let live = |bytes: &Bytes| matches!(from_bytes(bytes), State::Barrier { tokens, .. } if tokens.iter().any(|t| t.1 > now));
        self.keys().values().filter(|(bytes, _)| live(bytes)).count()
    }

    fn step<T>(&self, key: &[u8], step: impl FnOnce(&mut Slot, u64) -> T) -> T {
        let now = self.now();
        let mut keys = self.keys();
        let mut slot = keys.get(key).map_or_else(Slot::default, |(bytes, expires)| {
            let state = from_bytes(bytes);
            Slot { state, expires: *expires }
        });
        slot.expire(now);
        let answer = step(&mut slot, now);
        match to_bytes(&slot.state) {
            Some(bytes) => drop(keys.insert(key.to_vec(), (bytes, slot.expires))),
            None => drop(keys.remove(key)),
        }
        answer
    }

    fn now(&self) -> u64 {
        millis(self.0.runtime.now())
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<Bytes, (Bytes, Option<u64>)>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX >> 1)
}

fn ready<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

fn foreign() -> Error {
    Error::rejected("a cache key belongs to another strategy or a newer release")
}

impl Entries for RawCache {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        let mut modes = self.0.modes.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = *modes.entry(declaration.namespace.clone()).or_insert(declaration.mode);
        let agreed = recorded == declaration.mode;
        ready(agreed.then_some(()).ok_or_else(|| Error::invalid("the namespace is recorded in another mode")))
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

    fn scan<'a>(&'a self, stem: &'a [u8], _: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        let keys = self.keys().keys().filter(|key| key.starts_with(stem)).cloned().collect();
        ready(Ok((0, keys)))
    }
}

impl Barriers for RawCache {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        let (within, not_after) = (millis(by.within), millis(by.not_after));
        for key in keys {
            let refused = match self.step(key, |slot, now| slot.begin(token, within, not_after, now)) {
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
