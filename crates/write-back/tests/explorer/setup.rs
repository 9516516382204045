//! One table of one shard, its journal, and tasks that put, delete, read and flush through handles as users build them.

use std::future::Future;
use std::time::Duration;

use writeway_back::{WriteBack, WriteBackBuilder};
use writeway_testkit::check;
use writeway_testkit::explorer::{Explore, Process, Verdict, Violation, World};
use writeway_testkit::sim::{Cell, Journal, Store};

/// The key that everybody meets on.
pub(crate) const KEY: u32 = 1;
/// What is under it at the beginning.
pub(crate) const OLD: u64 = 0;

/// A scenario whose processes share nothing but the servers.
pub(crate) fn explore(name: &str) -> Explore {
    Explore::new(name).wake_at_once()
}

/// `WRITEWAY_LONG` is set: what takes minutes is visited, too.
pub(crate) fn is_long() -> bool {
    std::env::var_os("WRITEWAY_LONG").is_some()
}

/// Two, or three in the long run.
pub(crate) fn preemptions() -> u32 {
    if is_long() { 3 } else { 2 }
}

/// A table, its journal, and the world they are in.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) journal: Journal,
    pub(crate) store: Store,
}

/// One process: its handle, and its place in the world.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) process: Process,
    pub(crate) handle: WriteBack<Store>,
    pub(crate) store: Store,
}

impl Site {
    /// One row, [`OLD`], and an empty journal.
    pub(crate) fn new(world: &World) -> Self {
        Site { world: world.clone(), journal: world.journal(), store: world.store(&[(KEY, OLD)]) }
    }

    /// With a journal of the scenario's own.
    pub(crate) fn with(self, journal: fn(Journal) -> Journal) -> Self {
        Site { journal: journal(self.journal), ..self }
    }

    /// So many processes. All are there before the first has a task.
    pub(crate) fn apps<const N: usize>(&self) -> [App; N] {
        ["one", "two", "three"].first_chunk::<N>().expect("at most three").map(|name| {
            let process = self.world.process(name);
            let handle = process.setup(self.handle());
            App { process, handle, store: self.store.clone() }
        })
    }

    async fn handle(&self) -> WriteBack<Store> {
        let builder: WriteBackBuilder<Store> = WriteBack::builder(self.store.clone()).namespace("cells").shards(1);
        // Due at once; a tick is longer than anything takes here.
        let builder = builder.max_batch(1).max_delay(Duration::from_secs(60)).flush_timeout(Duration::from_secs(2));
        builder.runtime(self.world.runtime()).build(self.journal.clone()).await.expect("nothing fails yet")
    }

    /// Runs all tasks along one path of choices, drains, and checks all that write-back promises. The apps end with their tasks.
    pub(crate) fn explore<const N: usize>(&self, apps: [App; N]) -> Verdict {
        drop(apps);
        self.world.explore()?;
        let drained = self.world.setup(async {
            let handle = self.handle().await;
            let flushed = handle.flush().await;
            let read = handle.get(&KEY).await.map(|row| row.map(|row| row.value));
            (flushed, read)
        });
        Violation::unless(drained.0.is_ok(), "everything drains", || format!("{:?}", drained.0))?;
        check::write_back(&self.world, &self.journal, &self.store)?;
        let committed = self.store.committed(KEY);
        let agrees = drained.1.as_ref().is_ok_and(|read| *read == committed);
        Violation::unless(agrees, "nothing stale at rest", || format!("read as {:?}, SQL has {committed:?}", drained.1))
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

    /// A task that puts one value after the other.
    pub(crate) fn puts<const N: usize>(&self, values: [u64; N]) -> &Self {
        self.task("puts", move |app| async move {
            for value in values {
                app.put(KEY, value).await;
            }
        })
    }

    /// A task that deletes the row.
    pub(crate) fn deletes(&self) -> &Self {
        self.task("deletes", |app| async move {
            let deleted = app.store.witness_delete(KEY, app.handle.delete(&KEY)).await;
            drop(deleted);
        })
    }

    /// A task that reads so many times.
    pub(crate) fn reads(&self, times: usize) -> &Self {
        self.task("reads", move |app| async move {
            for _ in 0..times {
                // An error is judged by no check: nothing was promised.
                let _ = app.store.witness_read(KEY, app.handle.get(&KEY)).await;
            }
        })
    }

    /// A task that flushes.
    pub(crate) fn flushes(&self) -> &Self {
        self.task("flushes", |app| async move { drop(app.handle.flush().await) })
    }

    pub(crate) async fn put(&self, key: u32, value: u64) {
        let row = Cell { key, value };
        drop(self.store.witness_put(row, self.handle.put(row)).await);
    }
}
