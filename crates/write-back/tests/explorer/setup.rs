//! One table of one shard, its journal, and tasks that put, delete, read and flush through handles as users build them.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_back::journal::PAGE;
use writeway_back::{Change, Level, Result, Ticket, WriteBack, WriteBackBuilder};
use writeway_testkit::check::{self, Durable};
use writeway_testkit::explorer::{Explore, Process, Verdict, Violation, World};
use writeway_testkit::sim::{Cell, Journal, Store};

/// The key that everybody meets on.
pub(crate) const KEY: u32 = 1;
/// One besides.
pub(crate) const OTHER: u32 = 2;
/// What is under them at the beginning.
pub(crate) const OLD: u64 = 0;

/// A scenario whose processes share nothing but the servers.
pub(crate) fn explore(name: &str) -> Explore {
    Explore::new(name).wake_at_once()
}

/// `WRITEWAY_LONG` is set: what takes minutes is visited, too.
pub(crate) fn is_long() -> bool {
    std::env::var_os("WRITEWAY_LONG").is_some()
}

/// So many preemptions, and one more in the long run.
pub(crate) fn up_to(preemptions: u32) -> u32 {
    preemptions + u32::from(is_long())
}

/// A table, its journal, and the world they are in.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) journal: Journal,
    pub(crate) store: Store,
    max_batch: usize,
    level: Level,
    durable: Arc<Mutex<Vec<Durable>>>,
}

/// One process: its handle, and its place in the world.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) process: Process,
    pub(crate) handle: WriteBack<Store>,
    pub(crate) store: Store,
    world: World,
    journal: Journal,
    durable: Arc<Mutex<Vec<Durable>>>,
}

impl Site {
    /// Two rows, [`OLD`], and an empty journal.
    pub(crate) fn new(world: &World) -> Self {
        let (journal, store) = (world.journal(), world.store(&[(KEY, OLD), (OTHER, OLD)]));
        Site { world: world.clone(), journal, store, max_batch: 1, level: Level::Memory, durable: Arc::default() }
    }

    /// With a journal of the scenario's own.
    pub(crate) fn with(self, journal: fn(Journal) -> Journal) -> Self {
        Site { journal: journal(self.journal), ..self }
    }

    /// SQL refuses rows of these values, each so often.
    pub(crate) fn refusing(self, poison: &[(u64, usize)]) -> Self {
        Site { store: self.store.refusing(poison), ..self }
    }

    /// So many rows are a batch, and due at once.
    pub(crate) fn batches_of(self, max_batch: usize) -> Self {
        Site { max_batch, ..self }
    }

    /// What is accepted is confirmed at this level: no restart of the server loses it.
    pub(crate) fn at(self, level: Level) -> Self {
        Site { level, ..self }
    }

    /// So many processes. All are there before the first has a task.
    pub(crate) fn apps<const N: usize>(&self) -> [App; N] {
        ["one", "two", "three"].first_chunk::<N>().expect("at most three").map(|name| {
            let process = self.world.process(name);
            let handle = process.setup(self.handle()).expect("nothing fails yet");
            let (world, store, journal) = (self.world.clone(), self.store.clone(), self.journal.clone());
            App { process, handle, store, world, journal, durable: self.durable.clone() }
        })
    }

    async fn handle(&self) -> Result<WriteBack<Store>> {
        let builder: WriteBackBuilder<Store> = WriteBack::builder(self.store.clone()).namespace("cells").shards(1);
        // A tick is longer than anything takes here.
        let builder = builder.max_batch(self.max_batch).max_delay(Duration::from_secs(5)).flush_timeout(Duration::from_secs(2));
        builder.accept_level(self.level).runtime(self.world.runtime()).build(self.journal.clone()).await
    }

    /// Runs all tasks along one path of choices, drains, and checks all that write-back promises. The apps end with their tasks.
    pub(crate) fn explore<const N: usize>(&self, apps: [App; N]) -> Verdict {
        drop(apps);
        self.world.explore()?;
        let drained: Result<_> = self.world.setup(async {
            let handle = self.handle().await?;
            let flushed = handle.flush().await;
            let read = handle.get_many(&[KEY, OTHER]).await;
            Ok((flushed, read.map(|rows| rows.into_iter().map(|row| row.map(|row| row.value)).collect::<Vec<_>>())))
        });
        let undrained = |e| Violation { invariant: "everything drains", detail: format!("no handle is built: {e}") };
        let drained = drained.map_err(undrained)?;
        Violation::unless(drained.0.is_ok(), "everything drains", || format!("{:?}", drained.0))?;
        let durable = self.durable.lock().expect("nothing panics under it").clone();
        check::write_back(&self.world, &self.journal, &self.store, &durable)?;
        if self.level != Level::Memory {
            check::confirmed_is_kept(&self.journal, &self.store)?;
        }
        let committed = [KEY, OTHER].map(|key| self.store.committed(key));
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

    /// A task that puts one value after the other, and stays until nothing is on its way.
    pub(crate) fn puts<const N: usize>(&self, values: [u64; N]) -> &Self {
        self.task("puts", move |app| async move {
            for value in values {
                drop(app.put(KEY, value).await);
            }
            app.journal.drained().await;
        })
    }

    /// A task that puts one value after the other, each once nothing is on its way.
    pub(crate) fn puts_at_rest<const N: usize>(&self, values: [u64; N]) -> &Self {
        self.task("puts at rest", move |app| async move {
            for value in values {
                drop(app.put(KEY, value).await);
                app.journal.drained().await;
            }
        })
    }

    /// A task that writes both rows in one call, and stays.
    pub(crate) fn puts_both(&self, value: u64) -> &Self {
        self.task("puts both", move |app| async move {
            let changes = [KEY, OTHER].map(|key| Change::Put(Cell { key, value }));
            let write = app.handle.write(changes.iter().cloned().collect());
            drop(app.store.witness_write(&changes, write).await);
            app.journal.drained().await;
        })
    }

    /// A task that writes one value to each of the two rows in one call, and stays.
    pub(crate) fn puts_each(&self, values: [u64; 2]) -> &Self {
        self.task("puts each", move |app| async move {
            let rows = [Cell { key: KEY, value: values[0] }, Cell { key: OTHER, value: values[1] }];
            let changes = rows.map(Change::Put);
            let write = app.handle.write(changes.iter().cloned().collect());
            drop(app.store.witness_write(&changes, write).await);
            app.journal.drained().await;
        })
    }

    /// A task that writes a page of rows that come first in any order, then the other row twice, and stays.
    pub(crate) fn puts_two_pages(&self) -> &Self {
        self.task("puts two pages", |app| async move {
            let page: Vec<_> = (100_000..).take(PAGE).map(|key| Change::Put(Cell { key, value: 1 })).collect();
            let write = app.handle.write(page.iter().cloned().collect());
            drop(app.store.witness_write(&page, write).await);
            drop(app.put(OTHER, 10).await);
            drop(app.put(OTHER, 11).await);
            app.journal.drained().await;
        })
    }

    /// A task that deletes the row, and stays.
    pub(crate) fn deletes(&self) -> &Self {
        self.task("deletes", |app| async move {
            drop(app.store.witness_delete(KEY, app.handle.delete(&KEY)).await);
            app.journal.drained().await;
        })
    }

    /// A task that puts the other row, and stays.
    pub(crate) fn puts_other(&self, value: u64) -> &Self {
        self.task("puts other", move |app| async move {
            drop(app.put(OTHER, value).await);
            app.journal.drained().await;
        })
    }

    /// A task that puts one value and asks its ticket whether it is in SQL.
    pub(crate) fn puts_durably(&self, value: u64) -> &Self {
        self.task("puts durably", move |app| app.durably(value))
    }

    /// A task that does all of it, by turns, with what is dropped by its caller.
    pub(crate) fn busies_itself(&self, first: u64) -> &Self {
        self.task("is busy", move |app| async move {
            let _ = app.world.cancellable(app.clone().durably(first)).await;
            let _ = app.store.witness_read(KEY, app.handle.get(&KEY)).await;
            drop(app.store.witness_delete(KEY, app.handle.delete(&KEY)).await);
            let _ = app.store.witness_read(KEY, app.handle.get(&KEY)).await;
            drop(app.put(OTHER, first + 1).await);
            drop(app.put(KEY, first + 2).await);
            app.journal.drained().await;
        })
    }

    /// A task that puts one value and waits for the end of a flush.
    pub(crate) fn puts_and_flushes(&self, value: u64) -> &Self {
        self.task("puts and flushes", move |app| async move {
            if app.put(KEY, value).await.is_ok() && app.handle.flush().await.is_ok() {
                app.is_durable(value);
            }
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

    /// A task that reads, so that something lies in the cache, and audits all of that: nobody writes the table by other means. Gives
    /// the keys that it looked at to `seen`.
    pub(crate) fn reads_and_audits(&self, seen: fn(u64)) -> &Self {
        self.task("reads and audits", move |app| async move {
            let _ = app.store.witness_read(KEY, app.handle.get(&KEY)).await;
            // What it cannot ask is no finding.
            if let Ok(audit) = app.handle.audit(10).await {
                assert!(audit.is_clean(), "invariant violated: an audit raises no false alarm: {audit:?}");
                seen(audit.looked_at);
            }
        })
    }

    async fn durably(self, value: u64) {
        if let Ok(ticket) = self.put(KEY, value).await
            && ticket.durable().await.is_ok()
        {
            self.is_durable(value);
        }
    }

    async fn put(&self, key: u32, value: u64) -> Result<Ticket<Store>> {
        let row = Cell { key, value };
        self.store.witness_put(row, self.handle.put(row)).await
    }

    fn is_durable(&self, value: u64) {
        let durable = Durable { at: self.world.tick(), key: KEY, value: Some(value) };
        self.durable.lock().expect("nothing panics under it").push(durable);
    }
}
