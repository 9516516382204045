//! One table, its cache, and tasks that put, delete and read through handles as users build them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_around::WriteAround;
use writeway_core::error::Result;
use writeway_core::runtime::Runtime;
use writeway_testkit::explorer::{Explore, Process, SimRuntime, Verdict, Violation, World};
use writeway_testkit::sim::{Cache, Cell, Store};

/// The key that everybody meets on.
pub(crate) const KEY: u32 = 1;
/// What is under it at the beginning.
pub(crate) const OLD: u64 = 0;
/// Longer than any scenario takes: nothing is right only because it has expired.
const TIME_TO_LIVE: Duration = Duration::from_secs(600);
/// How long a barrier of strict mode stands.
pub(crate) const COMMIT_WITHIN: Duration = Duration::from_secs(2);

/// A scenario whose processes share nothing but the servers. Then it is no choice when a woken task goes on: until its next
/// call nobody else can see what it does, and the sooner a caller has its answer, the sharper is the check.
pub(crate) fn explore(name: &str) -> Explore {
    Explore::new(name).wake_at_once()
}

/// What its users chose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Eventual,
    Strict,
}

/// A table, its cache, and the world they are in.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    mode: Mode,
    errors: Arc<Mutex<Vec<String>>>,
}

/// One process: its handle, and its place in the world. All its tasks share the handle.
#[derive(Clone)]
pub(crate) struct App {
    process: Process,
    handle: WriteAround<Store>,
    store: Store,
    pub(crate) runtime: Arc<SimRuntime>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// One row, [`OLD`], and an empty cache.
    pub(crate) fn new(world: &World, mode: Mode) -> Self {
        Self::over(world.store(&[(KEY, OLD)]), world, mode)
    }

    /// A table of the scenario's own.
    pub(crate) fn over(store: Store, world: &World, mode: Mode) -> Self {
        Site { world: world.clone(), cache: world.cache(), store, mode, errors: Arc::default() }
    }

    /// The row is in the cache.
    pub(crate) fn warm(self) -> Self {
        let read = async { self.handle().await.get(&KEY).await };
        self.world.setup(read).expect("nothing fails yet");
        self
    }

    /// So many processes. All are there before the first has a task.
    pub(crate) fn apps<const N: usize>(&self) -> [App; N] {
        ["one", "two", "three"].first_chunk::<N>().expect("at most three").map(|name| {
            let process = self.world.process(name);
            let handle = process.setup(self.handle());
            App { process, handle, store: self.store.clone(), runtime: self.world.runtime(), errors: self.errors.clone() }
        })
    }

    async fn handle(&self) -> WriteAround<Store> {
        let builder = WriteAround::builder(self.store.clone()).namespace("cells").time_to_live(TIME_TO_LIVE);
        let builder = if self.mode == Mode::Strict { builder.strict().commit_within(COMMIT_WITHIN) } else { builder };
        builder.runtime(self.world.runtime()).build(self.cache.clone()).await.expect("nothing fails yet")
    }

    /// Runs all tasks along one path of choices, then checks what the mode promises.
    pub(crate) fn explore(&self) -> Verdict {
        self.world.explore()?;
        match self.mode {
            Mode::Eventual => writeway_testkit::check::eventual(&self.world, &self.cache, &self.store)?,
            Mode::Strict => writeway_testkit::check::strict(&self.world, &self.cache, &self.store)?,
        }
        self.nothing_fails_by_itself()
    }

    /// `nothing fails by itself`: where no server and no process failed, every call is answered `Ok`.
    fn nothing_fails_by_itself(&self) -> Verdict {
        let counts = self.world.counts();
        let errors = self.errors.lock().expect("nothing panics under it");
        let calm = counts.faults + counts.crashes + counts.lapses + counts.timeouts == 0;
        Violation::unless(!calm || errors.is_empty(), "nothing fails by itself", || errors.join(", "))
    }
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
        self.task("puts", move |app| async move {
            let row = Cell { key: KEY, value };
            app.note(app.store.witness_put(row, app.handle.put(row)).await);
        })
    }

    /// A task that deletes the row.
    pub(crate) fn deletes(&self) -> &Self {
        self.task("deletes", |app| async move {
            app.note(app.store.witness_delete(KEY, app.handle.delete(&KEY)).await);
        })
    }

    /// A task that reads so many times.
    pub(crate) fn reads(&self, times: usize) -> &Self {
        self.task("reads", move |app| async move {
            for _ in 0..times {
                app.read().await;
            }
        })
    }

    /// A witnessed read.
    pub(crate) async fn read(&self) {
        self.note(self.store.witness_read(KEY, self.handle.get(&KEY)).await);
    }

    /// Keeps an error for the check that there is none without a cause.
    fn note<T>(&self, answer: Result<T>) {
        if let Err(e) = answer {
            self.errors.lock().expect("nothing panics under it").push(e.to_string());
        }
    }
}
