//! The parent: it kills workers, servers' sessions and the cache server, and in the end compares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_back::Redis;
use writeway_back::diesel_async::{AsyncConnection as _, AsyncPgConnection};
use writeway_back::runtime::{Runtime, Tokio};
use writeway_core::journal::{Journal, Shard, Status};
use writeway_testkit::harness::{Book, Given, Ledger, Said, Schema, Verdict, Worker, number};
use writeway_testkit::servers;

use crate::worker::{self, NAMESPACE, SHARDS};

const WORKERS: i32 = 2;
/// A soak has one more.
pub(crate) const MOST_WORKERS: i32 = 3;
/// Each worker writes so many keys for as long as the run lasts, and as many that nobody writes after its death: what is lost of
/// those stays lost.
const KEYS: i32 = 200;
const SESSIONS_LIVE: Duration = Duration::from_millis(200);

/// How workers take changes, and what becomes of the run.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) form: &'static str,
    /// The test that is run again as a worker.
    pub(crate) test: &'static str,
    pub(crate) kills: usize,
    pub(crate) restarts: usize,
}

/// What a run exercised, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) kills: usize,
    /// Kills with at least a hundred accepted changes that were not in SQL.
    pub(crate) loaded: usize,
    /// Kills with an open batch.
    pub(crate) with_batch: usize,
    pub(crate) restarts: usize,
    pub(crate) sessions: i64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    pub(crate) in_sql: usize,
    /// Batches that were found in effect when they were flushed again.
    pub(crate) already: u64,
    /// What workers that ended in good order counted, by number: accepted, flushed, batches, retries, fenced.
    pub(crate) counted: BTreeMap<i32, Vec<u64>>,
    /// What they said was accepted.
    pub(crate) heard: BTreeMap<i32, u64>,
    /// Rows flushed, by the batch log.
    pub(crate) flushed: i64,
    /// Changes that may have been under way when their process died.
    pub(crate) deaths: i32,
    pub(crate) verdict: Verdict,
}

pub(crate) struct Parent {
    plan: Plan,
    given: Given,
    /// How the workers reach the servers.
    reached: Given,
    pub(crate) redis: servers::Redis,
    pub(crate) schema: Schema,
    ledger: Ledger,
    journal: Arc<dyn Journal>,
    pub(crate) workers: Vec<Living>,
    /// How many were started.
    lives: i32,
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) seen: Seen,
}

pub(crate) struct Living {
    pub(crate) number: i32,
    life: i32,
    pub(crate) worker: Worker,
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) book: Book,
    already: u64,
    /// By worker: how many changes it said were accepted, in this life.
    pub(crate) accepted: BTreeMap<i32, u64>,
    /// What a worker that ended in good order had counted itself, by its number.
    pub(crate) counted: BTreeMap<i32, Vec<u64>>,
}

impl Heard {
    fn line(&mut self, worker: i32, line: &str) {
        let mut words = line.split(' ');
        let said = match words.next() {
            Some("acknowledged") => {
                *self.accepted.entry(worker).or_default() += 1;
                Said::Acknowledged
            }
            Some("counted") => {
                let counts = words.map(|n| n.parse().expect("a number")).collect();
                return drop(self.counted.insert(worker, counts));
            }
            Some("refused") => Said::Refused,
            Some("unknown") => Said::Unknown,
            Some("already") => return self.already += 1,
            _ => return,
        };
        let (Some(key), Some(n)) = (words.next(), words.next()) else { panic!("not a report: {line}") };
        self.book.note(key.parse().expect("a key"), n.parse().expect("a number"), said);
    }
}

/// The keys of a worker in one of its lives: nobody else writes them, and everybody flushes them.
fn keys_of(number: i32, life: i32) -> impl Iterator<Item = i32> {
    let own = (life + MOST_WORKERS) * KEYS;
    (number * KEYS..(number + 1) * KEYS).chain(own..own + KEYS)
}

impl Parent {
    /// `None`, and says so, where a server is missing.
    pub(crate) async fn new(plan: Plan) -> Option<Parent> {
        Parent::over(plan, Given::from_env()?).await
    }

    /// With SQL as given, and a Redis of its own.
    pub(crate) async fn over(plan: Plan, given: Given) -> Option<Parent> {
        // Else a Redis that is killed loses what it acknowledged while it waited for the disk.
        let (given, redis) = given.with_lasting_redis()?;
        let schema = Schema::make(&given.database, &format!("it_crash_{}", plan.form)).await;
        let ledger = Ledger::begin(&schema).await;
        let journal = given.cache("crash").await.into();
        let (workers, lives, heard, seen) = (Vec::new(), 0, Arc::default(), Seen::default());
        let reached = given.clone();
        Some(Parent { plan, given, reached, redis, schema, ledger, journal, workers, lives, heard, seen })
    }

    /// Kills as planned, ends everything in good order, and compares.
    pub(crate) async fn run(mut self) -> Seen {
        for number in 0..WORKERS {
            self.start(number);
        }
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let plague = end_sessions(&self.given, &self.schema, stop.clone(), ended.clone()).await;
        for kill in 1..=self.plan.kills {
            self.kill().await;
            if kill * self.plan.restarts / self.plan.kills > self.seen.restarts {
                self.restart();
            }
        }
        stop.store(true, SeqCst);
        plague.await.expect("it does not panic");
        self.seen.sessions = ended.load(SeqCst);
        self.end().await
    }

    /// Ends the workers in good order, drains, and compares.
    pub(crate) async fn end(mut self) -> Seen {
        for living in &mut self.workers {
            living.worker.tell("stop");
        }
        self.workers.drain(..).for_each(|living| tokio::task::block_in_place(|| living.worker.wait()));
        if self.plan.form != "naive" {
            self.drain().await;
        }
        self.compare().await
    }

    /// Workers that are started from now on reach the servers there.
    pub(crate) fn lead_workers(&mut self, redis: u16, sql: u16) {
        self.reached = self.given.with_database_at(sql).with_redis(format!("redis://127.0.0.1:{redis}/"));
    }

    /// The worker in the next of its lives goes to the end of the queue.
    pub(crate) fn start(&mut self, number: i32) {
        let heard = self.heard.clone();
        let job = format!("crash {} {}", self.plan.form, self.schema.name());
        let hear = move |line: &str| heard.lock().expect("no panic").line(number, line);
        self.heard.lock().expect("no panic").accepted.remove(&number);
        let mut worker = Worker::start(self.plan.test, &job, &self.reached.env(), hear);
        let known = self.heard.lock().expect("no panic");
        let begin: Vec<String> = keys_of(number, self.lives).map(|key| format!("{key}:{}", known.book.next(key))).collect();
        drop(known);
        worker.tell(&begin.join(" "));
        self.workers.push(Living { number, life: self.lives, worker });
        self.lives += 1;
    }

    /// One worker dies somewhen.
    async fn kill(&mut self) {
        let delay = u64::try_from(Tokio.random() % 500).expect("small");
        Tokio.sleep(Duration::from_millis(100 + delay)).await;
        self.kill_one(usize::try_from(Tokio.random() % 2).expect("small")).await;
    }

    /// One worker dies, and what the journal holds at that moment is noted; it is started again.
    pub(crate) async fn kill_one(&mut self, victim: usize) {
        let Living { number, life, worker } = self.workers.remove(victim);
        tokio::task::block_in_place(|| worker.kill());
        let (mut waiting, mut open) = (0, 0);
        for number in 0..SHARDS {
            let status = self.status(number).await;
            waiting += status.dirty + status.open;
            open += status.open;
        }
        self.seen.kills += 1;
        self.seen.loaded += usize::from(waiting >= 100);
        self.seen.with_batch += usize::from(open > 0);
        for key in keys_of(number, life) {
            self.heard.lock().expect("no panic").book.died(key);
            self.seen.deaths += 1;
        }
        self.start(number);
    }

    /// The server may have restarted a moment ago.
    async fn status(&self, number: u16) -> Status {
        let shard = Shard { namespace: NAMESPACE.into(), number };
        for _ in 0..200 {
            match self.journal.status(&shard).await {
                Ok(status) => return status,
                Err(e) if e.is_retryable() => Tokio.sleep(Duration::from_millis(10)).await,
                Err(e) => panic!("{e}"),
            }
        }
        panic!("redis does not say what it holds")
    }

    /// In turn in good order and by SIGKILL. What was acknowledged is on the disk: nothing may be lost.
    pub(crate) fn restart(&mut self) {
        self.seen.restarts += 1;
        tokio::task::block_in_place(|| {
            if self.seen.restarts.is_multiple_of(2) {
                self.redis.kill().expect("killed");
            }
            self.redis.restart().expect("restarted");
        });
    }

    async fn drain(&self) {
        let redis = Redis::builder(&self.given.redis).prefix(self.given.prefix_of("crash")).connect().await;
        let table = self.schema.scores(2).await;
        let builder = worker::builder(table).allow_unbounded_flushes();
        let handle = builder.build(redis.expect("redis lets us in")).await.expect("build");
        handle.flush().await.expect("invariant violated: with the faults off, everything drains");
        let stats = handle.stats().await.expect("stats");
        assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: everything drains, and nothing is set aside");
    }

    /// So many rows were flushed, as the batch log has it.
    async fn flushed(&self) -> i64 {
        // Each key is as long as the two bytes before it say.
        let keys = "WITH RECURSIVE at AS (
                SELECT keys, 0 AS place FROM writeway_batch WHERE length(keys) > 0
                UNION ALL
                SELECT keys, place + 2 + get_byte(keys, place) * 256 + get_byte(keys, place + 1) FROM at
                    WHERE place + 2 + get_byte(keys, place) * 256 + get_byte(keys, place + 1) < length(keys))
            SELECT count(*) FROM at";
        number(&mut self.schema.connect().await, keys).await
    }

    async fn compare(mut self) -> Seen {
        let (ledger, holds) = (self.ledger.read().await, self.ledger.holds().await);
        self.seen.flushed = if self.plan.form == "soak" { self.flushed().await } else { 0 };
        let heard = self.heard.lock().expect("no panic");
        self.seen.verdict = heard.book.judge(&ledger, &holds);
        self.seen.acknowledged = heard.book.acknowledged;
        self.seen.failed = heard.book.failed;
        self.seen.already = heard.already;
        self.seen.in_sql = ledger.len();
        self.seen.counted = heard.counted.clone();
        self.seen.heard = heard.accepted.clone();
        drop(heard);
        println!("{}: {:?}", self.plan.form, self.seen);
        self.seen
    }
}

/// Ends all SQL sessions of the workers, again and again.
#[expect(clippy::disallowed_methods, reason = "the load of a test")]
async fn end_sessions(
    given: &Given,
    schema: &Schema,
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicI64>,
) -> tokio::task::JoinHandle<()> {
    let mut stranger = AsyncPgConnection::establish(&given.database).await.expect("the database lets us in");
    let schema = schema.clone();
    tokio::spawn(async move {
        while !stop.load(SeqCst) {
            Tokio.sleep(SESSIONS_LIVE).await;
            ended.fetch_add(schema.end_sessions(&mut stranger).await, SeqCst);
        }
    })
}
