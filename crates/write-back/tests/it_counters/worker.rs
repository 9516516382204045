//! A process that adds, or one that reads, until it is killed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use writeway_back::runtime::{Runtime, Tokio};
use writeway_back::{CountStore, CountTable as _, Counters, Error, Outcome, Redis, Result, SqlCounts, WriteBackBuilder};
use writeway_core::cache::BoxFuture;
use writeway_testkit::harness::{Given, Job, Schema};

use crate::notebook::{Column, Notebook};
use crate::reader;
use crate::table::{Likes, Lingering, Posts};

pub(crate) const NAMESPACE: &str = "likes";
pub(crate) const KEYS: usize = 1_000;
/// In all processes that add together.
pub(crate) const TASKS: usize = 16;
pub(crate) const ADDERS: usize = 3;
/// Of a process that only reads.
const READERS: u64 = 2;
pub(crate) const FLUSH: Duration = Duration::from_millis(600);
const DELAY: Duration = Duration::from_millis(100);
/// Every so many-th call adds to several counters.
const MANY: u64 = 16;

/// The handle that all processes of a run have.
pub(crate) fn builder<S: CountStore>(table: S) -> WriteBackBuilder<S, Counters<S>> {
    Counters::builder(table).namespace(NAMESPACE).shards(4).max_delay(DELAY).flush_timeout(FLUSH).migrate()
}

/// What takes the increments.
trait Subject: Send + Sync + 'static {
    fn add<'a>(&'a self, keys: &'a [i64]) -> BoxFuture<'a, Result<()>>;
    /// The rest, in good order.
    fn end(&self) -> BoxFuture<'_, ()>;
}

/// The job: `FORM SCHEMA NOTEBOOK NUMBER`; and then, by a line of the parent, `stop`. The number after those that add reads.
pub(crate) async fn work(mut job: Job) {
    let (form, schema, notebook) = (job.word(0).to_owned(), job.word(1).to_owned(), job.word(2).to_owned());
    let number: usize = job.word(3).parse().expect("a number");
    let given = Given::from_env().expect("the parent names the servers");
    let schema = Schema::of(&given.database, &schema).without_fsync();
    let table = SqlCounts::<Posts>::new(schema.pool(3, FLUSH - DELAY).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    let notebook = || Notebook::open(Path::new(&notebook));
    let lingering = Lingering { table: table.clone(), fenced: form != "fenceless" };
    let subject: Arc<dyn Subject> = if form == "naive" {
        Naive::start(schema)
    } else {
        let counters = open(&given, lingering).await;
        let readers = if number == ADDERS { READERS } else { 0 };
        tasks.extend((0..readers).map(|seed| spawn(reader::read(counters.clone(), notebook(), seed, stop.clone()))));
        Arc::new(counters)
    };
    if number < ADDERS {
        let own = (number..TASKS).step_by(ADDERS);
        tasks.extend(own.map(|task| spawn(add(subject.clone(), notebook().column(task), stop.clone()))));
    }
    while job.told().await != "stop" {}
    stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("no task panics");
    }
    subject.end().await;
}

#[expect(clippy::disallowed_methods, reason = "the load of a test")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// The servers may be away at this very moment.
async fn open<S: CountStore>(given: &Given, table: S) -> Counters<S> {
    loop {
        let redis = Redis::builder(&given.redis).prefix(given.prefix_of("counters"));
        let built = async { builder(table.clone()).build(redis.connect().await?).await }.await;
        match built {
            Ok(handle) => return handle,
            Err(e) if e.is_retryable() => Tokio.sleep(Duration::from_millis(20)).await,
            Err(e) => panic!("{e}"),
        }
    }
}

/// Between 0 and `below`.
pub(crate) fn roll(dice: &mut u64, below: usize) -> usize {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *dice;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) % below as u64).expect("small")
}

/// One increment after the other, each in the notebook before and after.
async fn add(subject: Arc<dyn Subject>, mut notes: Column, stop: Arc<AtomicBool>) {
    let mut dice = u64::try_from(Tokio.random() >> 64).expect("64 bits");
    let mut call = 0_u64;
    while !stop.load(SeqCst) {
        call += 1;
        let count = if call.is_multiple_of(MANY) { 3 } else { 1 };
        let keys: Vec<usize> = (0..count).map(|_| roll(&mut dice, KEYS)).collect();
        let ids: Vec<i64> = keys.iter().map(|&key| i64::try_from(key).expect("small")).collect();
        keys.iter().for_each(|&key| notes.begin(key));
        let answer = subject.add(&ids).await.map_err(|e: Error| e.outcome());
        match answer {
            Ok(()) => keys.iter().for_each(|&key| notes.acknowledge(key)),
            Err(Outcome::NotApplied) => keys.iter().for_each(|&key| notes.refuse(key)),
            Err(_) => {}
        }
        if answer.is_err() {
            // A server is away.
            Tokio.sleep(Duration::from_millis(5)).await;
        }
    }
}

impl<S: CountStore<Key = i64, Counts = Likes>> Subject for Counters<S> {
    fn add<'a>(&'a self, keys: &'a [i64]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match keys {
                [key] => Counters::add(self, key, Likes { likes: 1 }).await.map(drop),
                _ => self.add_many(keys.iter().map(|key| (*key, Likes { likes: 1 }))).await.map(drop),
            }
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let drained = self.shutdown(Duration::from_secs(10)).await;
            drained.expect("redis says what is left");
        })
    }
}

/// Keeps sums in its own memory, and says `Ok` before SQL has them.
struct Naive {
    sums: Mutex<HashMap<i64, i64>>,
    schema: Schema,
}

impl Naive {
    fn start(schema: Schema) -> Arc<Naive> {
        let naive = Arc::new(Naive { sums: Mutex::default(), schema });
        let flusher = naive.clone();
        let flushes = async move {
            loop {
                Tokio.sleep(DELAY).await;
                flusher.flush().await;
            }
        };
        Tokio.spawn("flusher", Box::pin(flushes));
        naive
    }

    async fn flush(&self) {
        let sums = std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        let mut sums: Vec<_> = sums.into_iter().map(|(key, likes)| (key, Likes { likes })).collect();
        sums.sort_unstable_by_key(|(key, _)| *key);
        if !sums.is_empty() {
            // A sum that fails is lost, too.
            let _failed = Posts::add(&mut self.schema.connect().await, &sums).await;
        }
    }
}

impl Subject for Naive {
    fn add<'a>(&'a self, keys: &'a [i64]) -> BoxFuture<'a, Result<()>> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().for_each(|key| *sums.entry(*key).or_default() += 1);
        // It would fill the memory meanwhile.
        Box::pin(async {
            Tokio.sleep(Duration::from_millis(1)).await;
            Ok(())
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.flush())
    }
}
