//! Servers of the test's own, frozen, restarted and stopped under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_testkit::double::{Script, ScriptedStore};
use writeway_testkit::harness::{Given, Schema, Scores, score};
use writeway_testkit::servers;
use writeway_through::runtime::{Runtime, Tokio};
use writeway_through::{Change, Changes, Kind, Outcome, Redis, Sql, WriteThrough};

const CALL: Duration = Duration::from_secs(1);
const MAX_LOADS: usize = 8;
const PLAYERS: i32 = 200;

type Handle = WriteThrough<ScriptedStore<Sql<Scores>>>;

struct Load {
    scores: Handle,
    /// Counts the loads.
    sql: Script,
    stop: AtomicBool,
    reads: AtomicUsize,
    /// When each read and write began, how long it took, and how it ended.
    calls: Mutex<Vec<Call>>,
}

struct Call {
    began: Duration,
    took: Duration,
    write: bool,
    error: Option<(Kind, Outcome)>,
}

async fn load(redis: &servers::Redis, database: &str, schema: &str) -> (Arc<Load>, Schema) {
    let schema = Schema::make(database, schema).await;
    let sql = Script::new();
    let table = ScriptedStore::new(schema.scores(12).await, &sql);
    let builder = WriteThrough::builder(table).namespace("scores").call_timeout(CALL).max_loads(MAX_LOADS);
    let cache = Redis::connect(redis.url()).await.expect("redis lets us in");
    let scores = builder.build(cache).await.expect("build");
    let all: Changes<_, _> = (0..PLAYERS).map(|player| Change::Put(score(player, 1))).collect();
    scores.write(all).await.expect("written");
    sql.forget();
    let (stop, reads, calls) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::default());
    (Arc::new(Load { scores, sql, stop, reads, calls }), schema)
}

impl Load {
    /// Sixteen readers, and `writers`.
    #[expect(clippy::disallowed_methods, reason = "the load of a test")]
    fn start(self: &Arc<Self>, writers: usize) -> Vec<tokio::task::JoinHandle<()>> {
        let task = |write: bool| {
            let load = self.clone();
            tokio::spawn(async move {
                while !load.stop.load(SeqCst) {
                    load.call(write).await;
                }
            })
        };
        (0..16 + writers).map(|n| task(n >= 16)).collect()
    }

    async fn call(&self, write: bool) {
        let (player, began) = (i32::try_from(Tokio.random() % 200).unwrap_or(0), Tokio.now());
        let answer = if write {
            self.scores.put(score(player, 2)).await.map(drop)
        } else {
            self.reads.fetch_add(1, SeqCst);
            self.scores.get(&(1, player)).await.map(drop)
        };
        let (took, error) = (Tokio.now() - began, answer.err().map(|e| (e.kind(), e.outcome())));
        self.calls.lock().expect("no panic").push(Call { began, took, write, error });
        // Paces the load, so that the machine is not the bottleneck.
        Tokio.sleep(Duration::from_millis(if write { 5 } else { 1 })).await;
    }

    async fn reads(&self, n: usize) {
        let until = self.reads.load(SeqCst) + n;
        wait("the reads", CALL * 60, || self.reads.load(SeqCst) >= until).await;
    }

    /// The calls that lay between two moments.
    fn between(&self, from: Duration, to: Duration, write: bool) -> Vec<(Duration, Option<(Kind, Outcome)>)> {
        let calls = self.calls.lock().expect("no panic");
        let inside = calls.iter().filter(|c| c.write == write && c.began >= from && c.began + c.took <= to);
        inside.map(|c| (c.took, c.error)).collect()
    }

    /// At the end, the cache and SQL agree.
    async fn end(self: &Arc<Self>, tasks: Vec<tokio::task::JoinHandle<()>>, schema: &Schema) {
        self.stop.store(true, SeqCst);
        for task in tasks {
            task.await.expect("no panic");
        }
        let keys: Vec<(i64, i32)> = (0..PLAYERS).map(|player| (1, player)).collect();
        let cached = self.scores.get_many(&keys).await.expect("get_many");
        let table = schema.scores(1).await;
        let mut stored = writeway_through::store::Store::fetch(&table, &keys).await.expect("fetch");
        stored.sort_by_key(|row| row.player);
        assert_eq!(cached, stored.into_iter().map(Some).collect::<Vec<_>>(), "invariant violated: the cache agrees with sql");
        assert!(self.sql.peak("fetch") <= MAX_LOADS, "invariant violated: max_loads: {}", self.sql.peak("fetch"));
    }
}

/// Asks again and again, for a bounded time.
async fn wait(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Tokio.now();
    while !condition() {
        assert!(Tokio.now() - start < within, "{what}: not within {within:?}");
        Tokio.sleep(Duration::from_millis(1)).await;
    }
    Tokio.now() - start
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

/// The private Redis and the given database, or word of what is missing.
fn servers() -> Option<(servers::Redis, Given)> {
    let given = Given::from_env()?;
    let redis = servers::Redis::from_env().expect("redis starts");
    if redis.is_none() {
        println!("SKIPPED: needs WRITEWAY_REDIS_SERVER");
    }
    Some((redis?, given))
}

fn freeze_for() -> Duration {
    let seconds = std::env::var("WRITEWAY_FREEZE_SECONDS").ok().and_then(|s| s.parse().ok());
    let long = std::env::var_os("WRITEWAY_LONG").is_some();
    Duration::from_secs(seconds.unwrap_or(if long { 30 } else { 6 }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_costs_no_read_and_refuses_every_write() {
    let Some((mut redis, given)) = servers() else { return };
    let (load, schema) = load(&redis, &given.database, "it_outage_frozen").await;
    let tasks = load.start(2);
    load.reads(2_000).await;
    redis.pause().expect("paused");
    let (frozen, loads) = (Tokio.now(), load.sql.count("fetch"));
    Tokio.sleep(freeze_for()).await;
    let thawed = Tokio.now();
    redis.resume().expect("resumed");
    // Reads go on while the loads stand still: those are hits.
    let first_hit = first_hit(&load).await;
    let (mut reads, writes) = (load.between(frozen, thawed, false), load.between(frozen, thawed, true));
    reads.sort_by_key(|call| call.0);
    let took: Vec<Duration> = reads.iter().map(|call| call.0).collect();
    let failed = reads.iter().filter(|call| call.1.is_some()).count();
    println!(
        "frozen for {:?}: {} reads, {failed} failed, p50 {:?}, p99 {:?}, slowest {:?}; {} loads, at most {} at once; {} writes; first hit after {first_hit:?}",
        thawed - frozen,
        reads.len(),
        percentile(&took, 50),
        percentile(&took, 99),
        took.last(),
        load.sql.count("fetch") - loads,
        load.sql.peak("fetch"),
        writes.len(),
    );
    assert!(reads.len() > 500 && writes.len() > 10, "the harness did too little");
    assert!(percentile(&took, 99) <= CALL, "invariant violated: reads end by their deadline");
    assert_eq!(failed, 0, "invariant violated: reads outlive a frozen redis");
    for (_, error) in &writes {
        let refused = Some((Kind::Unavailable, Outcome::NotApplied));
        assert_eq!(*error, refused, "invariant violated: strict writes are refused while redis is away");
    }
    assert!(first_hit <= Duration::from_secs(5), "invariant violated: hits come back: {first_hit:?}");
    wait_for_writes(&load).await;
    load.end(tasks, &schema).await;
}

/// A row that is read twice without a load between.
async fn first_hit(load: &Arc<Load>) -> Duration {
    let start = Tokio.now();
    loop {
        let before = load.sql.count("fetch");
        let reads = load.reads.load(SeqCst);
        wait("reads after the thaw", CALL * 10, || load.reads.load(SeqCst) >= reads + 40).await;
        if load.sql.count("fetch") < before + 20 || Tokio.now() - start > CALL * 10 {
            return Tokio.now() - start;
        }
    }
}

async fn wait_for_writes(load: &Arc<Load>) {
    let since = Tokio.now();
    wait("a write", CALL * 10, || load.between(since, Duration::MAX, true).iter().any(|call| call.1.is_none())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_and_a_restart_are_invisible_to_readers() {
    let Some((mut redis, given)) = servers() else { return };
    let (load, schema) = load(&redis, &given.database, "it_outage_restart").await;
    let tasks = load.start(2);
    let mut conn = servers::Resp::connect(&format!("127.0.0.1:{}", redis.port())).expect("redis lets us in");
    let started = Tokio.now();
    for _ in 0..300 {
        conn.call(&["SCRIPT", "FLUSH"]).expect("flushed");
        load.reads(10).await;
    }
    let flushed = Tokio.now();
    let writes = load.between(started, flushed, true);
    let refused = writes.iter().filter(|call| call.1.is_some()).count();
    assert_eq!(refused, 0, "invariant violated: forgotten scripts are loaded again: {refused} of {} writes", writes.len());
    tokio::task::block_in_place(|| redis.restart()).expect("restarted");
    let back = Tokio.now();
    load.reads(2_000).await;
    let after = first_hit(&load).await;
    wait_for_writes(&load).await;
    let reads = load.between(started, Duration::MAX, false);
    let failed = reads.iter().filter(|call| call.1.is_some()).count();
    let away = load.between(flushed, back, false).len();
    println!(
        "{} reads, {failed} failed, {away} while redis restarted; {} writes during the flushes; hits {after:?} after",
        reads.len(),
        writes.len()
    );
    assert!(reads.len() > 4_000 && writes.len() > 100 && away > 20, "the harness did too little");
    assert_eq!(failed, 0, "invariant violated: a restart of redis is invisible to readers");
    load.end(tasks, &schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_postgres_gives_typed_errors_and_heals() {
    let Some((redis, _)) = servers() else { return };
    let Some(mut postgres) = servers::Postgres::from_env().expect("postgres starts") else {
        println!("SKIPPED: needs WRITEWAY_PG_BIN");
        return;
    };
    let (load, schema) = load(&redis, &postgres.url(), "it_outage_postgres").await;
    let tasks = load.start(2);
    load.reads(1_000).await;
    for kill in [false, true] {
        let stopping = Tokio.now();
        tokio::task::block_in_place(|| if kill { postgres.kill() } else { postgres.stop() }).expect("stopped");
        let stopped = Tokio.now();
        load.reads(1_000).await;
        let missed = load.scores.get(&(9, 9)).await.expect_err("a miss without sql");
        assert_eq!((missed.kind(), missed.outcome()), (Kind::Unavailable, Outcome::NotApplied), "{missed}");
        wait("refused writes", CALL * 20, || load.between(stopped, Duration::MAX, true).len() >= 4).await;
        let restarting = Tokio.now();
        tokio::task::block_in_place(|| postgres.restart()).expect("restarted");
        let back = Tokio.now();
        wait_for_writes(&load).await;
        let healed = Tokio.now() - back;
        let slowest = load.between(stopping, Duration::MAX, true).into_iter().map(|call| call.0).max();
        let (reads, writes) = (load.between(stopped, restarting, false), load.between(stopped, restarting, true));
        let served = reads.iter().filter(|call| call.1.is_none()).count();
        println!(
            "postgres {}: {} reads, {served} served, {} writes refused, slowest write {slowest:?}; writes {healed:?} after it was back",
            if kill { "killed" } else { "stopped" },
            reads.len(),
            writes.len(),
        );
        assert!(served > 0, "hits go on without sql");
        for (took, error) in reads.into_iter().chain(writes.clone()) {
            assert!(error.is_none_or(|e| e.0 == Kind::Unavailable || e.0 == Kind::Overloaded), "{error:?}");
            assert!(took <= CALL + CALL / 4, "invariant violated: every call ends by its deadline: {took:?}");
        }
        assert!(
            writes.iter().all(|call| call.1.is_some_and(|e| e.1 == Outcome::NotApplied)),
            "without a server, nothing is applied"
        );
    }
    load.end(tasks, &schema).await;
}
