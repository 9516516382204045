//! The contract suite over the simulated servers and those in the process, all in simulated time; and over servers with a flaw, which it must name.

use std::sync::Arc;
use std::time::Duration;

use writeway_core::cache::{
    Ask, Barriers, BeginBy, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_core::change::{Change, Stored};
use writeway_core::error::Result;
use writeway_core::memory::{MemoryCache, MemoryStore};
use writeway_core::store::Store as StorePort;
use writeway_testkit::contract::{self, CacheSubject, Raw, StoreSubject};
use writeway_testkit::explorer::{Explore, World};
use writeway_testkit::sim::{Cache, Cell, Store, Tx};

struct SimRaw(Cache);

impl Raw for SimRaw {
    fn put_raw<'a>(&'a self, key: &'a [u8], bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.0.put_raw(key, bytes, None) })
    }

    fn get_raw<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.0.raw(key) })
    }

    fn expires<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.0.slots().iter().any(|(k, slot)| k == key && slot.expires.is_some()) })
    }
}

fn once(scenario: impl Fn(&World)) {
    Explore::new("contract").run(|world| {
        scenario(world);
        Ok(())
    });
}

fn subject<S: StorePort<Key = u32, Row = Cell>>(world: &World, store: S) -> StoreSubject<S> {
    StoreSubject {
        store,
        runtime: world.runtime(),
        key: |n| n,
        row: |key, value| Cell { key, value },
        value: |row| row.value,
        first_key: 1_000,
        patience: Duration::from_millis(50),
        commit_within: Some(Duration::from_secs(2)),
        one_writer: false,
    }
}

#[test]
fn the_simulated_cache_keeps_it() {
    once(|world| {
        let cache = world.cache();
        let subject = CacheSubject::new(cache.clone(), world.runtime()).raw(SimRaw(cache));
        let ran = world.setup(contract::cache("the simulation", &subject));
        ran.assert_held();
        assert!(ran.left_out.is_empty() && ran.held.len() >= 34, "{ran}");
    });
}

#[test]
fn the_simulated_store_keeps_it() {
    once(|world| {
        let ran = world.setup(contract::store("the simulation", &subject(world, world.store(&[]))));
        ran.assert_held();
        assert!(ran.left_out.is_empty() && ran.held.len() >= 16, "{ran}");
    });
}

#[test]
fn the_cache_in_the_process_keeps_it() {
    once(|world| {
        let cache = MemoryCache::with(10_000, world.runtime());
        let ran = world.setup(contract::cache("the process", &CacheSubject::new(cache, world.runtime())));
        ran.assert_held();
    });
}

#[test]
fn the_store_in_the_process_keeps_it() {
    once(|world| {
        let store = MemoryStore::new(|row: &Cell| row.key);
        let subject = StoreSubject { commit_within: None, ..subject(world, store) };
        let ran = world.setup(contract::store("the process", &subject));
        ran.assert_held();
        assert_eq!(ran.left_out.len(), 1, "it has no time-outs: {ran}");
    });
}

#[test]
fn what_cannot_be_tried_is_seen() {
    once(|world| {
        let subject = CacheSubject::new(world.cache(), world.runtime());
        let ran = world.setup(contract::cache("the simulation, sealed", &subject));
        assert_eq!(ran.left_out.len(), 4);
        assert!(ran.to_string().contains("left out: damage is nothing: the bytes cannot be written here"), "{ran}");
    });
}

/// A cache that answers in the wrong order and forgets the leases of fills.
struct Flawed(Cache);

impl Entries for Flawed {
    fn declare<'a>(&'a self, _: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let mut found = self.0.get(keys).await?;
            found.reverse();
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        self.0.lease(asks, hold)
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        fills.iter().for_each(|fill| self.0.put_raw(&fill.key, &fill.entry, None));
        Box::pin(async { Ok(()) })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        self.0.invalidate(keys)
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        self.0.scan(stem, cursor)
    }
}

impl Barriers for Flawed {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        let whenever = BeginBy { not_after: Duration::from_secs(1 << 40), ..by };
        Box::pin(async move { self.0.begin(keys, token, whenever).await })
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        self.0.finish(ends, token)
    }
}

#[test]
fn a_flawed_cache_is_found_out() {
    once(|world| {
        let subject = CacheSubject::new(Flawed(world.cache()), world.runtime());
        let ran = world.setup(contract::cache("a flawed cache", &subject));
        let broken = ran.broken.iter().map(|broken| broken.invariant).collect::<Vec<_>>();
        for promise in [
            "answers are in the order of the questions",
            "a fill needs its own lease",
            "a lease that is gone fills nothing",
            "a value lives for its time",
            "a namespace has one mode",
            "a begin breaks the lease",
            "a begin that comes too late is refused",
        ] {
            assert!(broken.contains(&promise), "{promise}: {ran}");
        }
    });
}

/// A store that deletes rows without a trace of their absence, and commits whatever time it is.
#[derive(Clone)]
struct Careless(Arc<Store>);

impl StorePort for Careless {
    type Key = u32;
    type Row = Cell;
    type Tx = Tx;

    fn key(&self, row: &Cell) -> u32 {
        row.key
    }

    async fn fetch(&self, keys: &[u32]) -> Result<Vec<Cell>> {
        self.0.fetch(keys).await
    }

    async fn begin(&self, _: Option<Duration>) -> Result<Tx> {
        self.0.begin(None).await
    }

    async fn apply_in(&self, tx: &mut Tx, changes: &[Change<u32, Cell>]) -> Result<Vec<Stored<Cell>>> {
        let stored = self.0.apply_in(tx, changes).await?;
        Ok(stored.into_iter().map(|stored| if stored == Stored::Unread { Stored::Gone } else { stored }).collect())
    }
}

#[test]
fn a_careless_store_is_found_out() {
    once(|world| {
        let store = Careless(Arc::new(world.store(&[])));
        let ran = world.setup(contract::store("a careless store", &subject(world, store)));
        let broken = ran.broken.iter().map(|broken| broken.invariant).collect::<Vec<_>>();
        let expected = ["a delete that finds no row says unread, or locks the key", "no commit lands after the time-outs"];
        assert_eq!(broken, expected, "{ran}");
    });
}
