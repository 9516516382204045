//! A process that writes under load until it is killed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use writeway_back::runtime::{Runtime, Tokio};
use writeway_back::store::{FencedStore, Store};
use writeway_back::{Changes, Error, Outcome, Redis, Result, Sql, WriteBack, WriteBackBuilder};
use writeway_core::cache::BoxFuture;
use writeway_testkit::harness::{Given, Halting, Job, Moment, Schema, Score, Scores, is_delete, say, score};

pub(crate) const NAMESPACE: &str = "scores";
pub(crate) const SHARDS: u16 = 4;
/// Each writes its share of the keys, one after the other.
const TASKS: usize = 10;
const FLUSH: Duration = Duration::from_millis(600);
const DELAY: Duration = Duration::from_millis(100);

/// The handle that all processes of a run have.
pub(crate) fn builder<S: FencedStore>(table: S) -> WriteBackBuilder<S> {
    WriteBack::builder(table).namespace(NAMESPACE).shards(SHARDS).max_delay(DELAY).flush_timeout(FLUSH).migrate()
}

/// What takes the changes.
trait Subject: Send + Sync + 'static {
    fn change(&self, player: i32, n: i64) -> BoxFuture<'_, Result<()>>;
    /// The rest, in good order.
    fn end(&self) -> BoxFuture<'_, ()>;
}

/// The job: `crash FORM SCHEMA`, and then, by lines of the parent: the keys with the numbers to begin with; later, `stop`.
pub(crate) async fn work(mut job: Job) {
    let (form, schema) = (job.word(1).to_owned(), job.word(2).to_owned());
    let given = Given::from_env().expect("the parent names the servers");
    let schema = Schema::of(&given.database, &schema);
    // In a soak SQL is killed, and then loses what it did not wait for.
    let schema = if form == "soak" { schema } else { schema.without_fsync() };
    let table: Sql<Scores> = Sql::new(schema.pool(3, FLUSH - DELAY).await);
    let begin = job.told().await;
    let subject: Arc<dyn Subject> = match form.as_str() {
        "naive" => Naive::start(table),
        "fenceless" => Arc::new(open(&given, Halting::new(table, lingers).fenceless()).await),
        _ => Arc::new(open(&given, Halting::new(table, lingers)).await),
    };
    say("ready");
    let stop = Arc::new(AtomicBool::new(false));
    let keys: Vec<(i32, i64)> = begin
        .split_whitespace()
        .map(|pair| {
            let (key, n) = pair.split_once(':').expect("key:number");
            (key.parse().expect("a key"), n.parse().expect("a number"))
        })
        .collect();
    let tasks: Vec<_> =
        keys.chunks(keys.len().div_ceil(TASKS)).map(|keys| write(subject.clone(), keys.to_vec(), stop.clone())).collect();
    while job.told().await != "stop" {}
    stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("no writer panics");
    }
    subject.end().await;
    say("ended");
}

/// The servers may be away at this very moment.
async fn open<S: FencedStore<Key = (i64, i32), Row = Score>>(given: &Given, table: S) -> WriteBack<S> {
    loop {
        let redis = Redis::builder(&given.redis).prefix(given.prefix_of("crash"));
        let built = async { builder(table.clone()).build(redis.connect().await?).await }.await;
        match built {
            Ok(handle) => return handle,
            Err(e) if e.is_retryable() => Tokio.sleep(Duration::from_millis(20)).await,
            Err(e) => panic!("{e}"),
        }
    }
}

/// Between the commit and the acknowledgement a process lives long enough to be killed there.
fn lingers(moment: Moment) -> BoxFuture<'static, ()> {
    if moment == Moment::Already {
        say("already");
    }
    let millis = u64::try_from(Tokio.random() % 80).unwrap_or(0);
    Tokio.sleep(Duration::from_millis(if moment == Moment::Committed { millis } else { 0 }))
}

#[expect(clippy::disallowed_methods, reason = "the load of a test")]
fn write(subject: Arc<dyn Subject>, mut keys: Vec<(i32, i64)>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while !stop.load(SeqCst) {
            for (key, n) in &mut keys {
                let answer = subject.change(*key, *n).await.map_err(|e: Error| e.outcome());
                let word = match answer {
                    Ok(()) => "acknowledged",
                    Err(Outcome::NotApplied) => "refused",
                    Err(_) => "unknown",
                };
                say(&format!("{word} {key} {n}"));
                *n += 1;
                // Paces the load, so that the machine is not the bottleneck; more where a server is away.
                Tokio.sleep(Duration::from_millis(if answer.is_ok() { 1 } else { 10 })).await;
                if stop.load(SeqCst) {
                    break;
                }
            }
        }
    })
}

impl<S: FencedStore<Key = (i64, i32), Row = Score>> Subject for WriteBack<S> {
    fn change(&self, player: i32, n: i64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let accepted = if is_delete(n) { self.delete(&(1, player)).await } else { self.put(score(player, n)).await };
            accepted.map(drop)
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let drained = self.shutdown(Duration::from_secs(10)).await.expect("redis says what is left");
            say(&format!("drained {} {}", drained.flushed, drained.left));
            let stats = self.stats().await.expect("redis answers");
            say(&format!("counted {} {} {} {} {}", stats.accepted, stats.flushed, stats.batches, stats.retries, stats.fenced));
        })
    }
}

/// Keeps what it accepts in its own memory, and says `Ok` before SQL has it.
struct Naive {
    dirty: Mutex<HashMap<i32, i64>>,
    table: Sql<Scores>,
}

impl Naive {
    fn start(table: Sql<Scores>) -> Arc<Naive> {
        let naive = Arc::new(Naive { dirty: Mutex::default(), table });
        let flusher = naive.clone();
        Tokio.spawn(
            "flusher",
            Box::pin(async move {
                loop {
                    Tokio.sleep(DELAY).await;
                    flusher.flush().await;
                }
            }),
        );
        naive
    }

    async fn flush(&self) {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let mut changes = Changes::new();
        for (player, n) in &dirty {
            changes = if is_delete(*n) { changes.delete((1, *player)) } else { changes.put(score(*player, *n)) };
        }
        let changes: Vec<_> = changes.coalesce(|row| self.table.key(row)).into_iter().map(|(_, change)| change).collect();
        if self.table.apply(&changes).await.is_err() {
            let mut again = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
            for (player, n) in dirty {
                again.entry(player).or_insert(n);
            }
        }
    }
}

impl Subject for Naive {
    fn change(&self, player: i32, n: i64) -> BoxFuture<'_, Result<()>> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(player, n);
        Box::pin(async { Ok(()) })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.flush())
    }
}
