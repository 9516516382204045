//! Peers that are half there: nothing comes back, a byte at a time comes back, a reply is cut in its middle. Deadlines hold, and
//! nobody hears another caller's answer: every row carries its own player, and every value is written once.

use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_testkit::proxy::{Proxy, Rule};

use crate::load::{Load, Shape};
use crate::rig::{Handle, Rig, builder, cache, eventually, flushed, table};

/// Each fault lasts so long, or for so many cuts.
const LASTS: Duration = Duration::from_millis(1_500);
const CUTS: u64 = 6;

/// Reads and writes, and flushes.
async fn goes_on(handle: &Handle, load: &Load) -> Duration {
    let (since, batches) = (Tokio.now(), batches(handle).await + 3);
    load.goes_on().await;
    eventually("flushes", async || (self::batches(handle).await >= batches).then_some(())).await;
    Tokio.now() - since
}

async fn batches(handle: &Handle) -> u64 {
    eventually("a look", async || Some(handle.stats().await.ok()?.batches)).await
}

/// In turn. `Mute` is the black hole: requests arrive, and nothing is heard.
async fn suffer(proxy: &Proxy, handle: &Handle, load: &Load) -> u64 {
    for rule in [Rule::Mute, Rule::Stall, Rule::Trickle(Duration::from_millis(200)), Rule::Delay(Duration::from_millis(100))] {
        let again = goes_on(handle, load).await;
        println!("{rule:?} after {again:?}");
        let trickles = matches!(rule, Rule::Trickle(_));
        proxy.set(rule);
        Tokio.sleep(LASTS).await;
        proxy.set(Rule::Pass);
        if trickles {
            // A long reply would take for ever: the peer that sends it is gone in the end.
            proxy.kill_all();
        }
    }
    for _ in 0..2 {
        goes_on(handle, load).await;
        // Somebody on the way forgets all connections there are; new ones work.
        proxy.silence_all();
        let refused = goes_on(handle, load).await;
        println!("all connections forgotten; went on after {refused:?}");
    }
    // In the middle of a reply: of its first byte, its length, its contents.
    for n in 0..CUTS {
        goes_on(handle, load).await;
        let cuts = proxy.cuts();
        proxy.once(Rule::CutReply([0, 1, 3, 7, 20, 90][usize::try_from(n).unwrap_or(0)]));
        eventually("a cut", async || (proxy.cuts() > cuts).then_some(())).await;
    }
    goes_on(handle, load).await;
    proxy.cuts()
}

async fn is_right(rig: &Rig, load: &Load, what: &str, cuts: u64) {
    println!("{what}: {cuts} replies cut; {}", load.counts());
    load.answers_are_right();
    let verdict = load.verdict(&rig.ledger).await;
    assert_eq!(verdict, Default::default(), "invariant violated: every answer is true, and its caller's own");
    assert!(cuts >= CUTS, "the harness did too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_half_there_is_told_in_time() {
    let Some(mut rig) = Rig::new("half_redis").await else { return };
    let proxy = rig.proxied_redis().await;
    let handle = rig.handle().await;
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    let cuts = suffer(&proxy, &handle, &load).await;
    load.stop().await;
    flushed(&handle).await;
    is_right(&rig, &load, "half a redis", cuts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sql_that_is_half_there_is_told_in_time() {
    let Some(rig) = Rig::new("half_sql").await else { return };
    let (proxy, schema) = rig.proxied_sql().await;
    let handle = builder(table(&schema).await).build(cache(&rig.given).await).await.expect("build");
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    // So that there is something to load from SQL.
    let (forgetful, keys) = (handle.clone(), (0..20).map(|player| (1, player)).collect::<Vec<_>>());
    let forget = async {
        loop {
            let _busy = forgetful.invalidate(&keys).await;
            Tokio.sleep(Duration::from_millis(5)).await;
        }
    };
    let cuts = tokio::select! {
        cuts = suffer(&proxy, &handle, &load) => cuts,
        () = forget => unreachable!("it does not end"),
    };
    load.stop().await;
    flushed(&handle).await;
    is_right(&rig, &load, "half a sql", cuts).await;
}

/// As when a host is replaced that froze while connections to it were being made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_go_silent_while_they_are_made_are_given_up() {
    let Some(rig) = Rig::new("silent").await else { return };
    let (proxy, schema) = rig.proxied_sql().await;
    let handle = builder(table(&schema).await).build(cache(&rig.given).await).await.expect("build");
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    goes_on(&handle, &load).await;
    let connections = proxy.connections();
    proxy.set(Rule::Mute);
    proxy.kill_all();
    eventually("a connection half made", async || (proxy.connections() > connections).then_some(())).await;
    proxy.silence_all();
    proxy.set(Rule::Pass);
    let again = goes_on(&handle, &load).await;
    load.stop().await;
    flushed(&handle).await;
    println!("silent while made: again after {again:?}; {}", load.counts());
    load.answers_are_right();
    assert_eq!(load.verdict(&rig.ledger).await, Default::default(), "invariant violated: every answer is true");
}

/// Scenario of its own: the commit of a flush is carried out and nobody hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_whose_commit_is_not_answered_takes_effect_once() {
    let Some(rig) = Rig::new("commit_lost").await else { return };
    let (proxy, schema) = rig.proxied_sql().await;
    let handle = builder(table(&schema).await).build(cache(&rig.given).await).await.expect("build");
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    goes_on(&handle, &load).await;
    let before = handle.stats().await.expect("stats");
    for n in 0..20_u64 {
        // The shards are open, so that every COMMIT is a flush's.
        let cuts = proxy.cuts();
        proxy.once(if n % 4 == 3 { Rule::cut_before("COMMIT") } else { Rule::cut_after("COMMIT") });
        eventually("a cut", async || (proxy.cuts() > cuts).then_some(())).await;
        goes_on(&handle, &load).await;
    }
    load.stop().await;
    flushed(&handle).await;
    let after = handle.stats().await.expect("stats");
    println!("{} commits unheard; {after:?}; {}", proxy.cuts(), load.counts());
    load.answers_are_right();
    let verdict = load.verdict(&rig.ledger).await;
    assert_eq!(verdict, Default::default(), "invariant violated: a batch takes effect once");
    assert!(proxy.cuts() >= 20 && after.retries >= before.retries + 20, "the harness did too little");
    assert_eq!((after.dirty, after.dead), (0, 0), "invariant violated: a lost answer dead-letters nothing");
}
