//! Counters: one table of one shard, and tasks that add, read and flush through handles as users build them.

mod everything;
mod failures;
mod orders;
mod restarts;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_back::{Counters, Kind, Result, Ticket};
use writeway_testkit::check::{self, Durable};
use writeway_testkit::explorer::{Process, Verdict, Violation, World};
use writeway_testkit::sim::{Cell, Counts, Journal, Likes, cell};

use crate::setup::{KEY, OTHER};

/// Increments, each a digit of its own.
const A: u64 = 0x1;
const B: u64 = 0x10;
const C: u64 = 0x100;
const D: u64 = 0x1000;

/// A table of counters, its journal, and the world they are in.
struct Site {
    world: World,
    journal: Journal,
    counts: Counts,
    max_batch: usize,
    durable: Arc<Mutex<Vec<Durable>>>,
}

/// One process: its handle, and its place in the world.
#[derive(Clone)]
struct App {
    process: Process,
    handle: Counters<Counts>,
    counts: Counts,
    world: World,
    journal: Journal,
    durable: Arc<Mutex<Vec<Durable>>>,
}

impl Site {
    /// One counter of nothing, one that is missing, and an empty journal.
    fn new(world: &World) -> Self {
        let (journal, counts) = (world.journal(), world.counters(&[(KEY, 0)]));
        Site { world: world.clone(), journal, counts, max_batch: 1, durable: Arc::default() }
    }

    /// With a journal of the scenario's own.
    fn with(self, journal: fn(Journal) -> Journal) -> Self {
        Site { journal: journal(self.journal), ..self }
    }

    /// SQL refuses what one of these increments is in, each so often.
    fn refusing(self, poison: &[(u64, usize)]) -> Self {
        Site { counts: self.counts.refusing(poison), ..self }
    }

    /// So many counters are a batch, and due at once.
    fn batches_of(self, max_batch: usize) -> Self {
        Site { max_batch, ..self }
    }

    /// So many processes. All are there before the first has a task.
    fn apps<const N: usize>(&self) -> [App; N] {
        ["one", "two", "three"].first_chunk::<N>().expect("at most three").map(|name| {
            let process = self.world.process(name);
            let handle = process.setup(self.handle()).expect("nothing fails yet");
            let (world, counts, journal) = (self.world.clone(), self.counts.clone(), self.journal.clone());
            App { process, handle, counts, world, journal, durable: self.durable.clone() }
        })
    }

    async fn handle(&self) -> Result<Counters<Counts>> {
        let builder = Counters::builder(self.counts.clone()).namespace("cells").shards(1);
        // A tick is longer than anything takes here.
        let builder = builder.max_batch(self.max_batch).max_delay(Duration::from_secs(5)).flush_timeout(Duration::from_secs(2));
        builder.runtime(self.world.runtime()).build(self.journal.clone()).await
    }

    /// Runs all tasks along one path of choices, drains, and checks all that counters promise. The apps end with their tasks.
    fn explore<const N: usize>(&self, apps: [App; N]) -> Verdict {
        drop(apps);
        self.world.explore()?;
        let drained: Result<_> = self.world.setup(async {
            let handle = self.handle().await?;
            let flushed = handle.flush().await;
            Ok((flushed, handle.get_many(&[KEY, OTHER]).await))
        });
        let undrained = |e| Violation { invariant: "everything drains", detail: format!("no handle is built: {e}") };
        let (flushed, read) = drained.map_err(undrained)?;
        Violation::unless(flushed.is_ok(), "everything drains", || format!("{flushed:?}"))?;
        let durable = self.durable.lock().expect("nothing panics under it").clone();
        check::counters(&self.world, &self.journal, &self.counts, &durable)?;
        let committed = [KEY, OTHER].map(|key| self.counts.cells().committed(key));
        let agrees = read.as_ref().is_ok_and(|read| read.iter().map(|likes| likes.map(value)).eq(committed));
        Violation::unless(agrees, "nothing stale at rest", || format!("read as {read:?}, SQL has {committed:?}"))
    }
}

fn value(likes: Likes) -> u64 {
    cell(0, likes).value
}

impl App {
    /// It lives on in crash scenarios.
    fn immortal(mut self) -> Self {
        self.process = self.process.immortal();
        self
    }

    /// A task of this process.
    fn task<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, work: impl FnOnce(App) -> F) -> &Self {
        self.process.task(name, work(self.clone()));
        self
    }

    /// A task that adds one after the other, and stays until nothing is on its way.
    fn adds<const N: usize>(&self, increments: [u64; N]) -> &Self {
        self.task("adds", move |app| async move {
            for by in increments {
                drop(app.add(KEY, by).await);
            }
            app.journal.drained().await;
        })
    }

    /// A task that adds one after the other, each once nothing is on its way, and drives again what was set aside.
    fn adds_and_redrives<const N: usize>(&self, increments: [u64; N]) -> &Self {
        self.task("adds and redrives", move |app| async move {
            for by in increments {
                app.journal.drained().await;
                drop(app.add(KEY, by).await);
            }
            // Whether it could is judged by what SQL has in the end.
            let _ = app.handle.redrive_all().await;
            app.journal.drained().await;
        })
    }

    /// A task that adds to both counters, one call each, and stays.
    fn adds_to_both(&self, by: u64, other: u64) -> &Self {
        self.task("adds to both", move |app| async move {
            drop(app.add(KEY, by).await);
            drop(app.add(OTHER, other).await);
            app.journal.drained().await;
        })
    }

    /// A task that adds and asks its ticket whether it is in SQL.
    fn adds_durably(&self, by: u64) -> &Self {
        self.task("adds durably", move |app| async move {
            if let Ok(ticket) = app.add(KEY, by).await
                && ticket.durable().await.is_ok()
            {
                let durable = Durable { at: app.world.tick(), key: KEY, value: Some(by) };
                app.durable.lock().expect("nothing panics under it").push(durable);
            }
        })
    }

    /// A task that does all of it, by turns, with what is dropped by its caller. Takes three digits.
    fn busies_itself(&self, first: u64) -> &Self {
        self.task("is busy", move |app| async move {
            let _ = app.world.cancellable(app.add(KEY, first)).await;
            app.read(KEY).await;
            drop(app.add(OTHER, first).await);
            drop(app.add(KEY, first << 4).await);
            app.read(KEY).await;
            app.read(OTHER).await;
            drop(app.add(KEY, first << 8).await);
            app.journal.drained().await;
        })
    }

    /// A task that reads so many times.
    fn reads(&self, times: usize) -> &Self {
        self.task("reads", move |app| async move {
            for _ in 0..times {
                app.read(KEY).await;
            }
        })
    }

    /// A task that reads, adds and reads.
    fn reads_around(&self, by: u64) -> &Self {
        self.task("reads around", move |app| async move {
            app.read(KEY).await;
            drop(app.add(KEY, by).await);
            app.read(KEY).await;
        })
    }

    async fn read(&self, key: u32) {
        let get = async { Ok(self.handle.get(&key).await?.map(|likes| cell(key, likes))) };
        if let Err(e) = self.counts.cells().witness_read(key, get).await {
            // Otherwise an error is judged by no check: nothing was promised.
            assert_ne!(e.kind(), Kind::Rejected, "invariant violated: what was accepted can be read: {e}");
        }
    }

    async fn add(&self, key: u32, by: u64) -> Result<Ticket<Counts>> {
        let row = Cell { key, value: by };
        self.counts.cells().witness_put(row, self.handle.add(&key, Likes { likes: by.cast_signed() })).await
    }
}
