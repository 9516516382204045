//! One table, its cache, and tasks that put, delete and read through handles as users build them.

use std::future::Future;
use std::time::Duration;

use writeway_core::runtime::Runtime;
use writeway_testkit::check;
use writeway_testkit::explorer::{Process, Verdict, Violation, World};
use writeway_testkit::sim::{Cache, Cell, Store};
use writeway_through::WriteThrough;

/// The key that everybody meets on.
pub(crate) const KEY: u32 = 1;
/// What is under it at the beginning.
pub(crate) const OLD: u64 = 0;
/// How long a barrier stands; the default.
pub(crate) const COMMIT_WITHIN: Duration = Duration::from_secs(2);

/// A table, its cache, and the world they are in.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) cache: Cache,
    pub(crate) store: Store,
}

/// One process: its handle, and its place in the world. All its tasks share the handle.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) process: Process,
    pub(crate) handle: WriteThrough<Store>,
    pub(crate) store: Store,
}

impl Site {
    /// One row, [`OLD`], and an empty cache.
    pub(crate) fn new(world: &World) -> Self {
        Self::of(world, world.store(&[(KEY, OLD)]))
    }

    /// A table of the scenario's own.
    pub(crate) fn of(world: &World, store: Store) -> Self {
        Site { world: world.clone(), cache: world.cache(), store }
    }

    /// The row is in the cache.
    pub(crate) fn warm(self) -> Self {
        let read = async { self.handle().await.get(&KEY).await };
        self.world.setup(read).expect("nothing fails yet");
        self
    }

    /// So many processes. All are there before the first has a task.
    pub(crate) fn apps<const N: usize>(&self) -> [App; N] {
        ["one", "two", "three", "four"].first_chunk::<N>().expect("at most four").map(|name| {
            let process = self.world.process(name);
            let handle = process.setup(self.handle());
            App { process, handle, store: self.store.clone() }
        })
    }

    async fn handle(&self) -> WriteThrough<Store> {
        let builder = WriteThrough::builder(self.store.clone()).namespace("cells").commit_within(COMMIT_WITHIN);
        builder.runtime(self.world.runtime()).build(self.cache.clone()).await.expect("nothing fails yet")
    }

    /// Runs all tasks along one path of choices, then checks all that strict mode promises.
    pub(crate) fn explore(&self) -> Verdict {
        self.world.explore()?;
        check::strict(&self.world, &self.cache, &self.store)?;
        self.serves_again()
    }

    /// `the cache serves again`: when nothing fails any more and what was in doubt has lapsed, one read fills the cache, and
    /// the next is a hit of the committed row.
    fn serves_again(&self) -> Verdict {
        let calm = async {
            let handle = self.handle().await;
            self.world.runtime().sleep(COMMIT_WITHIN).await;
            let first = handle.get(&KEY).await;
            let held = self.cache.raw(format!("cells:{KEY}").as_bytes());
            (first.map(|row| row.map(|row| row.value)), held.is_some_and(|entry| entry.get(1) == Some(&b'V')))
        };
        let (first, cached) = self.world.setup(calm);
        let committed = self.store.committed(KEY);
        let serves = first.as_ref().is_ok_and(|value| *value == committed) && cached;
        Violation::unless(serves, "the cache serves again", || format!("{first:?}, SQL has {committed:?}, cached: {cached}"))
    }
}

impl App {
    /// It lives on in crash scenarios.
    pub(crate) fn immortal(mut self) -> Self {
        self.process = self.process.immortal();
        self
    }

    /// A task of this process.
    pub(crate) fn task(&self, name: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) -> &Self {
        self.process.task(name.into(), work);
        self
    }

    /// A task that puts one value.
    pub(crate) fn puts(&self, value: u64) -> &Self {
        let app = self.clone();
        self.task(format!("puts {value}"), async move { app.put(KEY, value).await })
    }

    /// A task that deletes the row.
    pub(crate) fn deletes(&self) -> &Self {
        let app = self.clone();
        self.task("deletes", async move {
            let _ = app.store.witness_delete(KEY, app.handle.delete(&KEY)).await;
        })
    }

    /// A task that reads so many times.
    pub(crate) fn reads(&self, times: usize) -> &Self {
        let app = self.clone();
        self.task("reads", async move {
            for _ in 0..times {
                app.read(KEY).await;
            }
        })
    }

    /// A witnessed put; its answer is judged by the checks.
    pub(crate) async fn put(&self, key: u32, value: u64) {
        let row = Cell { key, value };
        let _ = self.store.witness_put(row, self.handle.put(row)).await;
    }

    /// A witnessed read; its answer is judged by the checks.
    pub(crate) async fn read(&self, key: u32) {
        let _ = self.store.witness_read(key, self.handle.get(&key)).await;
    }
}
