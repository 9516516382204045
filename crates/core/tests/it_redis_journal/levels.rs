//! Accept levels on real servers: replicas that lag, disks, and settings that somebody changes.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use writeway_core::cache::Declaration;
use writeway_core::entry::shard::{Meta, ShardState};
use writeway_core::error::{Error, Kind, Outcome, Result};
use writeway_core::journal::{Confirm, Identity, Journal, Level};
use writeway_core::redis::{Redis, RedisJournal};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_testkit::servers;

use crate::redis_support::*;
use crate::shard::*;

/// Long enough for a loaded machine.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(400);

async fn journal(server: &servers::Redis) -> RedisJournal {
    let builder = Redis::builder(server.url()).response_timeout(Duration::from_secs(5)).checkout_timeout(Duration::from_secs(5));
    builder.connect().await.expect("a server").into()
}

async fn confirm(journal: &RedisJournal, level: Level, inc: Option<u64>, within: Duration) -> Result<()> {
    journal.confirm(level, &[Confirm { shard: shard(), inc }], Tokio.now() + within).await
}

/// Accepted, but not at its level; told in time.
async fn is_short(journal: &RedisJournal, level: Level) -> Error {
    let start = Tokio.now();
    let error = refused(confirm(journal, level, Some(1), SHORT).await);
    let took = Tokio.now() - start;
    assert!(took < SHORT + Duration::from_secs(2), "invariant violated: every call ends by its deadline: {took:?}");
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
    error
}

async fn set(raw: &mut MultiplexedConnection, name: &str, value: &str) {
    tell(raw, &["CONFIG", "SET", name, value]).await.expect("set");
}

/// So many times was it called.
async fn calls(raw: &mut MultiplexedConnection, command: &str) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.expect("stats");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
    line.map_or(0, |line| line.split(',').next().and_then(|n| n.parse().ok()).expect("a number"))
}

async fn has_waitaof(raw: &mut MultiplexedConnection) -> bool {
    tell(raw, &["WAITAOF", "0", "0", "1"]).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_replicas_confirm_and_one_that_stands_still_does_not() {
    let Some(master) = own() else { return };
    let mut replica = master.replica().expect("a replica");
    let journal = journal(&master).await;
    open(&journal, 1).await;
    accepted(&journal, &[put("1", "x")]).await;
    confirm(&journal, Level::Replicated(1), Some(1), LONG).await.expect("one has it");
    is_short(&journal, Level::Replicated(2)).await;

    replica.pause().expect("paused");
    accepted(&journal, &[put("1", "y")]).await;
    let waiting = is_short(&journal, Level::Replicated(1));
    let reads = async {
        // Neither of them is held up by the other's wait.
        let start = Tokio.now();
        for _ in 0..100 {
            assert_eq!(look(&journal, "1").await.ok(), Some(dirty("y")));
        }
        let took = Tokio.now() - start;
        assert!(took < SHORT, "invariant violated: a wait for replicas holds up nobody else: {took:?}");
    };
    let (error, ()) = tokio::join!(waiting, reads);
    assert!(error.to_string().contains("accepted, but not confirmed"), "{error}");

    replica.resume().expect("resumed");
    confirm(&journal, Level::Replicated(1), Some(1), LONG).await.expect("it catches up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_confirmed_outlives_the_master() {
    let Some(mut master) = own() else { return };
    let replica = master.replica().expect("a replica");
    let on_master = journal(&master).await;
    open(&on_master, 1).await;
    let mut last = version(1, 0);
    for n in 0..500 {
        last = accepted(&on_master, &[put(n.to_string(), "x")]).await;
        confirm(&on_master, Level::Replicated(1), Some(1), LONG).await.expect("confirmed");
    }
    master.kill().expect("killed");
    let mut raw = raw(&replica.url()).await;
    tell(&mut raw, &["REPLICAOF", "NO", "ONE"]).await.expect("promoted");
    let on_replica = journal(&replica).await;
    let status = on_replica.status(&shard()).await.expect("a status");
    let lost = "invariant violated: what was confirmed is on the replica";
    assert_eq!((status.version, status.dirty, status.installed), (last, 500, false), "{lost}");
    // Another server, and another incarnation: what is still to be confirmed may be lost.
    fenced(confirm(&on_replica, Level::LocalFsync, Some(1), LONG).await);
    open(&on_replica, 2).await;
    fenced(confirm(&on_replica, Level::LocalFsync, Some(1), LONG).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_who_wait_are_confirmed_together_over_one_connection() {
    let Some(master) = own() else { return };
    let _replica = master.replica().expect("a replica");
    let journal = journal(&master).await;
    open(&journal, 1).await;
    let mut raw = raw(&master.url()).await;
    let clients = async |raw: &mut MultiplexedConnection| -> usize {
        let list: String = redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("normal").query_async(raw).await.expect("a list");
        list.lines().count()
    };
    let before = clients(&mut raw).await;
    for _ in 0..5 {
        let mut tasks = JoinSet::new();
        for n in 0..100 {
            let journal = journal.clone();
            tasks.spawn(async move {
                accepted(&journal, &[put(n.to_string(), "x")]).await;
                confirm(&journal, Level::Replicated(1), Some(1), LONG).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no panic").expect("confirmed");
        }
    }
    let waits = calls(&mut raw, "wait").await;
    println!("500 accepts in fives: {waits} waits");
    assert!((5..=250).contains(&waits), "invariant violated: who waits together is confirmed together: {waits} waits");
    assert_eq!(clients(&mut raw).await, before + 1, "invariant violated: one connection waits");

    // One that was cut while it was idle.
    let killed: u64 = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("SKIPME")
        .arg("YES")
        .arg("TYPE")
        .arg("NORMAL")
        .query_async(&mut raw)
        .await
        .expect("killed");
    assert!(killed >= 2, "{killed}");
    eventually("an answer", async || journal.status(&shard()).await.ok()).await;
    confirm(&journal, Level::Replicated(1), Some(1), LONG).await.expect("asked again on a new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_waited_for_or_must_be_seen_to_be_waited_for() {
    let Some(server) = own() else { return };
    let journal = journal(&server).await;
    open(&journal, 1).await;
    let mut raw = raw(&server.url()).await;
    accepted(&journal, &[put("1", "x")]).await;
    if has_waitaof(&mut raw).await {
        confirm(&journal, Level::LocalFsync, Some(1), LONG).await.expect("within about a second");
        assert!(calls(&mut raw, "waitaof").await >= 2);
        set(&mut raw, "appendfsync", "no").await;
        accepted(&journal, &[put("1", "y")]).await;
        is_short(&journal, Level::LocalFsync).await;
    } else {
        let error = refused(confirm(&journal, Level::LocalFsync, Some(1), LONG).await);
        assert!(error.to_string().contains("appendfsync is everysec"), "{error}");
    }
    set(&mut raw, "appendfsync", "always").await;
    confirm(&journal, Level::LocalFsync, Some(1), LONG).await.expect("at once");

    // Draining may wait for it: a full server must answer.
    set(&mut raw, "maxmemory", "1").await;
    accept(&journal, &[put("2", "x")]).await.expect_err("full");
    confirm(&journal, Level::LocalFsync, None, LONG).await.expect("also when memory is full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_is_found_and_what_was_mended_is_not() {
    let Some(server) = own() else { return };
    let journal = journal(&server).await;
    let mut raw = raw(&server.url()).await;
    let declared = Declaration { namespace: "posts".into(), mode: "write-back", no_eviction: true, persistence: true };
    let unmet = async |level: Level| -> Vec<(Kind, String)> {
        let unmet = journal.unmet(&declared, level).await.expect("an answer");
        unmet.into_iter().map(|e| (e.kind(), e.to_string())).collect()
    };
    assert_eq!(unmet(Level::Memory).await, []);
    let replicas = unmet(Level::Replicated(1)).await;
    assert!(matches!(&replicas[..], [(Kind::Unavailable, text)] if text.contains("has 0 replicas")), "{replicas:?}");
    set(&mut raw, "maxmemory-policy", "allkeys-lru").await;
    set(&mut raw, "appendonly", "no").await;
    let both = unmet(Level::Memory).await;
    assert!(matches!(&both[..], [(_, one), (_, two)] if one.contains("allkeys-lru") && two.contains("appendonly")), "{both:?}");
    set(&mut raw, "maxmemory-policy", "noeviction").await;
    set(&mut raw, "appendonly", "yes").await;
    assert_eq!(unmet(Level::Memory).await, []);

    if !has_waitaof(&mut raw).await {
        let disk = unmet(Level::LocalFsync).await;
        assert!(matches!(&disk[..], [(Kind::Invalid, text)] if text.contains("everysec")), "{disk:?}");
        set(&mut raw, "appendfsync", "always").await;
        assert_eq!(unmet(Level::LocalFsync).await, []);
        set(&mut raw, "no-appendfsync-on-rewrite", "yes").await;
        assert_eq!(unmet(Level::LocalFsync).await.len(), 1);
        set(&mut raw, "no-appendfsync-on-rewrite", "no").await;
        tell(&mut raw, &["ACL", "SETUSER", "default", "-config"]).await.expect("forbidden");
        let hidden = unmet(Level::LocalFsync).await;
        assert!(matches!(&hidden[..], [(Kind::Invalid, text)] if text.contains("config|get")), "{hidden:?}");
    }
    let replica = server.replica().expect("a replica");
    assert_eq!(unmet(Level::Replicated(1)).await, []);
    drop(replica);
    eventually("it is missed", async || (!unmet(Level::Replicated(1)).await.is_empty()).then_some(())).await;
}

#[tokio::test]
async fn the_least_that_a_user_needs_is_enough() {
    let Some(server) = own() else { return };
    let _replica = server.replica().expect("a replica");
    let mut raw = raw(&server.url()).await;
    let waitaof = has_waitaof(&mut raw).await;
    let least = "+get +mget +set +del +scan +time +info +evalsha +eval +script|load +getrange +strlen +setrange +hget +hmget +hset +hdel \
                 +hexists +hlen +zadd +zrem +zcard +zcount +zscore +zrange +wait";
    let mut acl = vec!["ACL", "SETUSER", "app", "on", ">secret", "~prod:*", "resetchannels", "-@all"];
    acl.extend(least.split(' '));
    acl.push(if waitaof { "+waitaof" } else { "+config|get" });
    tell(&mut raw, &acl).await.expect("a user");
    set(&mut raw, "appendfsync", "always").await;
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let journal: RedisJournal = Redis::builder(url).prefix("prod").connect().await.expect("let in").into();
    crate::counters::round(&journal).await;
    accepted(&journal, &[put("2", "x")]).await;
    assert_eq!(journal.present("posts", id(1), LONG).await.ok(), Some(vec![id(1)]));
    let declared = Declaration { namespace: "posts".into(), mode: "write-back", no_eviction: true, persistence: true };
    for level in [Level::Replicated(1), Level::LocalFsync] {
        assert!(journal.unmet(&declared, level).await.expect("an answer").is_empty());
        confirm(&journal, level, Some(1), LONG).await.expect("confirmed");
    }
    tell(&mut raw, &["ACL", "SETUSER", "app", "-wait"]).await.expect("forbidden");
    assert_eq!(refused(confirm(&journal, Level::Replicated(1), Some(1), LONG).await).kind(), Kind::Invalid);
}

/// Of a script so small, all cases: every state of the shard, every question.
#[tokio::test]
async fn confirm_matches_the_machine() {
    let Some((_, mut raw, prefix)) = fresh("confirm").await else { return };
    let source = include_str!("../../src/redis/scripts/journal/confirm.lua");
    let (meta_key, mark) = (format!("{prefix}:{{posts:0}}:meta"), format!("{prefix}:{{posts:0}}:mark"));
    let name = |name: &str| Identity(name.into());
    let meta = |recovering: Option<&str>| {
        Some(Meta { identity: name("one"), recovering: recovering.map(name), epoch: 7, inc: 5, ..Meta::default() })
    };
    for meta in [None, meta(None), meta(Some("one")), meta(Some("two"))] {
        let mut shard = ShardState::default();
        shard.meta = meta;
        for (who, inc, writes) in ["one", "two", ""].into_iter().flat_map(|who| {
            [None, Some(5), Some(7), Some(0)].into_iter().flat_map(move |inc| [false, true].map(|writes| (who, inc, writes)))
        }) {
            tell(&mut raw, &["DEL", &meta_key, &mark]).await.expect("deleted");
            if let Some(Meta { identity, recovering, epoch, inc, .. }) = &shard.meta {
                let mut seed = redis::cmd("HSET");
                seed.arg(&meta_key).arg("identity").arg(&identity.0).arg("epoch").arg(epoch).arg("inc").arg(inc);
                if let Some(recovering) = recovering {
                    seed.arg("recovering").arg(&recovering.0);
                }
                let _: i64 = seed.query_async(&mut raw).await.expect("seeded");
            }
            let inc_text = inc.map_or(String::new(), |inc: u64| inc.to_string());
            let words = ["EVAL", source, "2", &meta_key, &mark, who, &inc_text, if writes { "1" } else { "0" }];
            let answer = tell(&mut raw, &words).await.expect("an answer");
            let stands = shard.stands(&name(who), inc).is_ok();
            let expected = if stands { redis::Value::Int(1) } else { redis::Value::BulkString(b"EPOCH".into()) };
            let case = format!("{:?}, asked by {who:?} for {inc:?}", shard.meta);
            assert_eq!(answer, expected, "invariant violated: script matches machine: {case}");
            let written = tell(&mut raw, &["EXISTS", &mark]).await.expect("an answer") == redis::Value::Int(1);
            assert_eq!(written, stands && writes, "invariant violated: script matches machine: {case}");
        }
    }
}
