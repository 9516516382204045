//! SQL under others: its sessions are ended again and again, and a rival locks the same rows in the other order, so that the two
//! wait for each other in a circle. Every change lands, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use writeway_back::diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_testkit::harness::{Schema, number};
use writeway_testkit::servers;

use crate::is_long;
use crate::load::{Load, Shape};
use crate::rig::{Rig, builder, cache, eventually, flushed, put_all, table};

const KEYS: usize = 40;
const SESSIONS_LIVE: Duration = Duration::from_millis(200);
/// Shorter than the flusher's lock time-out, so that a circle is found as one.
const FLUSHER_LOOKS: &str = "40ms";

struct Rivals {
    stop: AtomicBool,
    /// Circles in which the rival was the one to go.
    gave_way: AtomicU64,
    locked: AtomicU64,
    ended: AtomicI64,
}

impl Rivals {
    /// Locks all rows from the last to the first, a moment between any two.
    async fn lock_backwards(&self, schema: &Schema) {
        let mut conn = schema.connect().await;
        // It finds a circle late, so that as a rule the flusher goes; not of the schema's name: nobody ends its session.
        conn.batch_execute("SET application_name = 'rival'; SET deadlock_timeout = '5s'").await.expect("set");
        while !self.stop.load(SeqCst) {
            let lock = "BEGIN; SET LOCAL lock_timeout = '2s'; DO $$ DECLARE at INT; BEGIN
                FOR at IN SELECT player FROM scores ORDER BY player DESC LOOP
                    PERFORM 1 FROM scores WHERE game = 1 AND player = at FOR UPDATE;
                    PERFORM pg_sleep(0.001);
                END LOOP; END $$; COMMIT";
            let done = conn.batch_execute(lock).await;
            if done.is_ok() { &self.locked } else { &self.gave_way }.fetch_add(1, SeqCst);
            if done.is_err() {
                conn.batch_execute("ROLLBACK").await.expect("rolled back");
            }
            // Lets the flusher have its turns.
            Tokio.sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end_sessions(&self, database: &str, schema: &Schema) {
        let mut stranger = AsyncPgConnection::establish(database).await.expect("the database lets us in");
        while !self.stop.load(SeqCst) {
            Tokio.sleep(SESSIONS_LIVE).await;
            self.ended.fetch_add(schema.end_sessions(&mut stranger).await, SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the load of a test")]
fn start(rig: &Rig, sessions: bool, rival: bool) -> (Arc<Rivals>, Vec<tokio::task::JoinHandle<()>>) {
    let rivals = Arc::new(Rivals {
        stop: AtomicBool::new(false),
        gave_way: AtomicU64::new(0),
        locked: AtomicU64::new(0),
        ended: AtomicI64::new(0),
    });
    let mut tasks = Vec::new();
    if rival {
        let (rivals, schema) = (rivals.clone(), rig.schema.clone());
        tasks.push(tokio::spawn(async move { rivals.lock_backwards(&schema).await }));
    }
    if sessions {
        let (rivals, schema, database) = (rivals.clone(), rig.schema.clone(), rig.given.database.clone());
        tasks.push(tokio::spawn(async move { rivals.end_sessions(&database, &schema).await }));
    }
    (rivals, tasks)
}

/// Under the rivals until so many batches are flushed; then everything is there, once.
async fn all_land_once(rig: &Rig, sessions: bool, rival: bool) -> Arc<Rivals> {
    let schema = rig.schema.without_fsync().with("deadlock_timeout", FLUSHER_LOOKS);
    let handle = builder(table(&schema).await).build(cache(&rig.given).await).await.expect("build");
    let load = Load::start(&handle, Shape { keys: KEYS, deletes: true, ..Shape::default() });
    load.goes_on().await;
    flushed(&handle).await;
    let before = handle.stats().await.expect("stats");
    let (rivals, tasks) = start(rig, sessions, rival);
    let (retries, batches) = if is_long() { (1_000, 1_000) } else { (12, 20) };
    eventually("retries and flushes", async || {
        let stats = handle.stats().await.ok()?;
        (stats.retries >= before.retries + retries && stats.batches >= before.batches + batches).then_some(())
    })
    .await;
    let during = handle.stats().await.expect("stats");
    rivals.stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("no rival panics");
    }
    load.stop().await;
    flushed(&handle).await;
    println!("{}; then {during:?}", load.counts());
    load.answers_are_right();
    let verdict = load.verdict(&rig.ledger).await;
    assert_eq!(verdict, Default::default(), "invariant violated: every change lands, once and in order");
    let stats = handle.stats().await.expect("stats");
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: what others do to sql dead-letters nothing");
    rivals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_land_once_while_sessions_are_ended() {
    let Some(rig) = Rig::new("sessions").await else { return };
    let rivals = all_land_once(&rig, true, false).await;
    println!("{} sessions ended", rivals.ended.load(SeqCst));
    assert!(rivals.ended.load(SeqCst) >= 10, "the harness did too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_land_once_among_deadlocks() {
    let postgres = servers::Postgres::from_env().expect("postgres starts");
    let Some(rig) = Rig::new("deadlocks").await else { return };
    let Some(rig) = rig.with_postgres(postgres.as_ref()).await else { return };
    let rivals = all_land_once(&rig, false, true).await;
    let mut conn = rig.schema.connect().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    // The server counts when the session's transaction has ended, and some time after.
    eventually("the server's count", async || (number(&mut conn, deadlocks).await >= 5).then_some(())).await;
    let (locked, gave_way) = (rivals.locked.load(SeqCst), rivals.gave_way.load(SeqCst));
    println!(
        "{} deadlocks; the rival locked all {locked} times, and gave way {gave_way} times",
        number(&mut conn, deadlocks).await
    );
    assert!(locked > 0, "the harness did too little");
}

/// A transaction of somebody's that stays open: in a console, in a long report.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_holds_waits_for_him() {
    let Some(rig) = Rig::new("held").await else { return };
    let handle = rig.handle().await;
    drop(put_all(&handle, 1_000..1_010, 1).await);
    flushed(&handle).await;
    let mut holder = rig.schema.connect().await;
    let hold = "SET application_name = 'holder'; BEGIN; SELECT 1 FROM scores WHERE player = 1003 FOR UPDATE";
    holder.batch_execute(hold).await.expect("held");
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    drop(put_all(&handle, 1_000..1_010, 2).await);
    let others = (1_000..1_010).filter(|player| *player != 1_003);
    eventually("the other rows to land", async || {
        let rows = rig.steps_of(1_000..1_010).await;
        others.clone().all(|player| rows[&player].ends_with(&[2])).then_some(())
    })
    .await;
    let until = Tokio.now() + Duration::from_secs(if is_long() { 40 } else { 4 });
    while Tokio.now() < until {
        load.goes_on().await;
        let dead = handle.stats().await.expect("redis answers").dead;
        assert_eq!(dead, 0, "invariant violated: a row that somebody holds is not set aside");
    }
    holder.batch_execute("COMMIT").await.expect("let go");
    load.stop().await;
    // What was held back has its pause before it is tried again.
    eventually("the row to land", async || rig.steps_of(1_003..1_004).await[&1_003].ends_with(&[2]).then_some(())).await;
    flushed(&handle).await;
    let stats = handle.stats().await.expect("stats");
    println!("held: {}; {stats:?}", load.counts());
    load.answers_are_right();
    assert_eq!(load.verdict(&rig.ledger).await, Default::default(), "invariant violated: every change lands, once and in order");
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: what others do to sql dead-letters nothing");
}
