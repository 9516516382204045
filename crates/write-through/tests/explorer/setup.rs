//! One table, its cache, and tasks that put, delete and read through handles as users build them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_core::error::Result;
use writeway_core::runtime::Runtime;
use writeway_testkit::check;
use writeway_testkit::explorer::{Explore, Process, SimRuntime, Verdict, Violation, World};
use writeway_testkit::sim::{Cache, Cell, Store};
use writeway_through::{WriteThrough, WriteThroughBuilder};

/// The key that everybody meets on.
pub(crate) const KEY: u32 = 1;
/// What is under it at the beginning.
pub(crate) const OLD: u64 = 0;
/// How long a barrier stands; the default.
pub(crate) const COMMIT_WITHIN: Duration = Duration::from_secs(2);

type Builder = WriteThroughBuilder<Store>;

/// A scenario whose processes share nothing but the servers. Then it is no choice when a woken task goes on: until its next
/// call nobody else can see what it does, and the sooner a caller has its answer, the sharper is the check.
pub(crate) fn explore(name: &str) -> Explore {
    Explore::new(name).wake_at_once()
}

/// `WRITEWAY_LONG` is set: what takes minutes is visited, too.
pub(crate) fn is_long() -> bool {
    std::env::var_os("WRITEWAY_LONG").is_some()
}

/// A table, its cache, and the world they are in.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    options: fn(Builder) -> Builder,
    errors: Arc<Mutex<Vec<String>>>,
}

/// One process: its handle, and its place in the world. All its tasks share the handle.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) process: Process,
    pub(crate) handle: WriteThrough<Store>,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) runtime: Arc<SimRuntime>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// One row, [`OLD`], and an empty cache.
    pub(crate) fn new(world: &World) -> Self {
        Self::over(world.store(&[(KEY, OLD)]), world)
    }

    /// A table of the scenario's own.
    pub(crate) fn over(store: Store, world: &World) -> Self {
        Site { world: world.clone(), cache: world.cache(), store, options: |builder| builder, errors: Arc::default() }
    }

    /// Options that differ from the defaults.
    pub(crate) fn with(self, options: fn(Builder) -> Builder) -> Self {
        Site { options, ..self }
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
            let (world, runtime) = (self.world.clone(), self.world.runtime());
            App { process, handle, store: self.store.clone(), world, runtime, errors: self.errors.clone() }
        })
    }

    async fn handle(&self) -> WriteThrough<Store> {
        self.handle_of("cells", &self.store).await
    }

    /// A handle of another table.
    pub(crate) async fn handle_of(&self, table: &str, store: &Store) -> WriteThrough<Store> {
        let builder = WriteThrough::builder(store.clone()).namespace(table).commit_within(COMMIT_WITHIN);
        let builder = (self.options)(builder.runtime(self.world.runtime()));
        builder.build(self.cache.clone()).await.expect("nothing fails yet")
    }

    /// Runs all tasks along one path of choices, then checks all that strict mode promises.
    pub(crate) fn explore(&self) -> Verdict {
        self.world.explore()?;
        check::strict(&self.world, &self.cache, &self.store)?;
        self.nothing_fails_by_itself()?;
        self.serves_again()
    }

    /// `nothing fails by itself`: where no server and no process failed and nobody was slow, every call is answered `Ok`, also
    /// those that share a load with a caller who was dropped.
    pub(crate) fn nothing_fails_by_itself(&self) -> Verdict {
        let counts = self.world.counts();
        let calm = counts.faults + counts.crashes + counts.lapses + counts.timeouts + counts.slow_replies == 0;
        let errors = self.errors.lock().expect("nothing panics under it");
        Violation::unless(!calm || errors.is_empty(), "nothing fails by itself", || errors.join(", "))
    }

    /// `the cache serves again`: when nothing fails any more and what was in doubt has lapsed, one read fills the cache with
    /// the committed row.
    pub(crate) fn serves_again(&self) -> Verdict {
        let read = async {
            let handle = self.handle().await;
            self.world.runtime().sleep(COMMIT_WITHIN).await;
            handle.get(&KEY).await
        };
        let read = self.world.setup(read).map(|row| row.map(|row| row.value));
        let (committed, cached) = (self.store.committed(KEY), self.is_cached());
        let serves = cached && read.as_ref().is_ok_and(|value| *value == committed);
        Violation::unless(serves, "the cache serves again", || format!("{read:?}, SQL has {committed:?}, cached: {cached}"))
    }

    /// A value lies under [`KEY`].
    pub(crate) fn is_cached(&self) -> bool {
        self.cache.raw(&cache_key(KEY)).is_some_and(|entry| entry.get(1) == Some(&writeway_core::entry::VALUE))
    }
}

/// Where a row is cached.
pub(crate) fn cache_key(key: u32) -> Vec<u8> {
    format!("cells:{key}").into_bytes()
}

impl App {
    /// It lives on in crash scenarios.
    pub(crate) fn immortal(mut self) -> Self {
        self.process = self.process.immortal();
        self
    }

    /// A task of this process.
    pub(crate) fn task<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, work: impl FnOnce(App) -> F) -> &Self {
        self.process.task(name, work(self.clone()));
        self
    }

    /// A task that puts one value.
    pub(crate) fn puts(&self, value: u64) -> &Self {
        self.task("puts", |app| async move { app.put(KEY, value).await })
    }

    /// A task that deletes the row.
    pub(crate) fn deletes(&self) -> &Self {
        self.task("deletes", |app| async move { app.delete(KEY).await })
    }

    /// A task that reads so many times.
    pub(crate) fn reads(&self, times: usize) -> &Self {
        self.task("reads", move |app| async move {
            for _ in 0..times {
                app.read(KEY).await;
            }
        })
    }

    /// A witnessed put; its answer is judged by the checks.
    pub(crate) async fn put(&self, key: u32, value: u64) {
        let row = Cell { key, value };
        self.note(self.store.witness_put(row, self.handle.put(row)).await);
    }

    /// A witnessed delete.
    pub(crate) async fn delete(&self, key: u32) {
        self.note(self.store.witness_delete(key, self.handle.delete(&key)).await);
    }

    /// A witnessed read.
    pub(crate) async fn read(&self, key: u32) {
        self.note(self.store.witness_read(key, self.handle.get(&key)).await);
    }

    /// Keeps an error for the check that there is none without a cause.
    pub(crate) fn note<T>(&self, answer: Result<T>) {
        if let Err(e) = answer {
            self.errors.lock().expect("nothing panics under it").push(e.to_string());
        }
    }
}
