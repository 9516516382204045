//! Faults that somebody makes by hand: scripts forgotten, clients ended or paused, a server that sleeps; a database that is read
//! only, lets nobody in, has its table locked or renamed. Nothing is lost, nothing set aside, and all goes on by itself.

use std::time::Duration;

use writeway_back::diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_testkit::servers;

use crate::load::{Load, Shape};
use crate::rig::{Handle, Rig, eventually, flushed};

/// How long a fault of SQL lasts: several tries of every shard.
const LASTS: Duration = Duration::from_secs(2);

/// Reads, writes and flushes succeed (again).
async fn goes_on(handle: &Handle, load: &Load, after: &str) {
    let batches = async || Some(handle.stats().await.ok()?.batches);
    let since = Tokio.now();
    load.goes_on().await;
    let before = eventually("a look", batches).await;
    eventually(&format!("flushes after: {after}"), async || batches().await.filter(|now| *now >= before + 4)).await;
    println!("{after}: went on after {:?}", Tokio.now() - since);
}

async fn ends_well(rig: &Rig, handle: &Handle, load: &Load) {
    load.stop().await;
    flushed(handle).await;
    let stats = handle.stats().await.expect("stats");
    println!("{}; {stats:?}", load.counts());
    load.answers_are_right();
    let verdict = load.verdict(&rig.ledger).await;
    assert_eq!(verdict, Default::default(), "invariant violated: every answer is true, and everything lands once");
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: what is not a row's fault dead-letters nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_redis_by_hand_passes() {
    let Some(rig) = Rig::new("hand_redis").await else { return };
    let handle = rig.handle().await;
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    goes_on(&handle, &load, "the start").await;
    for _ in 0..2 {
        for command in [
            &["SCRIPT", "FLUSH"][..],
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
            &["CLIENT", "PAUSE", "1300", "WRITE"],
            &["CLIENT", "PAUSE", "1300", "ALL"],
            &["DEBUG", "SLEEP", "1.3"],
            &["BGREWRITEAOF"],
            &["CONFIG", "SET", "timeout", "1"],
            &["CONFIG", "SET", "timeout", "0"],
        ] {
            rig.resp().call(command).expect("redis answers");
            goes_on(&handle, &load, &command.join(" ")).await;
        }
    }
    ends_well(&rig, &handle, &load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_sql_by_hand_passes() {
    let postgres = servers::Postgres::from_env().expect("postgres starts");
    let Some(rig) = Rig::new("hand_sql").await else { return };
    let Some(rig) = rig.with_postgres(postgres.as_ref()).await else { return };
    let handle = rig.handle().await;
    let load = Load::start(&handle, Shape { deletes: true, rejecting: true, ..Shape::default() });
    goes_on(&handle, &load, "the start").await;
    // From a database that stays as it is.
    let server = rig.given.database.strip_suffix("/postgres").expect("the test's own");
    let elsewhere = format!("{server}/template1");
    let mut hand = AsyncPgConnection::establish(&elsewhere).await.expect("the database lets us in");
    for (what, undo) in [
        (
            "ALTER DATABASE postgres SET default_transaction_read_only = on",
            "ALTER DATABASE postgres RESET default_transaction_read_only",
        ),
        ("ALTER DATABASE postgres ALLOW_CONNECTIONS false", "ALTER DATABASE postgres ALLOW_CONNECTIONS true"),
    ] {
        hand.batch_execute(what).await.expect("done");
        rig.schema.end_sessions(&mut hand).await;
        Tokio.sleep(LASTS).await;
        hand.batch_execute(undo).await.expect("undone");
        rig.schema.end_sessions(&mut hand).await;
        goes_on(&handle, &load, what).await;
    }
    for (what, undo) in [
        ("ALTER TABLE scores RENAME TO gone", "ALTER TABLE gone RENAME TO scores"),
        ("ALTER TABLE writeway_fence RENAME TO gone", "ALTER TABLE gone RENAME TO writeway_fence"),
        ("ALTER TABLE writeway_batch RENAME TO gone", "ALTER TABLE gone RENAME TO writeway_batch"),
        ("BEGIN; LOCK TABLE scores", "COMMIT"),
        ("BEGIN; LOCK TABLE writeway_fence", "COMMIT"),
    ] {
        let mut conn = rig.schema.connect().await;
        conn.batch_execute(&format!("SET application_name = 'hand'; {what}")).await.expect("done");
        Tokio.sleep(LASTS).await;
        conn.batch_execute(undo).await.expect("undone");
        goes_on(&handle, &load, what).await;
    }
    ends_well(&rig, &handle, &load).await;
}
