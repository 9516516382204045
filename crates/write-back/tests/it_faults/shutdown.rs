//! SIGTERM with ten thousand changes on their way: the worker drains for as long as it may, and says the exact rest.

use std::time::Duration;

use nix::sys::signal::Signal;
use writeway_testkit::harness::{Job, number};

use crate::rig::{FLUSH, Rig, flushed};
use crate::worker::{Like, Mate, work};

const ROWS: u64 = 10_000;
/// Nothing is due before the end.
const IDLE: Like = Like { delay: Duration::from_secs(600), flush: FLUSH, batch: 10_000 };

/// A worker with so many changes, told to end. Gives what it says that it flushed, and left.
async fn ended(rig: &Rig, test: &str, like: Like) -> (u64, u64) {
    let mut worker = Mate::start(test, &rig.given, &rig.schema, like).await;
    worker.ask(&format!("put 0 {ROWS} 1")).await;
    worker.signal(Signal::SIGTERM);
    let drained = worker.numbers("drained").await;
    tokio::task::block_in_place(|| worker.worker.wait());
    (drained[0], drained[1])
}

async fn rows(rig: &Rig) -> u64 {
    let count = number(&mut rig.schema.connect().await, "SELECT count(*) FROM scores").await;
    u64::try_from(count).expect("a count")
}

/// What is left, and nothing else, is flushed by the next process.
async fn succeeded(rig: &Rig, left: u64) {
    let status = rig.status().await;
    assert_eq!(status.dirty + status.open, left, "invariant violated: the exact rest is told");
    let successor = rig.handle().await;
    flushed(&successor).await;
    let stats = successor.stats().await.expect("stats");
    assert_eq!((stats.flushed, stats.dirty), (left, 0), "invariant violated: a successor drains exactly the rest");
    assert_eq!(rows(rig).await, ROWS);
    rig.ascending().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_told_to_end_drains() {
    let test = "shutdown::a_worker_told_to_end_drains";
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("drains").await else { return };
    // Batches that end within the server's own time-outs, also on a busy machine.
    let (flushed, left) = ended(&rig, test, Like { batch: 500, ..IDLE }).await;
    println!("SIGTERM: {flushed} flushed after it, {left} left");
    assert_eq!(rows(&rig).await, ROWS - left, "invariant violated: the exact rest is told");
    succeeded(&rig, left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_sql_stands_still_tells_the_rest() {
    let test = "shutdown::a_worker_whose_sql_stands_still_tells_the_rest";
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("stands").await else { return };
    let lock = rig.block_sql().await;
    let (flushed, left) = ended(&rig, test, IDLE).await;
    assert_eq!((flushed, left), (0, ROWS), "invariant violated: the exact rest is told");
    lock.release().await;
    succeeded(&rig, left).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_sql_is_slow_tells_the_rest() {
    let test = "shutdown::a_worker_whose_sql_is_slow_tells_the_rest";
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("slow").await else { return };
    let slow = "CREATE FUNCTION slow() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON scores FOR EACH STATEMENT EXECUTE FUNCTION slow();";
    rig.schema.run(slow).await;
    let (flushed, left) = ended(&rig, test, Like { batch: 500, ..IDLE }).await;
    println!("SIGTERM, slow SQL: {flushed} flushed after it, {left} left");
    assert!(flushed > 0 && left > 0, "the harness did too little");
    // Each batch takes 0.3 s at least: four begin within the time, and one of before it may end in it.
    assert!(flushed <= 5 * 500, "invariant violated: when the time is over, only what is under way in sql is waited for");
    assert_eq!(rows(&rig).await, ROWS - left, "invariant violated: the exact rest is told");
    rig.schema.run("DROP TRIGGER slow ON scores").await;
    succeeded(&rig, left).await;
}
