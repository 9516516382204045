//! What a user sees of one handle, with the in-process forms of both servers.

mod audit;
mod counters;
mod doubles;
mod levels;
mod rows;
mod scripted;
mod secrets;
mod slow;
mod telemetry;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use writeway_back::change::{Change, Changes};
use writeway_back::error::{Error, Kind, Outcome, Result};
use writeway_back::store::FencedStore;
use writeway_back::{MemoryJournal, MemoryStore, Overflow, Receipt, WriteBack, WriteBackBuilder};
use writeway_core::cache::{Entries as _, Lookup};
use writeway_core::journal::{Accept, Bounds, Journal as _, Shard};

use doubles::{Newer, Troubled, Watched};

type Row = (i64, String);
type Table = MemoryStore<i64, Row>;

fn row(key: i64, text: &str) -> Row {
    (key, text.to_owned())
}

fn table() -> Table {
    MemoryStore::new(|row: &Row| row.0)
}

fn builder<S: FencedStore>(store: S) -> WriteBackBuilder<S> {
    WriteBack::builder(store).namespace("rows").shards(2).max_delay(Duration::from_millis(5)).allow_volatile_changes()
}

async fn handle(store: &Table, journal: &MemoryJournal) -> WriteBack<Table> {
    builder(store.clone()).build(journal.clone()).await.expect("build")
}

#[tokio::test]
async fn what_was_accepted_is_read_at_once_and_is_in_sql_soon() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = handle(&store, &journal).await;
    assert_eq!(rows.get(&1).await.expect("get"), None);
    let ticket = rows.put(row(1, "a")).await.expect("put");
    assert_eq!(rows.get(&1).await.expect("get"), Some(row(1, "a")), "invariant violated: reads see accepted writes");
    ticket.durable().await.expect("durable");
    assert_eq!(store.row(&1), Some(row(1, "a")), "invariant violated: durable means in sql");
    assert_eq!(rows.get(&1).await.expect("get"), Some(row(1, "a")));
    let gone = rows.delete(&1).await.expect("delete");
    assert_eq!(rows.get(&1).await.expect("get"), None, "invariant violated: reads see accepted deletes");
    gone.durable().await.expect("durable");
    assert_eq!(store.row(&1), None);
}

#[tokio::test]
async fn a_hundred_changes_of_one_row_are_one_row_change() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store.clone()).max_delay(Duration::from_secs(60)).build(journal).await.expect("build");
    for n in 0..100 {
        let _ = rows.put(row(7, &n.to_string())).await.expect("put");
        let _ = rows.delete(&7).await.expect("delete");
        let _ = rows.put(row(7, &format!("{n} again"))).await.expect("put");
    }
    rows.flush().await.expect("flush");
    assert_eq!(store.row(&7), Some(row(7, "99 again")), "invariant violated: the last change wins");
    let stats = rows.stats().await.expect("stats");
    assert_eq!((stats.accepted, stats.flushed, stats.batches, stats.dirty), (300, 1, 1, 0), "{stats:?}");
}

#[tokio::test]
async fn many_rows_in_one_write_and_one_read() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store.clone()).max_batch(64).build(journal).await.expect("build");
    let changes: Changes<i64, Row> = (0..1_000).map(|n| Change::Put(row(n, "x"))).collect();
    let ticket = rows.write(changes.delete(3)).await.expect("write");
    let keys: Vec<i64> = (0..1_000).collect();
    let found = rows.get_many(&keys).await.expect("get_many");
    assert_eq!(found.iter().flatten().count(), 999);
    ticket.durable().await.expect("durable");
    assert_eq!((0..1_000).filter(|n| store.row(n).is_some()).count(), 999);
    let stats = rows.stats().await.expect("stats");
    assert!(stats.batches >= 15 && stats.flushed == 1_000, "batches of at most 64: {stats:?}");
}

#[tokio::test]
async fn a_receipt_is_good_in_another_process() {
    let (store, journal) = (table(), MemoryJournal::new());
    let (one, two) = (handle(&store, &journal).await, handle(&store, &journal).await);
    let receipt: Receipt = two.put(row(1, "a")).await.expect("put").receipt();
    one.durable(&receipt).await.expect("durable");
    assert_eq!(store.row(&1), Some(row(1, "a")));
    assert_eq!(format!("{receipt:?}"), r#"Receipt { namespace: "rows", changes: 1 }"#, "no keys");
    let other = WriteBack::builder(store).namespace("others").allow_volatile_changes().build(journal).await.expect("build");
    assert_eq!(other.durable(&receipt).await.expect_err("of another namespace").kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_full_dirty_set_waits_or_rejects() {
    let journal = MemoryJournal::new();
    let stuck = Troubled::new(|_| Err(Error::unavailable("sql is away")));
    let tight = |overflow| {
        let builder = builder(stuck.clone()).shards(1).max_dirty(3).on_overflow(overflow);
        builder.call_timeout(Duration::from_millis(50)).build(journal.clone())
    };
    let rows = tight(Overflow::Reject).await.expect("build");
    for n in 0..3 {
        let _ = rows.put(row(n, "x")).await.expect("put");
    }
    for rows in [rows, tight(Overflow::Wait).await.expect("build")] {
        let e = rows.put(row(9, "x")).await.expect_err("full");
        assert_eq!((e.kind(), e.outcome()), (Kind::Overloaded, Outcome::NotApplied), "{e}");
        assert_eq!(rows.get(&2).await.expect("get"), Some(row(2, "x")), "reads go on");
    }
}

#[tokio::test]
async fn failures_and_panics_of_sql_delay_and_lose_nothing() {
    let journal = MemoryJournal::new();
    let troubled = Troubled::new(|n| match n {
        0 => Err(Error::unavailable("sql is away")),
        1 => panic!("in the table's code"),
        2 => Err(Error::unknown("no answer")),
        _ => Ok(()),
    });
    let rows = builder(troubled.clone()).build(journal).await.expect("build");
    let ticket = rows.put(row(1, "a")).await.expect("put");
    ticket.durable().await.expect("invariant violated: everything drains");
    assert_eq!(troubled.table.row(&1), Some(row(1, "a")));
    assert_eq!(rows.stats().await.expect("stats").retries, 3);
}

#[tokio::test]
async fn a_flush_that_took_effect_unheard_is_not_repeated() {
    let journal = MemoryJournal::new();
    // The commit lands, the answer does not.
    let deaf = Troubled::new(|_| Ok(()));
    deaf.lose_answers.store(1, SeqCst);
    let rows = builder(deaf.clone()).build(journal).await.expect("build");
    rows.put(row(1, "a")).await.expect("put").durable().await.expect("durable");
    assert_eq!(deaf.applied.load(SeqCst), 1, "invariant violated: a batch is applied once");
    assert_eq!(rows.get(&1).await.expect("get"), Some(row(1, "a")));
}

#[tokio::test(start_paused = true)]
async fn what_took_effect_unheard_at_last_is_not_held_back() {
    let journal = MemoryJournal::new();
    // After the fifth failure a row is suspected, and it was none: the commit has landed.
    let deaf = Troubled::new(|n| if n < 4 { Err(Error::unavailable("sql is away")) } else { Ok(()) });
    deaf.lose_answers.store(1, SeqCst);
    let rows = builder(deaf.clone()).build(journal).await.expect("build");
    rows.put(row(1, "a")).await.expect("put").durable().await.expect("durable");
    assert_eq!(deaf.applied.load(SeqCst), 1, "invariant violated: a batch is applied once");
    assert_eq!(deaf.flushes.load(SeqCst), 6, "the sixth hears that it is in effect");
}

#[tokio::test]
async fn bookkeeping_that_is_not_as_it_was_left_is_opened_anew() {
    let journal = MemoryJournal::new();
    let restored = Troubled::new(|n| if n == 0 { Err(Error::invalid("the fence went back")) } else { Ok(()) });
    let rows = builder(restored).shards(1).build(journal.clone()).await.expect("build");
    rows.put(row(1, "a")).await.expect("put").durable().await.expect("invariant violated: everything drains");
    let shard = Shard { namespace: "rows".into(), number: 0 };
    let status = journal.status(&shard).await.expect("status");
    assert_eq!(status.epoch, 2, "invariant violated: an epoch that SQL does not know is left");
}

#[tokio::test]
async fn a_change_that_cannot_be_read_is_never_a_miss() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store.clone()).shards(1).max_delay(Duration::from_secs(60)).build(journal.clone()).await.expect("build");
    let _ = rows.put(row(1, "a")).await.expect("put");
    let shard = Shard { namespace: "rows".into(), number: 0 };
    let bounds = Bounds { keys: 9, bytes: 999, age: Duration::from_secs(9) };
    let damaged = Accept { key: b"{rows:0}:e:1".to_vec(), schema: 0, value: b"damaged".to_vec() };
    journal.accept(&shard, std::slice::from_ref(&damaged), bounds, Duration::MAX).await.expect("accepted");
    for found in [rows.get(&1).await.map(drop), rows.get_many(&[2, 1]).await.map(drop)] {
        let kind = found.map_err(|e| e.kind());
        assert_eq!(kind, Err(Kind::Rejected), "invariant violated: a dirty entry is never a miss");
    }
    let _ = rows.put(row(2, "b")).await.expect("put");
    rows.flush().await.expect("the rest goes on");
    assert_eq!(store.row(&2), Some(row(2, "b")));
    assert_eq!(rows.stats().await.expect("stats").dead, 1);
    let dead = journal.dead_letters(&shard, None).await.expect("dead letters");
    assert_eq!(dead[0].value, b"damaged", "invariant violated: its bytes are kept");
    rows.put(row(1, "c")).await.expect("put").durable().await.expect("a newer put replaces it");
}

#[tokio::test]
async fn two_schemas_side_by_side_each_flush_their_own() {
    let (store, journal) = (table(), MemoryJournal::new());
    let old =
        builder(store.clone()).shards(1).flush_timeout(Duration::from_millis(100)).build(journal.clone()).await.expect("build");
    let newer = Newer(store.clone());
    let new = builder(newer).flush_timeout(Duration::from_millis(100)).build(journal).await.expect("build");
    let (one, two) = (old.put(row(1, "old")).await.expect("put"), new.put(row(2, "new")).await.expect("put"));
    assert_eq!(new.get(&1).await.expect_err("unreadable").kind(), Kind::Rejected);
    one.durable().await.expect("invariant violated: everything drains");
    two.durable().await.expect("invariant violated: everything drains");
    assert_eq!((store.row(&1), store.row(&2)), (Some(row(1, "old")), Some(row(2, "new"))));
    assert_eq!(new.get(&1).await.expect("in sql by now"), Some(row(1, "old")));
    assert_eq!(old.stats().await.expect("stats").dead, 0, "invariant violated: nothing is set aside");
}

#[tokio::test]
async fn invalidation_keeps_accepted_changes() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store.clone()).max_delay(Duration::from_secs(60)).build(journal.clone()).await.expect("build");
    let _ = rows.put(row(1, "a")).await.expect("put");
    rows.invalidate(&[1]).await.expect("invalidate");
    assert_eq!(rows.invalidate_all().await.expect("invalidate_all"), 1);
    assert_eq!(rows.get(&1).await.expect("get"), Some(row(1, "a")), "invariant violated: a dirty entry is never discarded");
    rows.flush().await.expect("flush");
    rows.invalidate(&[1]).await.expect("invalidate");
    let cached = journal.get(&[b"{rows:0}:e:1".to_vec(), b"{rows:1}:e:1".to_vec()]).await.expect("get");
    assert_eq!(cached, [Lookup::Miss, Lookup::Miss]);
}

#[tokio::test]
async fn shutdown_drains_and_tells_the_rest() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store.clone()).max_delay(Duration::from_secs(60)).build(journal.clone()).await.expect("build");
    for n in 0..10 {
        let _ = rows.put(row(n, "x")).await.expect("put");
    }
    let drained = rows.shutdown(Duration::from_secs(5)).await.expect("shutdown");
    assert_eq!((drained.flushed, drained.left), (10, 0));
    assert_eq!(rows.put(row(1, "y")).await.expect_err("closed").kind(), Kind::Closed);
    assert_eq!(rows.get(&1).await.expect_err("closed").kind(), Kind::Closed);

    let stuck = Troubled::new(|_| Err(Error::unavailable("sql is away")));
    let other = builder(stuck.clone()).namespace("others").build(journal.clone()).await.expect("build");
    for n in 0..10 {
        let _ = other.put(row(n, "x")).await.expect("put");
    }
    let drained = other.shutdown(Duration::from_millis(20)).await.expect("shutdown");
    assert_eq!((drained.flushed, drained.left), (0, 10), "invariant violated: the exact rest");
    stuck.heal();
    let successor = builder(stuck.clone()).namespace("others").build(journal).await.expect("build");
    successor.flush().await.expect("invariant violated: a successor drains it");
    assert_eq!((0..10).filter(|n| stuck.table.row(n).is_some()).count(), 10);
}

#[tokio::test]
async fn the_last_handle_ends_the_flusher_and_leaves_the_journal() {
    let (store, journal) = (table(), MemoryJournal::new());
    let alive = Arc::new(());
    let watched = Watched { table: store.clone(), _alive: alive.clone() };
    let rows = builder(watched).max_delay(Duration::from_secs(60)).build(journal.clone()).await.expect("build");
    drop(rows.put(row(1, "a")).await.expect("put"));
    drop(rows);
    while Arc::strong_count(&alive) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.row(&1), None);
    handle(&store, &journal).await.flush().await.expect("a successor drains it");
    assert_eq!(store.row(&1), Some(row(1, "a")));
}

#[tokio::test]
async fn bad_options_and_a_volatile_journal_are_refused_by_name() {
    let refused = |built: Result<WriteBack<Table>>| built.expect_err("refused").to_string();
    let plain = WriteBack::builder(table()).namespace("rows").build(MemoryJournal::new()).await;
    assert!(refused(plain).contains("allow_volatile_changes()"));
    let bad = builder(table()).max_batch(0).build(MemoryJournal::new()).await;
    assert!(refused(bad).contains("max_batch"));
    let (store, journal) = (table(), MemoryJournal::new());
    handle(&store, &journal).await;
    let again = builder(store).shards(9).build(journal).await.expect("the recorded number counts");
    assert!(again.put(row(1, "a")).await.is_ok());
}

#[tokio::test]
async fn a_classify_that_panics_costs_a_turn_and_no_process() {
    let store = Troubled::new(|flush| if flush == 0 { Err(Error::rejected("a row is refused")) } else { Ok(()) });
    let hook = |_: &Error| panic!("a panic of the application's hook");
    let handle = builder(store.clone()).classify(hook).build(MemoryJournal::new()).await.expect("build");
    handle.put(row(1, "ada")).await.expect("accepted").durable().await.expect("invariant violated: a panic stops only that turn");
    assert_eq!(store.table.row(&1), Some(row(1, "ada")));
}
