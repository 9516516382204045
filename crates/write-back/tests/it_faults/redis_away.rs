//! Redis freezes, then dies: callers get typed answers, no read falls behind what was accepted, and all goes on afterwards.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::{Error, Kind, Outcome};
use writeway_testkit::harness::{Book, Said, is_delete, score};

use crate::is_long;
use crate::rig::{Handle, Rig, eventually, flushed};

const PLAYERS: usize = 20;
const READERS: usize = 4;
/// The handle's own, and what a loaded machine may add.
const CALL: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// The last accepted change of each row.
    floor: [AtomicI64; PLAYERS],
    book: Mutex<Book>,
    reads: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
    /// What may not be.
    wrong: Mutex<Vec<String>>,
}

impl Load {
    fn failed(&self, what: &str, e: &Error) {
        self.refused.fetch_add(1, SeqCst);
        if e.kind() != Kind::Unavailable {
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
        let at = usize::try_from(Tokio.random() % PLAYERS as u128).unwrap_or(0);
        let (floor, since) = (self.floor[at].load(SeqCst), Tokio.now());
        match handle.get(&(1, i32::try_from(at).unwrap_or(0))).await {
            Ok(row) => {
                let found = row.map_or(0, |row| row.points);
                self.reads.fetch_add(1, SeqCst);
                if found < floor {
                    self.wrong(format!("row {at} read as {found}, {floor} was accepted before"));
                }
            }
            Err(e) => self.failed("get", &e),
        }
        self.took("get", since);
    }

    async fn write(&self, handle: &Handle, at: usize, n: i64) {
        let (player, since) = (i32::try_from(at).unwrap_or(0), Tokio.now());
        let said = match handle.put(score(player, n)).await {
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
}

#[expect(clippy::disallowed_methods, reason = "the load of a test")]
fn start(handle: &Handle, load: &Arc<Load>) -> Vec<tokio::task::JoinHandle<()>> {
    let task = |reads: bool| {
        let (handle, load) = (handle.clone(), load.clone());
        tokio::spawn(async move {
            for n in (1..).filter(|n| !is_delete(*n)) {
                for at in 0..PLAYERS {
                    if load.stop.load(SeqCst) {
                        return;
                    }
                    if reads {
                        load.read(&handle).await;
                    } else {
                        load.write(&handle, at, n).await;
                    }
                    // Paces the load.
                    Tokio.sleep(Duration::from_millis(1)).await;
                }
            }
        })
    };
    (0..=READERS).map(|n| task(n > 0)).collect()
}

/// Reads and writes succeed (again).
async fn goes_on(load: &Load) -> Duration {
    let (since, reads, writes) = (Tokio.now(), load.reads.load(SeqCst) + 200, load.writes.load(SeqCst) + 50);
    let both = async || (load.reads.load(SeqCst) >= reads && load.writes.load(SeqCst) >= writes).then_some(());
    eventually("reads and writes", both).await;
    Tokio.now() - since
}

/// Nothing but refusals, for a while.
async fn stands(load: &Load) {
    let refused = load.refused.load(SeqCst) + if is_long() { 5_000 } else { 200 };
    eventually("refusals", async || (load.refused.load(SeqCst) >= refused).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_is_told_and_nobody_reads_the_past() {
    let Some(mut rig) = Rig::new("redis_away").await else { return };
    // Else a Redis that is killed loses what it acknowledged while it waited for the disk.
    rig.redis.fsync_always();
    tokio::task::block_in_place(|| rig.redis.restart()).expect("restarted");
    let handle = rig.handle().await;
    let load = Arc::new(Load::default());
    let tasks = start(&handle, &load);
    goes_on(&load).await;
    rig.redis.pause().expect("paused");
    stands(&load).await;
    rig.redis.resume().expect("resumed");
    let thawed = goes_on(&load).await;
    rig.redis.kill().expect("killed");
    stands(&load).await;
    tokio::task::block_in_place(|| rig.redis.restart()).expect("restarted");
    let restarted = goes_on(&load).await;
    load.stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("no task panics");
    }
    flushed(&handle).await;
    let (reads, writes, refused) = (load.reads.load(SeqCst), load.writes.load(SeqCst), load.refused.load(SeqCst));
    println!(
        "{reads} reads, {writes} writes, {refused} refused; again {thawed:?} after the thaw, {restarted:?} after the restart"
    );
    assert_eq!(
        *load.wrong.lock().expect("no panic"),
        [""; 0],
        "invariant violated: typed answers in time, and no read of the past"
    );
    let (ledger, holds) = (rig.ledger.read().await, rig.ledger.holds().await);
    let verdict = load.book.lock().expect("no panic").judge(&ledger, &holds);
    assert_eq!(verdict, Default::default(), "invariant violated: a restart that loses nothing loses nothing");
    rig.ascending().await;
}
