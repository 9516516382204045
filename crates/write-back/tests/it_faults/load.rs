//! Readers and writers that go on whatever happens, and note what they were told.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::{Error, Kind, Outcome};
use writeway_testkit::harness::{Book, Ledger, Said, Verdict, is_delete, score};

use crate::rig::{Handle, eventually};

/// The handle's own, and what a loaded machine may add.
const CALL: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);

/// What the load is like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Each writer has so many keys.
    pub(crate) keys: usize,
    pub(crate) writers: usize,
    pub(crate) readers: usize,
    /// Every tenth change of a key is a delete; else there are none.
    pub(crate) deletes: bool,
    /// Redis may lose what it accepted, so that a read may fall behind.
    pub(crate) lossy: bool,
    /// SQL may be such that a load fails for good.
    pub(crate) rejecting: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Shape { keys: 20, writers: 1, readers: 4, deletes: false, lossy: false, rejecting: false }
    }
}

pub(crate) struct Load {
    shape: Shape,
    stop: AtomicBool,
    /// The last accepted change of each row.
    floor: Vec<AtomicI64>,
    book: Mutex<Book>,
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// What may not be.
    wrong: Mutex<Vec<String>>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "the load of a test")]
    pub(crate) fn start(handle: &Handle, shape: Shape) -> Arc<Load> {
        let floor = (0..shape.keys * shape.writers).map(|_| AtomicI64::new(0)).collect();
        let load = Arc::new(Load {
            shape,
            stop: AtomicBool::default(),
            floor,
            book: Mutex::default(),
            reads: AtomicU64::default(),
            writes: AtomicU64::default(),
            refused: AtomicU64::default(),
            wrong: Mutex::default(),
            tasks: Mutex::default(),
        });
        let writers = (0..shape.writers).map(|writer| {
            let (load, handle) = (load.clone(), handle.clone());
            tokio::spawn(async move { load.write_on(&handle, writer).await })
        });
        let readers = (0..shape.readers).map(|_| {
            let (load, handle) = (load.clone(), handle.clone());
            tokio::spawn(async move { load.read_on(&handle).await })
        });
        load.tasks.lock().expect("no panic").extend(writers.chain(readers).collect::<Vec<_>>());
        load
    }

    async fn write_on(&self, handle: &Handle, writer: usize) {
        for n in (1..).filter(|n| self.shape.deletes || !is_delete(*n)) {
            for at in writer * self.shape.keys..(writer + 1) * self.shape.keys {
                if self.stop.load(SeqCst) {
                    return;
                }
                self.write(handle, at, n).await;
                // Paces the load.
                Tokio.sleep(Duration::from_millis(1)).await;
            }
        }
    }

    async fn read_on(&self, handle: &Handle) {
        while !self.stop.load(SeqCst) {
            self.read(handle).await;
            // Paces the load.
            Tokio.sleep(Duration::from_millis(1)).await;
        }
    }

    fn failed(&self, what: &str, e: &Error) {
        self.refused.fetch_add(1, SeqCst);
        let loads = self.shape.rejecting && what == "get";
        if !loads && !matches!(e.kind(), Kind::Unavailable | Kind::Overloaded) {
            self.wrong(format!("{what}: {e:?}"));
        }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("no panic").push(what);
    }

    fn took(&self, what: &str, since: Duration) {
        let took = Tokio.now() - since;
        if took > CALL + SLACK {
            self.wrong(format!("{what} took {took:?}"));
        }
    }

    async fn read(&self, handle: &Handle) {
        let at = usize::try_from(Tokio.random() % self.floor.len() as u128).unwrap_or(0);
        let (floor, since) = (self.floor[at].load(SeqCst), Tokio.now());
        match handle.get(&(1, i32::try_from(at).unwrap_or(0))).await {
            Ok(row) => {
                self.reads.fetch_add(1, SeqCst);
                let found = row.as_ref().map_or(0, |row| row.points);
                // A row that is gone says nothing of which delete it was.
                let known = row.is_some() || !self.shape.deletes;
                if known && found < floor && !self.shape.lossy {
                    self.wrong(format!("row {at} read as {found}, {floor} was accepted before"));
                }
                if row.is_some_and(|row| row.player != i32::try_from(at).unwrap_or(0)) {
                    self.wrong(format!("row {at} was asked for, and another answered"));
                }
            }
            Err(e) => self.failed("get", &e),
        }
        self.took("get", since);
    }

    async fn write(&self, handle: &Handle, at: usize, n: i64) {
        let (player, since) = (i32::try_from(at).unwrap_or(0), Tokio.now());
        let told = if is_delete(n) { handle.delete(&(1, player)).await } else { handle.put(score(player, n)).await };
        let said = match told {
            Ok(_) => {
                self.floor[at].store(n, SeqCst);
                self.writes.fetch_add(1, SeqCst);
                Said::Acknowledged
            }
            Err(e) => {
                self.failed("put", &e);
                if e.outcome() == Outcome::NotApplied { Said::Refused } else { Said::Unknown }
            }
        };
        self.book.lock().expect("no panic").note(player, n, said);
        self.took("put", since);
    }

    /// Reads and writes succeed (again). Says after how long.
    pub(crate) async fn goes_on(&self) -> Duration {
        let (since, reads, writes) = (Tokio.now(), self.reads.load(SeqCst) + 200, self.writes.load(SeqCst) + 50);
        let reads = if self.shape.readers > 0 { reads } else { 0 };
        let both = async || (self.reads.load(SeqCst) >= reads && self.writes.load(SeqCst) >= writes).then_some(());
        eventually("reads and writes", both).await;
        Tokio.now() - since
    }

    /// So many refusals more.
    pub(crate) async fn is_refused(&self, more: u64) {
        let refused = self.refused.load(SeqCst) + more;
        eventually("refusals", async || (self.refused.load(SeqCst) >= refused).then_some(())).await;
    }

    /// Ends it.
    pub(crate) async fn stop(&self) {
        self.stop.store(true, SeqCst);
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic"));
        for task in tasks {
            task.await.expect("no task panics");
        }
    }

    /// What was told, besides rows: nothing wrong.
    pub(crate) fn answers_are_right(&self) {
        let wrong = self.wrong.lock().expect("no panic");
        let some = &wrong[..wrong.len().min(10)];
        assert_eq!(some, [""; 0], "invariant violated: typed answers in time, and no read of the past ({} wrong)", wrong.len());
    }

    /// What was acknowledged against what SQL went through.
    pub(crate) async fn verdict(&self, ledger: &Ledger) -> Verdict {
        let ours = |player: i32| usize::try_from(player).is_ok_and(|at| at < self.floor.len());
        let (mut applied, mut holds) = (ledger.read().await, ledger.holds().await);
        applied.retain(|step| ours(step.player));
        holds.retain(|player, _| ours(*player));
        self.book.lock().expect("no panic").judge(&applied, &holds)
    }

    pub(crate) fn counts(&self) -> String {
        let count = |n: &AtomicU64| n.load(SeqCst);
        format!("{} reads, {} writes, {} refused", count(&self.reads), count(&self.writes), count(&self.refused))
    }
}
