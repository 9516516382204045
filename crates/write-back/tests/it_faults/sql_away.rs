//! SQL goes away under load: the journal fills up to its bound, callers are told, and afterwards everything drains.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::{Kind, Outcome, Overflow};
use writeway_testkit::harness::score;
use writeway_testkit::servers;

use crate::is_long;
use crate::rig::{Handle, Rig, eventually, flushed};

const MAX_DIRTY: usize = 800;
const WRITERS: i32 = 4;
const KEYS_OF_EACH: i32 = 1_000;

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    accepted: Mutex<BTreeMap<i32, i64>>,
    overloaded: AtomicU64,
    others: Mutex<Vec<String>>,
}

#[expect(clippy::disallowed_methods, reason = "the load of a test")]
fn write(handle: &Handle, load: &Arc<Load>, writer: i32) -> tokio::task::JoinHandle<()> {
    let (handle, load) = (handle.clone(), load.clone());
    tokio::spawn(async move {
        for n in 1.. {
            for player in writer * KEYS_OF_EACH..(writer + 1) * KEYS_OF_EACH {
                if load.stop.load(SeqCst) {
                    return;
                }
                match handle.put(score(player, n)).await {
                    Ok(_) => drop(load.accepted.lock().expect("no panic").insert(player, n)),
                    Err(e) if (e.kind(), e.outcome()) == (Kind::Overloaded, Outcome::NotApplied) => {
                        load.overloaded.fetch_add(1, SeqCst);
                    }
                    Err(e) => load.others.lock().expect("no panic").push(format!("{e:?}")),
                }
                // Paces the load.
                Tokio.sleep(Duration::from_millis(1)).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_sql_the_journal_fills_to_its_bound_and_drains_afterwards() {
    let mut postgres = servers::Postgres::from_env().expect("postgres starts");
    let Some(rig) = Rig::new("sql_away").await else { return };
    let Some(rig) = rig.with_postgres(postgres.as_ref()).await else { return };
    let postgres = postgres.as_mut().expect("it is there");
    let handle = rig.build(|builder| builder.max_dirty(MAX_DIRTY).on_overflow(Overflow::Reject)).await;
    let patient = rig.build(|builder| builder.max_dirty(MAX_DIRTY)).await;
    let load = Arc::new(Load::default());
    let writers: Vec<_> = (0..WRITERS).map(|writer| write(&handle, &load, writer)).collect();
    eventually("writes", async || (load.accepted.lock().expect("no panic").len() > 500).then_some(())).await;

    tokio::task::block_in_place(|| postgres.stop()).expect("stopped");
    eventually("a full journal", async || (load.overloaded.load(SeqCst) >= 200).then_some(())).await;
    let away = Tokio.now();
    let (mut n, mut told, mut others) = (1, 0, 0);
    let (mut most, until) = (0, away + Duration::from_secs(if is_long() { 60 } else { 4 }));
    while Tokio.now() < until {
        most = most.max(handle.stats().await.expect("redis answers").dirty);
        // Whoever waits for room is told by his deadline.
        match patient.put(score(WRITERS * KEYS_OF_EACH, n)).await.map_err(|e| (e.kind(), e.outcome())) {
            Err((Kind::Overloaded, Outcome::NotApplied)) => told += 1,
            // On a machine that stalls, the answer to his last try may come too late.
            Ok(_) | Err((Kind::Unavailable, Outcome::Unknown)) => others += 1,
            Err(other) => panic!("invariant violated: a full journal is a typed answer: {other:?}"),
        }
        n += 1;
    }
    assert!(told > others, "invariant violated: a full journal is a typed answer: {told} times, {others} times not");
    let overloaded = load.overloaded.load(SeqCst);
    tokio::task::block_in_place(|| postgres.restart()).expect("restarted");
    drop(eventually("room", async || handle.put(score(WRITERS * KEYS_OF_EACH + 1, 1)).await.ok()).await);
    load.stop.store(true, SeqCst);
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    flushed(&handle).await;
    let (stats, rows) = (handle.stats().await.expect("stats"), rig.ascending().await);
    println!("SQL was away for {:?}: at most {most} on their way, {overloaded} refused; then {stats:?}", until - away);
    assert_eq!(*load.others.lock().expect("no panic"), [""; 0], "invariant violated: a full journal is a typed answer");
    assert!(most <= MAX_DIRTY as u64, "invariant violated: the journal is bounded: {most}");
    assert!(most >= MAX_DIRTY as u64 / 2 && stats.retries > 0, "the harness did too little");
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: an outage dead-letters nothing, and everything drains");
    for (player, n) in &*load.accepted.lock().expect("no panic") {
        assert_eq!(rows[player].last(), Some(n), "invariant violated: what was accepted is in sql");
    }
}

/// Puts one after the other, some at once, about so many a second all together.
#[expect(clippy::disallowed_methods, reason = "the load of a test")]
fn put_on(handle: &Handle, load: &Arc<Load>, task: i32) -> tokio::task::JoinHandle<()> {
    let (handle, load) = (handle.clone(), load.clone());
    tokio::spawn(async move {
        let (started, pace) = (Tokio.now(), Duration::from_secs(1) * TASKS.unsigned_abs() / PUTS_PER_SECOND);
        for n in 1.. {
            if load.stop.load(SeqCst) {
                return;
            }
            // All tasks together go through all keys, and each through its own.
            let at = i32::try_from((n - 1) % i64::from(KEYS / TASKS)).unwrap_or(0);
            let player = at * TASKS + task;
            match handle.put(score(player, n)).await {
                Ok(_) => drop(load.accepted.lock().expect("no panic").insert(player, n)),
                Err(e) => load.others.lock().expect("no panic").push(format!("{e:?}")),
            }
            let next = started + pace * u32::try_from(n).unwrap_or(u32::MAX);
            Tokio.sleep(next.saturating_sub(Tokio.now())).await;
        }
    })
}

const PUTS_PER_SECOND: u32 = 5_000;
const TASKS: i32 = 50;
const KEYS: i32 = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_puts_a_second_outlive_an_outage() {
    let mut postgres = servers::Postgres::from_env().expect("postgres starts");
    let Some(rig) = Rig::new("outage").await else { return };
    let Some(rig) = rig.with_postgres(postgres.as_ref()).await else { return };
    let postgres = postgres.as_mut().expect("it is there");
    let handle = rig.build(|builder| builder.max_dirty(1_000_000).max_dirty_bytes(1 << 30)).await;
    let load = Arc::new(Load::default());
    let tasks: Vec<_> = (0..TASKS).map(|task| put_on(&handle, &load, task)).collect();
    let (accepted, outage) = (async || handle.stats().await.ok().map(|stats| stats.accepted), if is_long() { 60 } else { 5 });
    eventually("writes", async || accepted().await.filter(|accepted| *accepted > 2_000)).await;

    tokio::task::block_in_place(|| postgres.stop()).expect("stopped");
    let (away, before) = (Tokio.now(), accepted().await.expect("redis answers"));
    Tokio.sleep(Duration::from_secs(outage)).await;
    let meanwhile = accepted().await.expect("redis answers") - before;
    let waiting = handle.stats().await.expect("redis answers").dirty;
    let lasted = Tokio.now() - away;
    tokio::task::block_in_place(|| postgres.restart()).expect("restarted");
    let back = Tokio.now();
    // Under the same load.
    eventually("most to drain", async || handle.stats().await.ok().filter(|stats| stats.dirty < waiting / 4)).await;
    let drained = Tokio.now() - back;
    load.stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("no task panics");
    }
    flushed(&handle).await;
    let (stats, rows) = (handle.stats().await.expect("stats"), rig.ascending().await);
    println!(
        "SQL was away for {lasted:?}: {meanwhile} accepted meanwhile, {waiting} rows waited, most drained in {drained:?}; {stats:?}"
    );
    assert_eq!(*load.others.lock().expect("no panic"), [""; 0], "invariant violated: nothing is refused below the bound");
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: an outage dead-letters nothing, and everything drains");
    for (player, n) in &*load.accepted.lock().expect("no panic") {
        assert_eq!(rows[player].last(), Some(n), "invariant violated: what was accepted is in sql");
    }
    // A loaded machine makes fewer.
    assert!(meanwhile >= outage * 1_000, "the harness did too little: {meanwhile} puts");
}
