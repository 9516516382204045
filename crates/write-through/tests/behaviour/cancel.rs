//! Futures that are dropped, and processes that die, at every await.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use writeway_testkit::double::Act;
use writeway_through::runtime::Runtime;
use writeway_through::store::Store;
use writeway_through::{Change, Changes, WriteThroughBuilder};

use crate::rig::{CALL, Rig, Table, user};

/// More suspensions than any call here has.
const AWAITS: usize = 60;

/// Polls `work` at most `times` times, everybody else once in between; true if it ended. Then drops it.
async fn poll_and_drop(work: impl Future, times: usize) -> bool {
    let mut work = Box::pin(work);
    for _ in 0..times {
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut work).poll(cx).is_ready())).await;
        if polled {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

fn eventual(builder: WriteThroughBuilder<Table>) -> WriteThroughBuilder<Table> {
    builder.eventual().time_to_live(Duration::from_secs(60))
}

async fn rig(options: fn(WriteThroughBuilder<Table>) -> WriteThroughBuilder<Table>) -> Rig {
    let rig = Rig::with(options).await;
    rig.seed([user(7, "old"), user(8, "old")]).await;
    rig.sql.on_all(Act::Yield);
    rig.redis.on_all(Act::Yield);
    rig
}

/// Both changes are committed, or neither; the cache agrees; nothing is left.
async fn assert_whole(rig: &Rig, what: &str, ended: bool) -> bool {
    rig.runtime.quiet().await;
    let names: Vec<String> = [7, 8].iter().filter_map(|id| rig.rows.row(id)).map(|row| row.name).collect();
    let committed = names == ["new", "new"];
    assert!(committed || (names == ["old", "old"] && !ended), "{what}: {names:?}");
    for id in [7, 8] {
        assert_eq!(
            rig.users.get(&id).await.expect("get"),
            rig.rows.row(&id),
            "invariant violated: the cache agrees with sql ({what})"
        );
    }
    rig.assert_clean(7).await;
    committed
}

#[tokio::test(start_paused = true)]
async fn a_write_dropped_at_any_await_is_whole() {
    for options in [(|b| b) as fn(_) -> _, eventual] {
        let mut committed = 0;
        for times in 0..AWAITS {
            let rig = rig(options).await;
            let changes = Changes::new().put(user(7, "new")).put(user(8, "new"));
            let ended = poll_and_drop(rig.users.write(changes), times).await;
            committed += usize::from(assert_whole(&rig, &format!("dropped after {times} polls"), ended).await);
            assert!(times == 0 || committed == times, "once polled, a write runs to its end");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_dropped_at_any_await_is_whole() {
    let mut committed = 0;
    for times in 0..AWAITS {
        let rig = rig(|b| b).await;
        let whole = async {
            let mut tx = rig.users.begin().await.expect("begin");
            let changes = [Change::Put(user(7, "new")), Change::Put(user(8, "new"))];
            rig.table.apply_in(tx.transaction(), &changes).await.expect("applied");
            rig.users.publish(&mut tx, &user(7, "new"));
            rig.users.touch(&mut tx, &8);
            tx.commit().await.expect("committed");
        };
        let ended = poll_and_drop(whole, times).await;
        committed += usize::from(assert_whole(&rig, &format!("transaction dropped after {times} polls"), ended).await);
        assert_eq!(rig.users.shutdown(CALL).await, 0, "a dropped transaction is out");
    }
    assert!((1..AWAITS).contains(&committed), "{committed}");
}

#[tokio::test(start_paused = true)]
async fn a_read_dropped_at_any_await_harms_nobody() {
    for times in 0..AWAITS {
        let rig = rig(|b| b).await;
        rig.in_sql_only(user(9, "new")).await;
        poll_and_drop(rig.users.get(&9), times).await;
        poll_and_drop(rig.users.get_many(&[7, 9, 10]), times).await;
        poll_and_drop(rig.users.invalidate(&[7]), times).await;
        assert_eq!(rig.users.get(&9).await.expect("get"), Some(user(9, "new")));
        assert_eq!(rig.users.get_many(&[10, 9]).await.expect("get_many"), [None, Some(user(9, "new"))]);
        rig.runtime.quiet().await;
        assert_eq!(rig.sql.inside("fetch"), 0);
        rig.assert_clean(9).await;
    }
}

/// The process dies; another one over the same cache and table goes on.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_await_leaves_nothing_stale() {
    let (mut committed, mut barriers) = (0, 0);
    for turns in 0..AWAITS {
        let rig = rig(|b| b).await;
        let changes = Changes::new().put(user(7, "new")).delete(8);
        poll_and_drop(rig.users.write(changes), turns).await;
        rig.runtime.kill();
        rig.runtime.quiet().await;
        committed += usize::from(rig.rows.row(&8).is_none());
        barriers += usize::from(rig.cache.barriers() > 0);
        for _ in 0..3 {
            for id in [7, 8] {
                let found = rig.users.get(&id).await.expect("get");
                assert_eq!(found, rig.rows.row(&id), "invariant violated: nothing stale after a death ({turns})");
            }
        }
        assert_eq!(rig.rows.row(&8).is_none(), rig.rows.row(&7) == Some(user(7, "new")), "all or none");
        rig.runtime.sleep(CALL * 3).await;
        rig.assert_clean(7).await;
    }
    println!("{AWAITS} deaths, {committed} after the commit, {barriers} with a barrier left");
    assert!(committed > 5 && committed < AWAITS - 5 && barriers > 3, "{committed} {barriers}");
}

/// The same for the right to fill: who dies with a lease holds nobody up for long.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_loads_leaves_at_most_a_lease() {
    for turns in 0..AWAITS / 2 {
        let rig = rig(|b| b).await;
        rig.in_sql_only(user(9, "old")).await;
        poll_and_drop(rig.users.get(&9), turns).await;
        rig.runtime.kill();
        let ((), took) = rig.timed(async { drop(rig.users.get(&9).await.expect("get")) }).await;
        assert!(took < CALL, "{took:?}");
        rig.users.put(user(9, "new")).await.expect("put");
        assert_eq!(rig.users.get(&9).await.expect("get"), Some(user(9, "new")));
    }
}
