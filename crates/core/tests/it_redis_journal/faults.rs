//! The journal on a server that forgets, fills up, stalls, restarts or is another one. Every test has a server of its own.

use std::time::Duration;

use writeway_core::cache::{Ask, Declaration, Entries, Lookup};
use writeway_core::error::{Kind, Outcome};
use writeway_core::journal::{Accepted, Found, Install, Journal, Park, Reason, Release, Settled};
use writeway_core::redis::{Redis, RedisJournal};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_testkit::proxy::{Proxy, Rule};
use writeway_testkit::servers;

use crate::redis_support::*;
use crate::shard::*;

/// Its calls wait longer than the machine may stall.
async fn patient(port: u16) -> RedisJournal {
    let long = Duration::from_secs(10);
    let builder = Redis::builder(format!("redis://127.0.0.1:{port}/")).response_timeout(long).checkout_timeout(long);
    builder.connect().await.expect("a server").into()
}

async fn proxied(server: &servers::Redis) -> Proxy {
    Proxy::start(format!("127.0.0.1:{}", server.port())).await.expect("a proxy")
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again_by_every_call() {
    let Some(server) = own() else { return };
    let journal = patient(server.port()).await;
    let mut raw = raw(&server.url()).await;
    let mut forget = async || tell(&mut raw, &["SCRIPT", "FLUSH", "SYNC"]).await.expect("flushed");
    forget().await;
    let (at, install) = {
        let identity = journal.status(&shard()).await.expect("a status").identity;
        let at = writeway_core::journal::At { shard: shard(), epoch: 1 };
        (at, Install { identity, epoch: 1, batch: 0, diverged: None })
    };
    forget().await;
    journal.install(&at.shard, &install).await.expect("installed");
    forget().await;
    assert_eq!(journal.dirty(&at, 0).await.ok(), Some(vec![]));
    forget().await;
    journal.supersede(&at, &[post("1")], None).await.expect("nothing to drop");
    forget().await;
    assert_eq!(journal.release(&at, Default::default(), Release::Drop(&[])).await.ok(), Some(0));
    forget().await;
    journal.resume(&at, &install).await.expect("resumed");
    for n in 1..=20 {
        forget().await;
        assert_eq!(accepted(&journal, &[put("1", "x"), put("2", "y")]).await, version(1, 2 * n), "once");
    }
    forget().await;
    assert_eq!(became(&journal, "1", 1, version(1, 1)).await, Settled::Pending);
    forget().await;
    let batch = claim(&journal, &at).await.id;
    forget().await;
    assert_eq!(journal.acknowledge(&at, batch, &[ack("1", "x")]).await.ok(), Some(1));
    forget().await;
    assert_eq!(
        journal.park(&at, batch, Park { keys: &[post("2")], reason: Reason::Damaged, cause: "a cause" }).await.ok(),
        Some(0)
    );
    forget().await;
    assert_eq!(journal.dead_letters(&at.shard, None).await.map(|letters| letters.len()).ok(), Some(1));
    forget().await;
    assert_eq!(journal.lead(&at.shard, id(1), HOLD.key).await.ok(), Some(true));
}

#[tokio::test]
async fn an_accept_whose_reply_is_lost_is_unknown_and_was_sent_once() {
    let Some(server) = own() else { return };
    let proxy = proxied(&server).await;
    let (journal, direct) = (patient(proxy.port()).await, patient(server.port()).await);
    open(&direct, 1).await;
    accepted(&journal, &[put("1", "first")]).await;
    proxy.once(Rule::cut_after("unheard"));
    let sent = Tokio.now();
    let limit = sent + Duration::from_millis(500);
    let error = refused(journal.accept(&shard(), &[put("2", "unheard")], ROOM, limit).await);
    assert_eq!((error.kind(), error.outcome(), proxy.cuts()), (Kind::Unavailable, Outcome::Unknown, 1), "{error}");
    assert!(Tokio.now() >= limit, "answered once it cannot land any more");
    assert_eq!(direct.status(&shard()).await.expect("a status").version, version(1, 2), "sent once");
    assert_eq!(look(&direct, "2").await.ok(), Some(dirty("unheard")));

    proxy.once(Rule::cut_before("unsent"));
    let error = refused(journal.accept(&shard(), &[put("3", "unsent")], ROOM, Tokio.now() + Duration::from_millis(500)).await);
    assert_eq!((error.kind(), error.outcome(), proxy.cuts()), (Kind::Unavailable, Outcome::Unknown, 2), "{error}");
    assert_eq!(direct.status(&shard()).await.expect("a status").version, version(1, 2), "not sent again");
}

#[tokio::test]
async fn the_flushers_calls_are_repeated_when_their_reply_is_lost() {
    let Some(server) = own() else { return };
    let proxy = proxied(&server).await;
    let (journal, direct) = (patient(proxy.port()).await, patient(server.port()).await);
    let (at, _) = open(&journal, 1).await;
    accepted(&journal, &[put("1", "x"), put("2", "y"), put("3", "z")]).await;
    // All scripts have run once, so that the calls themselves are what is cut.
    let batch = claim(&direct, &at).await;
    direct.acknowledge(&at, batch.id, &[ack("3", "z")]).await.expect("acknowledged");
    direct
        .park(&at, batch.id, Park { keys: &[post("none")], reason: Reason::Damaged, cause: "a cause" })
        .await
        .expect("nothing to park");
    let lost = || proxy.once(Rule::cut_after("EVALSHA"));
    lost();
    assert_eq!(claim(&journal, &at).await.items[..], batch.items[..2]);
    lost();
    assert_eq!(journal.acknowledge(&at, batch.id, &[ack("1", "x")]).await.ok(), Some(1));
    lost();
    assert_eq!(
        journal.park(&at, batch.id, Park { keys: &[post("2")], reason: Reason::Damaged, cause: "a cause" }).await.ok(),
        Some(0)
    );
    lost();
    assert_eq!(look_leased(&journal, "1").await, writeway_core::cache::Lease::Hit(value("x")));
    assert_eq!(proxy.cuts(), 4);
    assert_eq!(direct.status(&at.shard).await.expect("a status").dead, 1);
}

async fn look_leased(journal: &RedisJournal, name: &str) -> writeway_core::cache::Lease {
    let ask = Ask { key: post(name), id: id(1), discard: false };
    journal.lease(&[ask], HOLD).await.expect("an answer").remove(0)
}

#[tokio::test]
async fn an_accept_that_arrives_after_its_caller_was_answered_is_refused() {
    let Some(server) = own() else { return };
    let proxy = proxied(&server).await;
    let short = Duration::from_millis(200);
    let builder = Redis::builder(format!("redis://127.0.0.1:{}/", proxy.port()));
    let builder = builder.connect_timeout(Duration::from_secs(10)).response_timeout(short).checkout_timeout(short);
    let journal: RedisJournal = builder.connect().await.expect("a server").into();
    let direct = patient(server.port()).await;
    open(&direct, 1).await;
    eventually("an accept in time", async || {
        matches!(accept(&journal, &[put("1", "x")]).await, Ok(Accepted::As { .. })).then_some(())
    })
    .await;
    let (mut raw, before) = (raw(&server.url()).await, direct.status(&shard()).await.expect("a status").version);

    let arrived = arrived(&mut raw).await;
    proxy.set(Rule::Stall);
    let error = refused(accept(&journal, &[put("1", "late")]).await);
    assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
    // By now the caller may have written anew on another connection.
    proxy.set(Rule::Pass);
    eventually("the late accept", async || (self::arrived(&mut raw.clone()).await > arrived).then_some(())).await;
    assert_eq!(direct.status(&shard()).await.expect("a status").version, before, "invariant violated: nothing lands late");
    assert_eq!(look(&direct, "1").await.ok(), Some(dirty("x")));
}

/// How many scripts the server was sent.
async fn arrived(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.expect("stats");
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).expect("scripts ran");
    calls.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_full_server_refuses_changes_and_still_drains() {
    let Some(server) = own() else { return };
    let journal = patient(server.port()).await;
    let (at, _) = open(&journal, 1).await;
    accepted(&journal, &[put("1", "x"), put("2", "y"), put("3", "z")]).await;
    let mut raw = raw(&server.url()).await;
    tell(&mut raw, &["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");
    for _ in 0..8 {
        // A refusal is an answer: the breaker stays closed.
        let error = refused(accept(&journal, &[put("4", "x")]).await);
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::NotApplied), "{error}");
    }
    assert_eq!(look(&journal, "1").await.ok(), Some(dirty("x")));
    assert_eq!(journal.lead(&at.shard, id(1), HOLD.key).await.ok(), Some(true));
    let batch = claim(&journal, &at).await;
    assert_eq!(batch.items.len(), 3);
    assert_eq!(journal.acknowledge(&at, batch.id, &[ack("1", "x")]).await.ok(), Some(2));
    assert_eq!(
        journal.park(&at, batch.id, Park { keys: &[post("2")], reason: Reason::Damaged, cause: "a cause" }).await.ok(),
        Some(1)
    );
    let (at, found) = open(&journal, 2).await;
    assert_eq!(found, None);
    assert_eq!(claim(&journal, &at).await.items.len(), 1);
    journal.invalidate(&[post("1")]).await.expect("voided");
    assert_eq!(look(&journal, "1").await.ok(), Some(Lookup::Miss));

    // So does a shard that has to recover.
    tell(&mut raw, &["HSET", "writeway:{posts:0}:meta", "identity", "another"]).await.expect_err("full");
    tell(&mut raw, &["CONFIG", "SET", "maxmemory", "0"]).await.expect("set");
    accepted(&journal, &[put("4", "x"), put("5", "y")]).await;
    tell(&mut raw, &["HSET", "writeway:{posts:0}:meta", "identity", "another"]).await.expect("set");
    tell(&mut raw, &["CONFIG", "SET", "maxmemory", "1"]).await.expect("set");
    let identity = journal.status(&at.shard).await.expect("a status").identity;
    let (at, install) = (writeway_core::journal::At { epoch: 3, ..at }, Install { identity, epoch: 3, batch: 1, diverged: None });
    journal.install(&at.shard, &install).await.expect("installed");
    assert_eq!(journal.dirty(&at, 0).await.ok(), Some(["4", "5"].map(post).to_vec()));
    journal.supersede(&at, &[post("4")], Some("ambiguous")).await.expect("set aside");
    assert_eq!(journal.release(&at, batch.id, Release::Dissolve).await.ok(), Some(0));
    journal.resume(&at, &install).await.expect("resumed");
    assert_eq!(claim(&journal, &at).await.items.len(), 2);
}

#[tokio::test]
async fn a_restarted_server_must_be_opened_anew_and_keeps_what_it_kept() {
    let Some(mut server) = own() else { return };
    let journal = patient(server.port()).await;
    let (at, _) = open(&journal, 1).await;
    accepted(&journal, &[put("1", "x"), put("2", "y")]).await;
    let batch = claim(&journal, &at).await.id;
    accepted(&journal, &[put("2", "z")]).await;
    let before = journal.status(&at.shard).await.expect("a status");
    server.restart().expect("restarted");
    let after = eventually("an answer", async || journal.status(&at.shard).await.ok()).await;
    assert!(!after.installed && after.identity != before.identity);
    assert_eq!((after.dirty, after.open, after.version), (before.dirty, before.open, before.version));
    all_fenced(&journal, &at).await;
    let (at, found) = open(&journal, 2).await;
    assert_eq!(found, Some(Found { epoch: 1, batch: 1, open: Some(batch), first: 1, whole: true, dirty: 1 }));
    assert_eq!(journal.get(&["1", "2"].map(post)).await.ok(), Some(vec![dirty("x"), dirty("z")]));
    assert_eq!(claim(&journal, &at).await.items.len(), 2, "its open batch, as it was");
}

#[tokio::test]
async fn a_server_that_was_emptied_or_replaced_is_found_out() {
    let Some(mut server) = own() else { return };
    let journal = patient(server.port()).await;
    let (at, _) = open(&journal, 3).await;
    let put_one = async || accepted(&journal, &[put("1", "x")]).await;
    put_one().await;
    let mut connection = raw(&server.url()).await;
    tell(&mut connection, &["FLUSHALL"]).await.expect("flushed");
    all_fenced(&journal, &at).await;
    let empty = journal.status(&at.shard).await.expect("a status");
    assert_eq!((empty.installed, empty.epoch, empty.dirty), (false, 0, 0));
    assert_eq!(open(&journal, 4).await.1, Some(Found::default()));
    assert_eq!(put_one().await, version(4, 1), "later than any before");

    // Another history, under the same connections: whoever opens a shard must not do so by the old name.
    tell(&mut connection, &["DEBUG", "CHANGE-REPL-ID"]).await.expect("changed");
    tell(&mut connection, &["FLUSHALL"]).await.expect("flushed");
    let renamed = journal.status(&at.shard).await.expect("a status");
    assert!(!renamed.installed && renamed.identity != empty.identity);
    open(&journal, 5).await;
    put_one().await;

    server.stop().expect("stopped");
    std::fs::remove_dir_all(server.dir().join("appendonlydir")).expect("removed");
    server.restart().expect("restarted");
    let replaced = eventually("an answer", async || journal.status(&at.shard).await.ok()).await;
    assert!(!replaced.installed && replaced.identity != renamed.identity);
    all_fenced(&journal, &at).await;
    assert_eq!(open(&journal, 6).await.1, Some(Found::default()));
}

#[tokio::test]
async fn a_server_that_could_lose_changes_is_refused_or_accepted_by_name() {
    let Some(server) = own() else { return };
    let mut raw = raw(&server.url()).await;
    let journal = patient(server.port()).await;
    let safe = Declaration { namespace: "posts".into(), mode: "write-back", no_eviction: true, persistence: true };
    let mut set = async |name: &str, value: &str| tell(&mut raw, &["CONFIG", "SET", name, value]).await.expect("set");
    journal.declare(&safe).await.expect("noeviction, and a file");
    set("maxmemory-policy", "volatile-ttl").await;
    journal.declare(&safe).await.expect("keys without expiry stay");
    set("maxmemory-policy", "allkeys-lfu").await;
    let error = refused(journal.declare(&safe).await);
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("allkeys-lfu") && error.to_string().contains("allow_evictable_changes()"), "{error}");
    journal.declare(&Declaration { no_eviction: false, ..safe.clone() }).await.expect("accepted by name");

    set("maxmemory-policy", "noeviction").await;
    set("appendonly", "no").await;
    let error = refused(journal.declare(&safe).await);
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("allow_volatile_changes()"), "{error}");
    journal.declare(&Declaration { persistence: false, ..safe.clone() }).await.expect("accepted by name");
    let strict = Declaration { mode: "strict", ..safe };
    assert_eq!(refused(journal.declare(&strict).await).kind(), Kind::Invalid, "a journal is for write-back");
}
