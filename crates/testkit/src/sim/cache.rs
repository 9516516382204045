//! The simulated Redis: the pure state machine of `writeway_core::entry::state` behind simulated calls. A call is one step of
//! the schedule, whatever the number of its keys.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_core::cache::{
    Ask, Barriers, BeginBy, Begun, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_core::entry::state::{Slot, State, from_bytes, to_bytes};
use writeway_core::error::{Error, Result};

use super::cache_state::{CacheState, Placed, entry_text, id_text, key_text, slot_text};
use super::evict::Evict;
use super::{CALL_LIMIT, locked};
use crate::explorer::{Call, End, Failed, READS, Side, WRITES, World, millis};

/// Pages of a scan.
const PAGES: u64 = 3;

/// A simulated Redis. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Cache {
    world: World,
    state: Arc<Mutex<CacheState>>,
    confirms_after: Option<Duration>,
}

impl Cache {
    pub(super) fn new(world: &World) -> Self {
        let state = Arc::<Mutex<CacheState>>::default();
        world.adversary(Arc::new(Evict(state.clone())));
        Cache { world: world.clone(), state, confirms_after: None }
    }

    /// With an eviction policy that takes any key, as `allkeys-lru` does: barriers too.
    #[must_use]
    pub fn evicting_barriers(self) -> Self {
        locked(&self.state).evicts_barriers = true;
        self
    }

    /// Every barrier stands at once, but its writer hears of it only so much later.
    #[must_use]
    pub fn confirming_barriers_after(self, delay: Duration) -> Self {
        Cache { confirms_after: Some(delay), ..self }
    }

    /// What lies there now, expired keys left out.
    #[must_use]
    pub fn slots(&self) -> Vec<(Bytes, Slot)> {
        let now = self.world.now_ms();
        let mut slots = locked(&self.state).slots.clone();
        slots.values_mut().for_each(|slot| slot.expire(now));
        slots.into_iter().filter(|(_, slot)| slot.state != State::Absent).collect()
    }

    /// How many calls failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        locked(&self.state).failures
    }

    /// The bytes under a key, at once.
    #[must_use]
    pub fn raw(&self, key: &[u8]) -> Option<Bytes> {
        let now = self.world.now_ms();
        locked(&self.state).step(key, now, |slot| to_bytes(&slot.state))
    }

    /// Puts bytes under a key, at once, with or without an expiry.
    pub fn put_raw(&self, key: &[u8], bytes: &[u8], expires_ms: Option<u64>) {
        locked(&self.state).slots.insert(key.to_vec(), Slot { state: from_bytes(bytes), expires: expires_ms });
    }

    /// Every barrier that was placed, in order.
    pub(crate) fn placed(&self) -> Vec<Placed> {
        locked(&self.state).placed.clone()
    }

    /// True if the writer tried to finish on this key, but that did not get through.
    pub(crate) fn finish_failed(&self, token: Id, key: &[u8]) -> bool {
        locked(&self.state).unfinished.contains(&(token, key.to_vec()))
    }

    async fn call<T: Send>(
        &self,
        what: impl FnOnce() -> String,
        ends: &'static [End],
        limit: u64,
        effect: impl FnOnce(&mut CacheState, u64) -> T + Send + 'static,
    ) -> Result<T> {
        let call = Call { what: self.world.label(what), side: Side::Cache, ends, limit, lands_by: None };
        let (world, state) = (self.world.clone(), self.state.clone());
        let done = self.world.call(call, move || effect(&mut locked(&state), world.now_ms())).await;
        done.map_err(|failed| {
            locked(&self.state).failures += 1;
            match failed {
                Failed::Refused => Error::unavailable("the simulated cache refuses"),
                Failed::Unknown => Error::unknown("the simulated cache does not answer"),
            }
        })
    }

    fn limit(&self) -> u64 {
        self.world.now_ms() + CALL_LIMIT
    }

    fn answered(&self, text: impl FnOnce() -> String) {
        self.world.note(|| format!("  → {}", text()));
    }

    fn hit(&self, is_hit: bool) {
        if is_hit {
            self.world.mark_hit();
        }
    }
}

fn keys_text<'k>(keys: impl IntoIterator<Item = &'k Bytes>) -> String {
    keys.into_iter().map(|key| key_text(key)).collect::<Vec<_>>().join(" ")
}

impl Entries for Cache {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let Declaration { namespace, mode, no_eviction, .. } = declaration.clone();
            let what = || format!("cache declare {} {}", declaration.namespace, declaration.mode);
            let declared = self.call(what, WRITES, self.limit(), move |state, _| {
                if no_eviction && state.evicts_barriers {
                    return Err(Error::invalid("the cache may evict commit barriers"));
                }
                let recorded = *state.modes.entry(namespace).or_insert(mode);
                let conflict = || Error::invalid(format!("the namespace is recorded as {recorded}"));
                if recorded == mode { Ok(()) } else { Err(conflict()) }
            });
            declared.await?
        })
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let asked = keys.to_vec();
            let found = self.call(
                || format!("cache get {}", keys_text(keys)),
                READS,
                self.limit(),
                move |state, now| asked.iter().map(|key| state.step(key, now, |slot| slot.get())).collect::<Vec<_>>(),
            );
            let found = found.await?;
            self.hit(found.iter().any(|found| matches!(found, Lookup::Hit(_))));
            self.answered(|| {
                let text = |found: &Lookup| if let Lookup::Hit(entry) = found { entry_text(entry) } else { "miss".to_owned() };
                found.iter().map(text).collect::<Vec<_>>().join(", ")
            });
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        Box::pin(async move {
            let (asked, owner, key) = (asks.to_vec(), millis(hold.owner), millis(hold.key));
            let leases = self.call(
                || format!("cache lease {}", keys_text(asks.iter().map(|ask| &ask.key))),
                WRITES,
                self.limit(),
                move |state, now| {
                    let lease = |ask: &Ask| state.step(&ask.key, now, |slot| slot.lease(ask.id, ask.discard, now, owner, key));
                    asked.iter().map(lease).collect::<Vec<_>>()
                },
            );
            let leases = leases.await?;
            self.hit(leases.iter().any(|lease| matches!(lease, Lease::Hit(_))));
            self.answered(|| {
                let text = |lease: &Lease| match lease {
                    Lease::Hit(entry) | Lease::Dirty(entry) => entry_text(entry),
                    Lease::Granted(id) => format!("granted {}", id_text(*id)),
                    Lease::Busy => "busy".to_owned(),
                    Lease::Bypass => "bypass".to_owned(),
                };
                leases.iter().map(text).collect::<Vec<_>>().join(", ")
            });
            Ok(leases)
        })
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let asked = fills.to_vec();
            let what = || {
                let text = |fill: &Fill| format!("{} {} {}", key_text(&fill.key), id_text(fill.lease), entry_text(&fill.entry));
                format!("cache fill {}", fills.iter().map(text).collect::<Vec<_>>().join(", "))
            };
            let filled = self.call(what, WRITES, self.limit(), move |state, now| {
                for fill in &asked {
                    state.step(&fill.key, now, |slot| slot.fill(fill.lease, &fill.entry, millis(fill.ttl), now));
                }
            });
            filled.await
        })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let asked = keys.to_vec();
            let what = || format!("cache invalidate {}", keys_text(keys));
            let kept = self.call(what, WRITES, self.limit(), move |state, now| {
                asked.iter().filter(|key| !state.step(key, now, |slot| slot.invalidate(now))).count()
            });
            if kept.await? == 0 { Ok(()) } else { Err(foreign()) }
        })
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        Box::pin(async move {
            let stem = stem.to_vec();
            let what = || format!("cache scan from {cursor}");
            // One page per remainder: a key that comes or goes moves no other key to another page.
            let page = self.call(what, READS, self.limit(), move |state, now| {
                state.slots.values_mut().for_each(|slot| slot.expire(now));
                state.slots.retain(|_, slot| slot.state != State::Absent);
                let on_page = |key: &&Bytes| key.iter().map(|&byte| u64::from(byte)).sum::<u64>() % PAGES == cursor;
                let keys = state.slots.keys().filter(|key| key.starts_with(&stem)).filter(on_page).cloned().collect();
                ((cursor + 1) % PAGES, keys)
            });
            page.await
        })
    }
}

impl Barriers for Cache {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (asked, within, not_after) = (keys.to_vec(), millis(by.within), millis(by.not_after));
            let what = || format!("cache begin {} {}", keys_text(keys), id_text(token));
            let (op, world) = (self.world.op(), self.world.clone());
            // Its caller is answered at `not_after` at the latest, so the server takes it only strictly before; and a client
            // that gives up does not do so earlier.
            let begun = self.call(what, WRITES, self.limit().max(not_after), move |state, now| {
                let mut begin =
                    |key: &Bytes| state.step(key, now, |slot| slot.begin(token, within, not_after.saturating_sub(1), now));
                let refused = asked.iter().map(&mut begin).find(|begun| *begun != Begun::Placed);
                if refused.is_none() {
                    state.placed.push(Placed { token, op, at: world.tick() });
                }
                refused
            });
            let begun = begun.await?;
            if let Some(delay) = self.confirms_after {
                self.world.give_up(self.world.now_ms() + millis(delay)).await;
            }
            let refused = match begun {
                None => return Ok(()),
                Some(Begun::Full) => Error::overloaded("too many writers are committing the same key"),
                Some(Begun::Foreign) => foreign(),
                Some(Begun::Late | Begun::Placed) => Error::unavailable("a commit barrier came too late"),
            };
            self.answered(|| refused.to_string());
            Err(refused)
        })
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        Box::pin(async move {
            let asked = ends.to_vec();
            let what = || {
                let text = |end: &Finish| {
                    let publish = end.publish.as_ref().map_or("nothing".to_owned(), |(entry, _)| entry_text(entry));
                    format!("{} {publish}", key_text(&end.key))
                };
                format!("cache finish {} publishing {}", id_text(token), ends.iter().map(text).collect::<Vec<_>>().join(", "))
            };
            locked(&self.state).unfinished.extend(ends.iter().map(|end| (token, end.key.clone())));
            let finished = self.call(what, WRITES, self.limit(), move |state, now| {
                let mut finish = |end: &Finish| {
                    state.unfinished.remove(&(token, end.key.clone()));
                    let publish = end.publish.as_ref().map(|(entry, ttl)| (entry.as_slice(), millis(*ttl)));
                    state.step(&end.key, now, |slot| slot.finish(token, publish, now))
                };
                asked.iter().map(&mut finish).collect::<Vec<_>>()
            });
            let finished = finished.await?;
            self.answered(|| format!("{finished:?}"));
            Ok(finished)
        })
    }
}

impl Cache {
    /// All that lies there, for a trace.
    pub(crate) fn text(&self) -> String {
        let text = |(key, slot): (Bytes, Slot)| format!("{}: {}", key_text(&key), slot_text(&slot));
        self.slots().into_iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

fn foreign() -> Error {
    Error::rejected("a cache key belongs to another strategy or a newer release")
}
