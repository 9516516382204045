//! The parent: it starts the workers, makes them and the servers suffer, and in the end compares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use writeway_back::diesel_async::{AsyncConnection as _, AsyncPgConnection};
use writeway_back::runtime::{Runtime, Tokio};
use writeway_back::{CountTable as _, Redis, SqlCounts};
use writeway_testkit::harness::{Given, Schema, Worker, number};
use writeway_testkit::servers;

use crate::notebook::{Notebook, Noted};
use crate::table::{CREATE, Posts};
use crate::worker::{self, ADDERS, FLUSH, KEYS};

/// BEGIN, the fence, the rows, the log and its trim; SAVEPOINT, SET CONSTRAINTS and COMMIT.
const STATEMENTS: u64 = 8;

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) form: &'static str,
    /// The test that is run again as a worker.
    pub(crate) test: &'static str,
    pub(crate) lasts: Duration,
}

/// In this order, again and again.
#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Sessions,
    Pause,
    Restart,
}

const FAULTS: [Fault; 7] =
    [Fault::Kill, Fault::Sessions, Fault::Pause, Fault::Kill, Fault::Restart, Fault::Sessions, Fault::Kill];

/// What a run exercised, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) kills: u64,
    pub(crate) pauses: u64,
    pub(crate) restarts: u64,
    pub(crate) sessions: u64,
    pub(crate) acknowledged: u64,
    pub(crate) in_doubt: u64,
    /// Flushes in effect.
    pub(crate) batches: u64,
    /// Counters that readers were told.
    pub(crate) reads: u64,
    /// Batches that were found in effect when they were flushed again.
    pub(crate) already: u64,
    /// Counters of which SQL has less than was acknowledged.
    pub(crate) lost: u64,
    /// Counters of which it has more than had begun.
    pub(crate) doubled: u64,
    /// Answers that lacked something, had too much, or less than the one before.
    pub(crate) missed: u64,
    pub(crate) invented: u64,
    pub(crate) back: u64,
}

pub(crate) struct Parent {
    plan: Plan,
    given: Given,
    redis: servers::Redis,
    schema: Schema,
    notebook: PathBuf,
    workers: Vec<(usize, Worker)>,
    heard: Arc<Mutex<BTreeMap<String, u64>>>,
    seen: Seen,
}

impl Parent {
    /// `None`, and says so, where a server is missing.
    pub(crate) async fn new(plan: Plan) -> Option<Parent> {
        // Else a Redis that is killed loses what it acknowledged while it waited for the disk.
        let (given, redis) = Given::from_env()?.with_lasting_redis()?;
        let schema = Schema::make(&given.database, &format!("it_counters_{}", plan.form)).await;
        schema.run(CREATE).await;
        // Removed with the server.
        let notebook = redis.dir().join("notebook");
        Notebook::make(&notebook);
        let (workers, heard, seen) = (Vec::new(), Arc::default(), Seen::default());
        Some(Parent { plan, given, redis, schema, notebook, workers, heard, seen })
    }

    /// Faults for as long as planned; then all ends in good order, and is compared.
    pub(crate) async fn run(mut self) -> Seen {
        (0..=ADDERS).for_each(|number| self.start(number));
        let mut stranger = AsyncPgConnection::establish(&self.given.database).await.expect("the database lets us in");
        let started = Tokio.now();
        for fault in FAULTS.into_iter().cycle() {
            Tokio.sleep(millis(200, 800)).await;
            if Tokio.now() - started >= self.plan.lasts {
                break;
            }
            match fault {
                Fault::Kill => self.kill(),
                Fault::Pause => self.pause().await,
                Fault::Restart => self.restart(),
                Fault::Sessions => {
                    let ended = self.schema.end_sessions(&mut stranger).await;
                    self.seen.sessions += u64::try_from(ended).expect("a count");
                }
            }
        }
        for (_, worker) in &mut self.workers {
            worker.tell("stop");
        }
        self.workers.drain(..).for_each(|(_, worker)| tokio::task::block_in_place(|| worker.wait()));
        let took = Tokio.now() - started;
        self.compare().await;
        self.tell(took);
        self.seen
    }

    fn start(&mut self, number: usize) {
        let heard = self.heard.clone();
        let job = format!("{} {} {} {number}", self.plan.form, self.schema.name(), self.notebook.display());
        let hear = move |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (what, count) = (words.next().unwrap_or_default(), words.next().and_then(|n| n.parse().ok()).unwrap_or(0));
            let mut heard = heard.lock().expect("no panic");
            let sum = heard.entry(what.to_owned()).or_default();
            *sum += count;
            if let Some(complaint) = words.next().filter(|_| *sum <= 5) {
                println!("{what}: {complaint}");
            }
        };
        self.workers.push((number, Worker::start(self.plan.test, &job, &self.given.env(), hear)));
    }

    fn kill(&mut self) {
        let (number, worker) = self.workers.remove(one_of(self.workers.len()));
        tokio::task::block_in_place(|| worker.kill());
        self.seen.kills += 1;
        self.start(number);
    }

    /// For longer than a flush may take: others take over, and it wakes up with what it had begun.
    async fn pause(&mut self) {
        let sleeper = one_of(self.workers.len());
        self.workers[sleeper].1.signal(Signal::SIGSTOP);
        Tokio.sleep(FLUSH + millis(200, 2_000)).await;
        self.workers[sleeper].1.signal(Signal::SIGCONT);
        self.seen.pauses += 1;
    }

    /// In turn in good order and by SIGKILL. What was acknowledged is on the disk: nothing may be lost.
    fn restart(&mut self) {
        self.seen.restarts += 1;
        tokio::task::block_in_place(|| {
            if self.seen.restarts.is_multiple_of(2) {
                self.redis.kill().expect("killed");
            }
            self.redis.restart().expect("restarted");
        });
    }

    /// Drains what the last process has left, and asks SQL.
    async fn compare(&mut self) {
        let ids: Vec<i64> = (0..KEYS).map(|key| i64::try_from(key).expect("small")).collect();
        let mut conn = self.schema.connect().await;
        if self.plan.form != "naive" {
            let redis = Redis::builder(&self.given.redis).prefix(self.given.prefix_of("counters")).connect().await;
            let table = SqlCounts::<Posts>::new(self.schema.pool(2, Duration::from_millis(500)).await);
            let counters = worker::builder(table).build(redis.expect("redis lets us in")).await.expect("build");
            counters.flush().await.expect("invariant violated: with the faults off, everything drains");
            let stats = counters.stats().await.expect("stats");
            assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: everything drains, and nothing is set aside");
            let batches = "SELECT coalesce(sum(batch), 0) FROM writeway_fence WHERE namespace = 'likes'";
            self.seen.batches = u64::try_from(number(&mut conn, batches).await).expect("a count");
        }
        let in_sql: BTreeMap<_, _> = Posts::fetch(&mut conn, &ids).await.expect("sql answers").into_iter().collect();
        let notebook = Notebook::open(&self.notebook);
        for (key, id) in ids.iter().enumerate() {
            let Noted { begun, acknowledged } = notebook.of(key);
            let likes = in_sql.get(id).map_or(0, |counts| counts.likes);
            let (lost, doubled) = (likes < acknowledged, likes > begun);
            if (lost && self.seen.lost < 5) || (doubled && self.seen.doubled < 5) {
                println!("counter {id}: {acknowledged} acknowledged, {begun} begun, {likes} in sql");
            }
            self.seen.lost += u64::from(lost);
            self.seen.doubled += u64::from(doubled);
            self.seen.acknowledged += u64::try_from(acknowledged).expect("a count");
            self.seen.in_doubt += u64::try_from(begun - acknowledged).expect("what is acknowledged had begun");
        }
        let heard = self.heard.lock().expect("no panic");
        let of = |what: &str| heard.get(what).copied().unwrap_or(0);
        (self.seen.reads, self.seen.already) = (of("reads"), of("already"));
        (self.seen.missed, self.seen.invented, self.seen.back) = (of("missed"), of("invented"), of("back"));
    }

    fn tell(&self, took: Duration) {
        let Seen { acknowledged, batches, .. } = self.seen;
        let per_second = acknowledged * 1_000 / u64::try_from(took.as_millis()).expect("short").max(1);
        let per_thousand = batches * STATEMENTS * 1_000 / acknowledged.max(1);
        println!("{}, for {took:?}: {:?}", self.plan.form, self.seen);
        if batches == 0 {
            return;
        }
        println!(
            "{per_second} increments a second, {per_thousand} statements per 1,000 of them ({STATEMENTS} per batch in effect)"
        );
    }
}

fn one_of(count: usize) -> usize {
    usize::try_from(Tokio.random() % count as u128).expect("small")
}

fn millis(from: u64, to: u64) -> Duration {
    Duration::from_millis(from + u64::try_from(Tokio.random() % u128::from(to - from)).expect("small"))
}
