//! A backlog far larger than a batch drains in memory that does not grow with it.

use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_testkit::harness::{Job, number};
use writeway_testkit::servers::Resp;

use crate::is_long;
use crate::rig::{DELAY, Rig, builder, cache, table, write_all};
use crate::worker::{Like, Mate, work};

/// What a process may need besides what it needs to start: for a few batches, however many wait behind them.
const GROWTH: u64 = 16 << 20;
/// Few enough that nothing is flushed for their number.
const ROWS_OF_A_SHARD: i32 = 8_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_drains_in_bounded_memory() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("backlog").await else { return };
    let rows = if is_long() { 1_000_000 } else { 100_000 };
    // What is watched is our side.
    rig.schema
        .run("DROP TRIGGER apply ON scores; DROP TRIGGER stamp ON scores; ALTER TABLE scores ALTER version SET DEFAULT 0")
        .await;
    let mut redis = Resp::connect(&format!("127.0.0.1:{}", rig.redis.port())).expect("redis lets us in");
    redis.call(&["CONFIG", "SET", "slowlog-log-slower-than", "20000"]).expect("set");

    let shards = u16::try_from(rows / ROWS_OF_A_SHARD + 1).expect("few");
    let filler = builder(table(&rig.schema).await).shards(shards).max_delay(Duration::from_secs(3600)).max_batch(10_000);
    let filler = filler.max_dirty(10_000_000).max_dirty_bytes(4 << 30).call_timeout(Duration::from_secs(20));
    let filler = filler.build(cache(&rig.given).await).await.expect("build");
    write_all(&filler, 0..rows, 1).await;
    let waiting = filler.stats().await.expect("stats").dirty;
    assert_eq!(waiting, u64::try_from(rows).expect("a count"), "the harness did too little");
    drop(filler);

    let like = Like { delay: DELAY, flush: Duration::from_secs(5), batch: 1_000 };
    let test = "backlog::a_backlog_drains_in_bounded_memory";
    let hold = rig.block_sql().await;
    let mut worker = Mate::start(test, &rig.given, &rig.schema, like).await;
    let (before, started) = (worker.worker.peak_memory(), Tokio.now());
    hold.release().await;
    worker.ask("flush").await;
    let (after, took) = (worker.worker.peak_memory(), Tokio.now() - started);
    let in_sql = number(&mut rig.schema.connect().await, "SELECT count(*) FROM scores").await;
    assert_eq!(in_sql, i64::from(rows), "invariant violated: everything drains");
    println!("{rows} rows drained in {took:?}; memory {before:?}, then {after:?}; {}", slow_scripts(&mut redis));
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after - before <= GROWTH, "invariant violated: a backlog drains in bounded memory: {}", after - before);
    }
}

/// How many commands took more than 20 ms, and how long the slowest took. On a busy machine some do for no fault of ours.
fn slow_scripts(redis: &mut Resp) -> String {
    let slow = redis.call(&["SLOWLOG", "LEN"]).expect("redis answers").concat();
    let longest = redis.call(&["INFO", "commandstats"]).expect("redis answers");
    let scripts = longest.iter().flat_map(|text| text.lines()).find(|line| line.starts_with("cmdstat_evalsha:"));
    format!("{slow} commands over 20 ms; {}", scripts.unwrap_or("no scripts"))
}
