//! The adapter on a server that dies, freezes, forgets, fills up or changes its role. Every test has a server of its own.

mod redis_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis_support::*;
use writeway_core::cache::{Ask, Barriers, BeginBy, BoxFuture, Declaration, Entries, Finished, Lease, Lookup};
use writeway_core::error::{Kind, Outcome, Result};
use writeway_core::redis::Redis;
use writeway_core::runtime::{Runtime, Tokio};
use writeway_testkit::servers;

/// The limits of these tests' handles: a call ends within both together.
const RESPONSE: Duration = Duration::from_millis(200);
const CHECKOUT: Duration = Duration::from_millis(200);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_millis(800);

async fn connect(server: &servers::Redis) -> Redis {
    let builder = Redis::builder(server.url()).response_timeout(RESPONSE).checkout_timeout(CHECKOUT);
    builder.connect().await.expect("a server")
}

/// A handle that waits longer than the machine may stall.
async fn connect_patient(server: &servers::Redis) -> Redis {
    let long = Duration::from_secs(10);
    Redis::builder(server.url()).response_timeout(long).checkout_timeout(long).connect().await.expect("a server")
}

async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Tokio.now();
    let answer = call.await;
    (answer, Tokio.now() - start)
}

fn assert_unavailable<T: std::fmt::Debug>(result: Result<T>) {
    let error = refused(result);
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotApplied), "{error}");
}

async fn heals(redis: &Redis, k: &Vec<u8>) {
    eventually("a write that succeeds", async || write(redis, k, "healed").await.ok()).await;
    assert_eq!(get(redis, k).await.ok(), Some(hit("healed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_loaded_again_whenever_it_happens() {
    let Some(server) = own() else { return };
    let redis = connect_patient(&server).await;
    let done = Arc::new(AtomicBool::new(false));
    let (url, stop) = (server.url(), done.clone());
    Tokio.spawn(
        "flush the scripts",
        Box::pin(async move {
            let mut raw = raw(&url).await;
            while !stop.load(Ordering::Relaxed) {
                tell(&mut raw, &["SCRIPT", "FLUSH", "SYNC"]).await.expect("flushed");
            }
        }),
    );
    let keys: Vec<_> = (0..50).map(|n| key(n.to_string())).collect();
    for round in 0..200 {
        let asks: Vec<_> = keys.iter().map(|k| Ask { key: k.clone(), id: id(round), discard: true }).collect();
        let leases = redis.lease(&asks, HOLD).await.expect("leased");
        assert_eq!(leases, vec![Lease::Granted(id(round)); keys.len()]);
        redis.begin(&keys, id(1), soon()).await.expect("placed");
        for k in &keys[..3] {
            assert_eq!(finish(&redis, k, 1, Some("x")).await.ok(), Some(Finished::Published));
        }
        redis.invalidate(&keys).await.expect("voided");
        let ends: Vec<_> = keys.iter().map(|k| writeway_core::cache::Finish { key: k.clone(), publish: None }).collect();
        redis.finish(&ends, id(1)).await.expect("ended");
    }
    done.store(true, Ordering::Relaxed);
    let mut raw = raw(&server.url()).await;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut raw).await.expect("stats");
    let calls = |name: &str| stats.lines().find(|line| line.starts_with(name)).is_some();
    assert!(calls("cmdstat_script|load") && calls("cmdstat_script|flush"), "nothing was forgotten:\n{stats}");
}

#[tokio::test]
async fn killed_connections_are_replaced_within_the_call() {
    let Some(server) = own() else { return };
    let redis = connect_patient(&server).await;
    let mut raw = raw(&server.url()).await;
    let k = key("1");
    for round in 0..20 {
        tell(&mut raw, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.expect("killed");
        assert_eq!(write(&redis, &k, "x").await.ok(), Some(Finished::Published), "round {round}");
    }
}

#[tokio::test]
async fn a_frozen_server_costs_a_bounded_time_then_next_to_nothing_and_heals() {
    let Some(mut server) = own() else { return };
    let redis = connect(&server).await;
    let k = key("1");
    write(&redis, &k, "x").await.expect("written");
    server.pause().expect("paused");
    for n in 0..5 {
        let (answer, took) = timed(get(&redis, &k)).await;
        assert_unavailable(answer);
        assert!(took <= RESPONSE + CHECKOUT + SLACK, "call {n} took {took:?}");
    }
    // Open by now. Half-open probes may come in between, so the quickest of a few calls is looked at.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let (answer, took) = timed(begin(&redis, &k, 1)).await;
        assert_unavailable(answer);
        quickest = quickest.min(took);
    }
    assert!(quickest < Duration::from_millis(20), "an open breaker took {quickest:?}");
    server.resume().expect("resumed");
    let start = Tokio.now();
    heals(&redis, &k).await;
    assert!(Tokio.now() - start < Duration::from_secs(5), "within 5 s of its return");
}

#[tokio::test]
async fn a_dead_server_is_unavailable_and_its_successor_is_used() {
    let Some(mut server) = own() else { return };
    let redis = connect(&server).await;
    let k = key("1");
    redis
        .declare(&Declaration { namespace: "users".into(), mode: "strict", no_eviction: true, persistence: false })
        .await
        .expect("declared");
    write(&redis, &k, "x").await.expect("written");
    server.kill().expect("killed");
    for _ in 0..8 {
        let (answer, took) = timed(get(&redis, &k)).await;
        assert_unavailable(answer);
        assert!(took <= RESPONSE + CHECKOUT + SLACK, "{took:?}");
    }
    let (answer, took) = timed(Redis::builder(server.url()).connect()).await;
    assert_unavailable(answer);
    assert!(took < Duration::from_secs(1) + SLACK);

    // The successor knows nothing.
    std::fs::remove_dir_all(server.dir().join("appendonlydir")).expect("removed");
    server.restart().expect("restarted");
    let found = eventually("an answer", async || get(&redis, &k).await.ok()).await;
    assert_eq!(found, Lookup::Miss);
    let mut raw = raw(&server.url()).await;
    let mode: Option<String> = redis::cmd("GET").arg("writeway:users").query_async(&mut raw).await.expect("an answer");
    assert_eq!(mode.as_deref(), Some("strict"), "recorded anew");
    heals(&redis, &k).await;
}

#[tokio::test]
async fn a_demoted_master_is_left_and_used_again_when_promoted() {
    let (Some(server), Some(master)) = (own(), own()) else { return };
    let redis = connect(&server).await;
    let k = key("1");
    write(&redis, &k, "x").await.expect("written");
    let mut raw = raw(&server.url()).await;
    tell(&mut raw, &["REPLICAOF", "127.0.0.1", &master.port().to_string()]).await.expect("demoted");
    assert_unavailable(begin(&redis, &k, 1).await);
    // Reads too: a replica may lag behind.
    assert_unavailable(get(&redis, &k).await);
    assert_unavailable(Redis::connect(server.url()).await);
    tell(&mut raw, &["REPLICAOF", "NO", "ONE"]).await.expect("promoted");
    heals(&redis, &k).await;
}

#[tokio::test]
async fn an_eviction_policy_that_could_remove_barriers_is_refused_at_once_and_later() {
    let Some(server) = own() else { return };
    let mut raw = raw(&server.url()).await;
    let strict = Declaration { namespace: "users".into(), mode: "strict", no_eviction: true, persistence: false };
    tell(&mut raw, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.expect("set");
    let redis = connect(&server).await;
    let error = refused(redis.declare(&strict).await);
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("allkeys-lru") && error.to_string().contains("allow_evictable_barriers()"), "{error}");
    redis.declare(&Declaration { no_eviction: false, ..strict.clone() }).await.expect("accepted by name");

    tell(&mut raw, &["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await.expect("set");
    redis.declare(&strict).await.expect("keys without expiry stay");
    tell(&mut raw, &["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).await.expect("set");
    tell(&mut raw, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.expect("killed");
    let error = refused(begin(&redis, &key("1"), 1).await);
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    tell(&mut raw, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await.expect("set");
    heals(&redis, &key("1")).await;
}

#[tokio::test]
async fn a_full_server_refuses_fills_and_still_ends_writes() {
    let Some(server) = own() else { return };
    let redis = connect(&server).await;
    let mut raw = raw(&server.url()).await;
    let (k, other) = (key("1"), key("2"));
    write(&redis, &k, "x").await.expect("written");
    tell(&mut raw, &["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");
    assert_eq!(get(&redis, &k).await.ok(), Some(hit("x")));
    for _ in 0..8 {
        // A refusal is an answer: the breaker stays closed.
        assert_unavailable(lease(&redis, &other, 1).await);
    }
    begin(&redis, &k, 1).await.expect("placed");
    assert_eq!(finish(&redis, &k, 1, Some("y")).await.ok(), Some(Finished::Published));
    redis.invalidate(std::slice::from_ref(&k)).await.expect("voided");
    tell(&mut raw, &["CONFIG", "SET", "maxmemory", "0"]).await.expect("set");
    assert_eq!(lease(&redis, &other, 1).await.ok(), Some(Lease::Granted(id(1))));
}

#[tokio::test]
async fn calls_that_are_dropped_harm_nobody() {
    let Some(server) = own() else { return };
    let redis = connect_patient(&server).await;
    for n in 0..2000_u64 {
        let (mine, text) = (key(n.to_string()), n.to_string());
        let limit = Tokio.now() + Duration::from_micros(n % 400);
        let cut = writeway_core::tasks::until(&Tokio, limit, write(&redis, &mine, &text)).await;
        if n % 10 == 0 {
            let other = key(format!("whole {n}"));
            assert_eq!(write(&redis, &other, &text).await.ok(), Some(Finished::Published), "after {cut:?}");
            assert_eq!(get(&redis, &other).await.ok(), Some(hit(&text)), "an answer crossed");
        }
    }
}

/// Real time, seen from a clock that can be set.
struct Set(AtomicU64);

impl Runtime for Set {
    fn now(&self) -> Duration {
        Tokio.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Tokio.sleep(d)
    }
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        Tokio.spawn(name, task);
    }
    fn random(&self) -> u128 {
        Tokio.random()
    }
}

#[tokio::test]
async fn the_servers_clock_is_learned_again_from_a_late_answer() {
    let Some(server) = own() else { return };
    let clock = Arc::new(Set(AtomicU64::new(3600)));
    let long = Duration::from_secs(10);
    let builder = Redis::builder(server.url()).runtime(clock.clone()).response_timeout(long).checkout_timeout(long);
    let redis = builder.connect().await.expect("a server");
    let mut raw = raw(&server.url()).await;
    let k = key("1");
    let by = || BeginBy { within: TTL, not_after: clock.now() + Duration::from_secs(20) };
    redis.begin(std::slice::from_ref(&k), id(1), by()).await.expect("placed");
    assert_eq!(scripts_run(&mut raw).await, 1);
    // Our clock goes back by an hour; by the old sample the limit is long over.
    clock.0.store(0, Ordering::Relaxed);
    redis.begin(std::slice::from_ref(&k), id(2), by()).await.expect("placed at the second try");
    assert_eq!(scripts_run(&mut raw).await, 3);
    redis.begin(std::slice::from_ref(&k), id(3), by()).await.expect("placed");
    assert_eq!(scripts_run(&mut raw).await, 4, "at the first try: the clock was learned");
}

/// How many scripts the server has run so far, without those that it did not know.
async fn scripts_run(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.expect("stats");
    let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).expect("scripts ran");
    let number = |name: &str| {
        let field = line.split([':', ',']).find_map(|field| field.strip_prefix(name)).expect("a number");
        field.parse::<u64>().expect("a number")
    };
    number("calls=") - number("failed_calls=")
}
