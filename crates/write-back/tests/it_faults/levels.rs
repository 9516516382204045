//! Accept levels and drifting settings on real servers: what was acknowledged at a level is there after what the level covers.

use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::{Drift, Kind, Level, Outcome};
use writeway_testkit::harness::score;
use writeway_testkit::proxy::{Proxy, Rule};
use writeway_testkit::servers;

use crate::rig::{Handle, Rig, builder, cache, eventually, flushed, put_all, table};

/// The handle's own, and what a loaded machine may add.
const CALL: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);
/// Nothing is flushed before the failover.
const LATER: Duration = Duration::from_secs(600);
const REPLICATED: Level = Level::Replicated(1);

fn set(rig: &Rig, name: &str, value: &str) {
    let mut redis = servers::Resp::connect(&format!("127.0.0.1:{}", rig.redis.port())).expect("redis");
    redis.call(&["CONFIG", "SET", name, value]).expect("set");
}

async fn refused(rig: &Rig, level: Level) -> (Kind, String) {
    let built = builder(table(&rig.schema).await).accept_level(level).build(cache(&rig.given).await).await;
    let e = built.map(drop).expect_err("refused");
    (e.kind(), e.to_string())
}

/// Accepted and not confirmed, and told in time.
async fn in_doubt(handle: &Handle, player: i32, points: i64) -> String {
    let asked = Tokio.now();
    let e = handle.put(score(player, points)).await.map(drop).expect_err("not confirmed");
    let told = "invariant violated: what is accepted and not confirmed is in doubt";
    assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::Unknown), "{told}: {e}");
    let took = Tokio.now() - asked;
    assert!(took < CALL + SLACK, "invariant violated: every call ends by its deadline: {took:?}");
    e.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stands_still_leaves_writes_in_doubt_and_loses_none() {
    let Some(rig) = Rig::new("level_replica").await else { return };
    let (kind, text) = refused(&rig, REPLICATED).await;
    assert!(kind == Kind::Unavailable && text.contains("has 0 replicas"), "{text}");
    let mut replica = rig.redis.replica().expect("a replica");
    let handle = rig.build(|builder| builder.accept_level(REPLICATED).durable_claims()).await;
    drop(put_all(&handle, 0..20, 1).await);
    flushed(&handle).await;

    replica.pause().expect("paused");
    for player in 0..3 {
        in_doubt(&handle, player, 2).await;
        assert_eq!(handle.get(&(1, player)).await.expect("get").map(|row| row.points), Some(2), "reads see what was accepted");
    }
    assert_eq!(handle.stats().await.expect("stats").unconfirmed, 3);
    let steps = rig.ascending().await;
    assert!(
        steps.values().all(|steps| *steps == [1]),
        "invariant violated: a claim is confirmed before it is flushed: {steps:?}"
    );

    replica.resume().expect("resumed");
    let _ = eventually("a confirmed put", async || handle.put(score(5, 2)).await.ok()).await;
    flushed(&handle).await;
    let steps = rig.ascending().await;
    for player in [0, 1, 2] {
        assert_eq!(steps[&player], [1, 2], "invariant violated: what is accepted reaches sql, confirmed or not");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_that_lagged_has_all_that_was_confirmed() {
    let Some(mut rig) = Rig::new("level_failover").await else { return };
    let proxy = Proxy::start(format!("127.0.0.1:{}", rig.redis.port())).await.expect("a proxy");
    let replica = tokio::task::block_in_place(|| rig.redis.replica_through(proxy.port())).expect("a replica");
    let confirmed = rig.build(|builder| builder.accept_level(REPLICATED).max_delay(LATER)).await;
    let in_memory = rig.build(|builder| builder.max_delay(LATER)).await;
    drop(put_all(&confirmed, 0..50, 1).await);
    // What follows does not reach the replica.
    proxy.set(Rule::Stall);
    drop(put_all(&in_memory, 50..60, 1).await);
    in_doubt(&confirmed, 60, 1).await;
    tokio::task::block_in_place(|| rig.redis.kill()).expect("killed");
    proxy.kill_all();
    drop((confirmed, in_memory));

    let mut redis = servers::Resp::connect(&format!("127.0.0.1:{}", replica.port())).expect("redis");
    redis.call(&["REPLICAOF", "NO", "ONE"]).expect("promoted");
    let after = rig.given.clone().with_redis(replica.url());
    let handle: Handle = builder(table(&rig.schema).await).max_delay(LATER).build(cache(&after).await).await.expect("build");
    flushed(&handle).await;
    let steps = rig.ascending().await;
    let there = |players: std::ops::Range<i32>| players.filter(|player| steps.contains_key(player)).count();
    println!("after the failover, of 50 confirmed: {}, of 10 in memory: {}", there(0..50), there(50..60));
    assert_eq!(there(0..50), 50, "invariant violated: nothing confirmed is lost");
    assert_eq!(there(50..60), 0, "the replica did not lag, so that nothing was shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_evicts_is_refused_at_the_start_and_found_later() {
    let Some(rig) = Rig::new("level_drift").await else { return };
    set(&rig, "maxmemory-policy", "allkeys-lru");
    let (kind, text) = refused(&rig, Level::Memory).await;
    assert!(kind == Kind::Invalid && text.contains("allkeys-lru"), "invariant violated: unsafe settings are refused: {text}");
    set(&rig, "maxmemory-policy", "noeviction");

    let often = Duration::from_secs(1);
    let refuses = rig.build(|builder| builder.recheck_every(often).on_drift(Drift::Refuse)).await;
    let reports = rig.build(|builder| builder.recheck_every(often)).await;
    drop(put_all(&refuses, 0..5, 1).await);
    set(&rig, "maxmemory-policy", "allkeys-lru");
    let e = eventually("a refusal", async || refuses.put(score(1, 2)).await.err()).await;
    assert!(e.is_retryable() && e.to_string().contains("allkeys-lru"), "{e}");
    assert!(refuses.get(&(1, 1)).await.expect("reads go on").is_some());
    eventually("an event", async || (reports.stats().await.ok()?.drifts == 1).then_some(())).await;
    drop(put_all(&reports, 5..6, 1).await);
    set(&rig, "maxmemory-policy", "noeviction");
    let _ = eventually("it is mended", async || refuses.put(score(1, 3)).await.ok()).await;
    flushed(&refuses).await;
    assert_eq!(refuses.stats().await.expect("stats").drifts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_waited_for_any_more_confirms_nothing() {
    let Some(rig) = Rig::new("level_disk").await else { return };
    let mut redis = servers::Resp::connect(&format!("127.0.0.1:{}", rig.redis.port())).expect("redis");
    let waits = redis.call(&["WAITAOF", "0", "0", "1"]).is_ok();
    if !waits {
        let (kind, text) = refused(&rig, Level::LocalFsync).await;
        assert!(kind == Kind::Invalid && text.contains("appendfsync is everysec"), "{text}");
    }
    set(&rig, "appendfsync", "always");
    let handle = rig.build(|builder| builder.accept_level(Level::LocalFsync)).await;
    drop(put_all(&handle, 0..20, 1).await);
    set(&rig, "appendfsync", "no");
    let text = in_doubt(&handle, 3, 2).await;
    assert!(waits || text.contains("appendfsync is no"), "{text}");
    set(&rig, "appendfsync", "always");
    let _ = eventually("a confirmed put", async || handle.put(score(3, 3)).await.ok()).await;
    flushed(&handle).await;
    assert_eq!(rig.ascending().await[&3].last(), Some(&3));
}
