//! Transactions of the user's own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use writeway_testkit::double::{Act, ScriptedCache, ScriptedStore};
use writeway_through::runtime::Runtime;
use writeway_through::store::Store;
use writeway_through::{CacheEffect, Change, Kind, MemoryStore, Outcome, WriteThrough};

use crate::rig::{CALL, Rig, assert_refused, down, unanswered, user};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    user: i64,
    line: i32,
    item: String,
}

type Orders = ScriptedStore<MemoryStore<(i64, i32), Order>>;

fn order(user: i64, line: i32, item: &str) -> Order {
    Order { user, line, item: item.into() }
}

/// Another namespace over the same database and cache.
async fn orders(rig: &Rig, strict: bool) -> (WriteThrough<Orders>, Orders) {
    let table = ScriptedStore::new(MemoryStore::new(|order: &Order| (order.user, order.line)), &rig.sql);
    let builder = WriteThrough::builder(table.clone()).namespace("orders").runtime(Arc::new(rig.runtime.clone()));
    let builder = if strict { builder } else { builder.eventual().time_to_live(CALL * 60) };
    let orders = builder.build(ScriptedCache::new(rig.cache.clone(), &rig.redis)).await.expect("build");
    (orders, table)
}

#[tokio::test(start_paused = true)]
async fn one_transaction_over_two_namespaces() {
    for strict in [true, false] {
        let rig = Rig::new().await;
        let (orders, order_table) = orders(&rig, strict).await;
        rig.seed([user(7, "old")]).await;
        orders.put(order(7, 1, "old")).await.expect("put");
        orders.get(&(7, 1)).await.expect("filled");
        let mut tx = rig.users.begin().await.expect("begin");
        rig.table.apply_in(tx.transaction(), &[Change::Put(user(7, "new"))]).await.expect("applied");
        order_table.apply_in(tx.transaction(), &[Change::Put(order(7, 1, "new"))]).await.expect("applied");
        rig.users.publish(&mut tx, &user(7, "new"));
        orders.touch(&mut tx, &(7, 1));
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "old")), "hits go on until the commit");
        rig.sql.forget();
        assert_eq!(tx.commit().await.expect("committed"), CacheEffect::Invalidated, "the least that was done to any key");
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "new")));
        assert_eq!(rig.sql.count("fetch"), 0, "published");
        assert_eq!(orders.get(&(7, 1)).await.expect("get"), Some(order(7, 1, "new")));
        assert_eq!(rig.sql.count("fetch"), 1, "touched, hence invalidated");
        rig.assert_clean(7).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_touch_after_a_publish_invalidates() {
    let rig = Rig::new().await;
    let mut tx = rig.users.begin().await.expect("begin");
    rig.table.apply_in(tx.transaction(), &[Change::Put(user(7, "draft"))]).await.expect("applied");
    rig.users.publish(&mut tx, &user(7, "draft"));
    rig.table.apply_in(tx.transaction(), &[Change::Put(user(7, "final"))]).await.expect("applied");
    rig.users.touch(&mut tx, &7);
    assert_eq!(tx.commit().await.expect("committed"), CacheEffect::Invalidated);
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "final")), "invariant violated: a touch undoes a publish");

    let mut tx = rig.users.begin().await.expect("begin");
    rig.table.apply_in(tx.transaction(), &[Change::Put(user(7, "last"))]).await.expect("applied");
    rig.users.publish(&mut tx, &user(7, "last"));
    assert_eq!(tx.commit().await.expect("committed"), CacheEffect::Published);
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "last")));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_or_rolled_back_transaction_changes_nothing() {
    let rig = Rig::new().await;
    rig.seed([user(7, "old")]).await;
    for drops in [true, false] {
        let mut tx = rig.users.begin().await.expect("begin");
        rig.table.apply_in(tx.transaction(), &[Change::Put(user(7, "new"))]).await.expect("applied");
        rig.users.publish(&mut tx, &user(7, "new"));
        if drops {
            drop(tx)
        } else {
            tx.rollback().await
        }
        assert_eq!((rig.redis.total(), rig.rows.row(&7)), (0, Some(user(7, "old"))), "no cache has heard of it");
    }
    assert_eq!(rig.users.shutdown(CALL).await, 0);
    let rig = Rig::new().await;
    drop(rig.users.begin().await.expect("begin"));
    let nothing = rig.users.begin().await.expect("begin");
    assert_eq!(nothing.commit().await.expect("nothing touched, still committed"), CacheEffect::Invalidated);
    assert_eq!((rig.sql.count("commit"), rig.redis.total()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_commit_says_what_became_of_it() {
    let refused: fn() -> writeway_through::Error = || writeway_through::Error::rejected("a deferred constraint");
    let cases = [
        ("commit", Act::Fail(refused), Kind::Rejected, Outcome::NotApplied),
        ("commit", Act::LoseAnswer(unanswered), Kind::Unavailable, Outcome::Unknown),
        ("commit", Act::LandAndStall, Kind::Unavailable, Outcome::Unknown),
        ("begin", Act::Fail(down), Kind::Unavailable, Outcome::NotApplied),
        ("begin", Act::LoseAnswer(down), Kind::Unavailable, Outcome::NotApplied),
        ("begin", Act::Stall, Kind::Unavailable, Outcome::NotApplied),
    ];
    for (call, act, kind, outcome) in cases {
        let rig = Rig::new().await;
        rig.seed([user(7, "old"), user(8, "old")]).await;
        let mut tx = rig.users.begin().await.expect("begin");
        let changes = [Change::Put(user(7, "new")), Change::Delete(8)];
        rig.table.apply_in(tx.transaction(), &changes).await.expect("applied");
        rig.users.publish(&mut tx, &user(7, "new"));
        rig.users.touch(&mut tx, &8);
        let script = if call == "commit" { &rig.sql } else { &rig.redis };
        script.on(call, act);
        let (answer, took) = rig.timed(tx.commit()).await;
        let e = answer.expect_err("an error");
        assert_eq!((e.kind(), e.outcome()), (kind, outcome), "{call} {act:?}: {e}");
        assert!(took.as_millis() <= 1_005, "{took:?}");
        for id in [7, 8] {
            assert_eq!(rig.users.get(&id).await.expect("get"), rig.rows.row(&id), "{call} {act:?}");
        }
        assert_eq!(rig.rows.row(&8).is_none(), outcome == Outcome::Unknown, "these unknown commits landed");
        rig.runtime.sleep(CALL * 3).await;
        rig.assert_clean(7).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_noted_makes_the_commit_fail() {
    let rig = Rig::with(|b| b.max_value_bytes(100)).await;
    let long = user(7, &"x".repeat(100));
    for stalls in [false, true] {
        let mut tx = rig.users.begin().await.expect("begin");
        rig.table.apply_in(tx.transaction(), &[Change::Put(long.clone())]).await.expect("applied");
        rig.users.publish(&mut tx, &long);
        rig.users.touch(&mut tx, &7);
        rig.sql.on("rollback", if stalls { Act::Stall } else { Act::Pass });
        let (refused, took) = rig.timed(tx.commit()).await;
        assert_refused(refused, Kind::Invalid);
        assert!(took.as_millis() <= 1_005, "invariant violated: every call ends by its deadline: {took:?}");
        assert_eq!((rig.rows.row(&7), rig.sql.count("commit"), rig.redis.total()), (None, 0, 0));
    }
    let tx = rig.users.begin().await.expect("begin");
    let ((), took) = rig.timed(tx.rollback()).await;
    assert!(took.as_millis() <= 1_005, "invariant violated: every call ends by its deadline: {took:?}");
    assert_eq!(rig.users.shutdown(CALL).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_was_not_checked_for_strict_is_refused() {
    let rig = Rig::new().await;
    let (orders, order_table) = orders(&rig, false).await;
    let mut tx = orders.begin().await.expect("begin");
    order_table.apply_in(tx.transaction(), &[Change::Put(order(7, 1, "new"))]).await.expect("applied");
    orders.touch(&mut tx, &(7, 1));
    rig.users.touch(&mut tx, &7);
    assert_refused(tx.commit().await, Kind::Invalid);
    assert_eq!(rig.sql.count("commit"), 0);

    // Begun on a strict namespace whose barriers live longer than the other's: its check proves too little.
    let slow = Rig::with(|b| b.namespace("slow").commit_within(CALL * 5)).await;
    let mut tx = slow.users.begin().await.expect("begin");
    slow.users.touch(&mut tx, &1);
    rig.users.touch(&mut tx, &7);
    assert_refused(tx.commit().await.map(drop), Kind::Invalid);
}
