//! Readers and writers on a few hot rows, and the floor below which no read may fall.
//!
//! A row's version only grows. A read is **stale** if it returns a lower version than one that, before the read began, was
//! acknowledged to a writer or returned by a completed read; an auditor that reads SQL itself counts as a reader too.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use writeway_core::cache::BoxFuture;
use writeway_core::runtime::{Runtime, Tokio};

/// What is watched.
pub trait Subject: Send + Sync + 'static {
    /// The row's version, as the cache and SQL together have it; `None` if there was an error.
    fn read(&self, player: i32) -> impl Future<Output = Option<i64>> + Send;
    /// The committed version, from SQL itself.
    fn audit(&self, player: i32) -> impl Future<Output = Option<i64>> + Send;
    /// Writes the row as the `writer`-th of the writers; the version if it was acknowledged.
    fn write(&self, writer: usize, player: i32, tag: i64) -> impl Future<Output = Wrote> + Send;
    /// Removes a value or lease, never a barrier; true if there was one.
    fn evict(&self, player: i32) -> impl Future<Output = bool> + Send;
    /// How many reads were hits.
    fn hits(&self) -> u64;
}

/// What became of a write.
#[derive(Clone, Copy, Debug)]
pub enum Wrote {
    /// Acknowledged, with this version.
    Acknowledged(i64),
    /// Its process died.
    Killed,
    /// An error.
    Failed,
}

/// What must be reached before the watch ends, or how many reads end it in any case.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    /// Reads through the subject.
    pub reads: u64,
    /// Writes whose process died.
    pub killed: u64,
    /// Evictions.
    pub evictions: u64,
    /// More reads than this are not made.
    pub max_reads: u64,
    /// Stale reads that are enough.
    pub enough_stale: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Reads through the subject.
    pub reads: AtomicU64,
    /// Of which were stale.
    pub stale: AtomicU64,
    /// Of which failed.
    pub failed_reads: AtomicU64,
    /// Reads of SQL itself.
    pub audits: AtomicU64,
    /// Writes that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Writes that failed.
    pub failed_writes: AtomicU64,
    /// Writes whose process died.
    pub killed: AtomicU64,
    /// Values and leases that were removed.
    pub evictions: AtomicU64,
}

/// The watch's result: what was seen, and the tags of the writes whose process died.
#[derive(Debug)]
pub struct Watched {
    /// What was seen.
    pub tally: Arc<Tally>,
    /// Tags of killed writes.
    pub killed: Vec<i64>,
}

struct Watch<S> {
    subject: Arc<S>,
    tally: Arc<Tally>,
    floors: Floors,
    highest: Vec<AtomicI64>,
    next_tag: AtomicI64,
}

const PLAYERS: usize = 3;
const READERS: usize = 6;
const WRITERS: usize = 3;

/// Six readers, three writers, an auditor and an evictor on three rows, until the floors are reached.
///
/// # Panics
/// If one of its tasks does.
pub async fn watch<S: Subject>(subject: &Arc<S>, floors: Floors) -> Watched {
    let highest = (0..PLAYERS).map(|_| AtomicI64::new(0)).collect();
    let (tally, next_tag) = (Arc::default(), AtomicI64::new(1_000));
    let watch = Arc::new(Watch { subject: subject.clone(), tally, floors, highest, next_tag });
    let killed: Vec<_> = (0..WRITERS).map(|writer| watch.clone().run(move |w| Box::pin(w.write(writer)))).collect();
    let mut others: Vec<_> = (0..READERS).map(|_| watch.clone().run(|w| Box::pin(w.read()))).collect();
    others.push(watch.clone().run(|w| Box::pin(w.audit())));
    others.push(watch.clone().run(|w| Box::pin(w.evict())));
    let mut tags = Vec::new();
    for writer in killed.into_iter().chain(others) {
        tags.extend(writer.await.expect("no task of the watch panics"));
    }
    Watched { tally: watch.tally.clone(), killed: tags }
}

impl<S: Subject> Watch<S> {
    #[expect(clippy::disallowed_methods, reason = "the load of a test")]
    fn run<F>(self: Arc<Self>, work: F) -> tokio::task::JoinHandle<Vec<i64>>
    where
        F: FnOnce(Arc<Self>) -> BoxFuture<'static, Vec<i64>>,
    {
        tokio::spawn(work(self))
    }

    fn done(&self) -> bool {
        let Floors { reads, killed, evictions, max_reads, enough_stale } = self.floors;
        let t = &self.tally;
        let done = t.reads.load(SeqCst) >= reads && t.killed.load(SeqCst) >= killed && t.evictions.load(SeqCst) >= evictions;
        done || t.reads.load(SeqCst) >= max_reads || t.stale.load(SeqCst) >= enough_stale
    }

    async fn read(self: Arc<Self>) -> Vec<i64> {
        while !self.done() {
            let at = pick(PLAYERS);
            let floor = self.highest[at].load(SeqCst);
            let read = self.subject.read(player(at)).await;
            self.tally.reads.fetch_add(1, SeqCst);
            let Some(version) = read else {
                self.tally.failed_reads.fetch_add(1, SeqCst);
                continue;
            };
            if version < floor && self.tally.stale.fetch_add(1, SeqCst) < 5 {
                println!("stale: row {at} read as version {version}, {floor} was known before");
            }
            self.highest[at].fetch_max(version, SeqCst);
        }
        Vec::new()
    }

    async fn audit(self: Arc<Self>) -> Vec<i64> {
        while !self.done() {
            let at = pick(PLAYERS);
            if let Some(version) = self.subject.audit(player(at)).await {
                self.highest[at].fetch_max(version, SeqCst);
                self.tally.audits.fetch_add(1, SeqCst);
            }
            pause(3).await;
        }
        Vec::new()
    }

    async fn write(self: Arc<Self>, writer: usize) -> Vec<i64> {
        let mut killed = Vec::new();
        while !self.done() {
            // Storms and calms: in a storm the keys are behind the barriers of dead writers, in a calm they become hits again.
            let second = Tokio.now().as_secs() % 5;
            if second > 1 {
                pause(100).await;
                continue;
            }
            let (at, tag) = (pick(PLAYERS), self.next_tag.fetch_add(1, SeqCst));
            match self.subject.write(writer, player(at), tag).await {
                Wrote::Acknowledged(version) => {
                    self.highest[at].fetch_max(version, SeqCst);
                    self.tally.acknowledged.fetch_add(1, SeqCst);
                }
                Wrote::Killed => {
                    self.tally.killed.fetch_add(1, SeqCst);
                    killed.push(tag);
                }
                Wrote::Failed => {
                    self.tally.failed_writes.fetch_add(1, SeqCst);
                }
            }
            pause(4).await;
        }
        killed
    }

    async fn evict(self: Arc<Self>) -> Vec<i64> {
        while !self.done() {
            let evicted = self.subject.evict(player(pick(PLAYERS))).await;
            self.tally.evictions.fetch_add(u64::from(evicted), SeqCst);
            pause(6).await;
        }
        Vec::new()
    }
}

/// Paces a load; nothing is waited for.
async fn pause(max_millis: u64) {
    Tokio.sleep(std::time::Duration::from_millis(pick_u64(max_millis + 1))).await;
}

fn pick(n: usize) -> usize {
    usize::try_from(Tokio.random() % n as u128).unwrap_or(0)
}

fn pick_u64(n: u64) -> u64 {
    u64::try_from(Tokio.random() % u128::from(n)).unwrap_or(0)
}

fn player(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(0)
}
