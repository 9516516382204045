//! Counters over the in-process journal and store.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use writeway_back::{Counters, Kind, MemoryCounts, MemoryJournal, MemoryStore, Outcome, Result, WriteBack, counts};
use writeway_testkit::double::{Act, Script};

use super::scripted::ScriptedJournal;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PostCounts {
    likes: i64,
    views: i64,
}
counts!(PostCounts { likes, views });

type Posts = MemoryCounts<i64, PostCounts>;

fn of(likes: i64, views: i64) -> PostCounts {
    PostCounts { likes, views }
}

async fn posts(store: &Posts, journal: &MemoryJournal) -> Result<Counters<Posts>> {
    let builder = Counters::builder(store.clone()).namespace("post_counts").shards(2).max_delay(Duration::from_secs(60));
    builder.allow_volatile_changes().allow_unbounded_flushes().build(journal.clone()).await
}

/// One shard over a journal whose accepts follow the script, and which nothing flushes.
async fn scripted(call_timeout: Duration) -> (Counters<Posts>, Script) {
    let script = Script::new();
    let journal = ScriptedJournal { journal: MemoryJournal::new(), script: script.clone() };
    let builder = Counters::builder(Posts::new()).namespace("post_counts").shards(1).max_delay(Duration::from_secs(60));
    let builder = builder.call_timeout(call_timeout).allow_volatile_changes().allow_unbounded_flushes();
    (builder.build(journal).await.expect("built"), script)
}

#[tokio::test]
async fn what_is_added_is_read_at_once_and_is_in_sql_after_a_flush() {
    let (store, journal) = (Posts::new(), MemoryJournal::new());
    let counters = posts(&store, &journal).await.expect("built");
    assert_eq!(counters.get(&7).await.expect("read"), None);
    let ticket = counters.add(&7, of(1, 3)).await.expect("accepted");
    drop(counters.add(&7, of(1, 0)).await.expect("accepted"));
    drop(counters.add_many([(8, of(0, 1)), (7, of(0, 2)), (8, of(5, 1))]).await.expect("accepted"));
    let both = [Some(of(2, 5)), None, Some(of(5, 2)), Some(of(2, 5))];
    assert_eq!(counters.get_many(&[7, 9, 8, 7]).await.expect("read"), both);
    assert_eq!(store.row(&7), None, "nothing is flushed yet");

    counters.flush().await.expect("flushed");
    ticket.durable().await.expect("in sql");
    assert_eq!((store.row(&7), store.row(&8)), (Some(of(2, 5)), Some(of(5, 2))));
    let hits = counters.stats().await.expect("stats").reads.hits;
    assert_eq!(counters.get_many(&[7, 9, 8, 7]).await.expect("read"), both);
    assert_eq!(counters.stats().await.expect("stats").reads.hits, hits + 3, "what SQL returned is cached");

    drop(counters.add(&7, of(1, 0)).await.expect("accepted"));
    assert_eq!(counters.get(&7).await.expect("read"), Some(of(3, 5)));
    counters.invalidate(&[7]).await.expect("gone from the cache");
    assert_eq!(
        counters.get(&7).await.expect("read"),
        Some(of(3, 5)),
        "invariant violated: an increment is not cached, it is accepted"
    );
    counters.flush().await.expect("flushed");
    assert_eq!(store.row(&7), Some(of(3, 5)));
    assert_eq!(counters.shutdown(Duration::from_secs(1)).await.expect("ended").left, 0);
}

#[tokio::test]
async fn a_sum_that_does_not_fit_is_refused_and_nothing_of_it_is_accepted() {
    let (store, journal) = (Posts::new(), MemoryJournal::new());
    let counters = posts(&store, &journal).await.expect("built");
    drop(counters.add(&7, of(i64::MAX, 0)).await.expect("accepted"));
    let refused = counters.add(&7, of(1, 1)).await.expect_err("too much");
    assert_eq!(refused.kind(), Kind::Rejected);
    let refused = counters.add_many([(7, of(i64::MIN, 0)), (7, of(-1, 0))]).await.expect_err("too much");
    assert_eq!(refused.kind(), Kind::Invalid);
    assert_eq!(counters.get(&7).await.expect("read"), Some(of(i64::MAX, 0)), "invariant violated: sums are exact");
    drop(counters.add(&7, of(-2, 1)).await.expect("less is fine"));
    counters.flush().await.expect("flushed");
    assert_eq!(store.row(&7), Some(of(i64::MAX - 2, 1)));
}

#[tokio::test]
async fn what_the_column_cannot_hold_is_a_letter_and_what_comes_later_waits_for_it() {
    let (store, journal) = (Posts::new(), MemoryJournal::new());
    let counters = posts(&store, &journal).await.expect("built");
    drop(counters.add(&7, of(i64::MAX, 0)).await.expect("accepted"));
    counters.flush().await.expect("flushed");
    drop(counters.add(&7, of(1, 0)).await.expect("accepted"));
    drop(counters.add(&8, of(1, 0)).await.expect("accepted"));
    counters.flush().await.expect("set aside, or in SQL");
    let letters = counters.dead_letters(None).await.expect("listed");
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (store.row(&7), store.row(&8)),
        (Some(of(i64::MAX, 0)), Some(of(1, 0))),
        "invariant violated: one bad row stops only itself"
    );
    assert_eq!(counters.get(&7).await.expect("read"), Some(of(i64::MAX, 0)));

    // Something of it was taken back: now there is room.
    drop(counters.add(&7, of(-5, 2)).await.expect("accepted"));
    counters.flush().await.expect("flushed");
    assert_eq!(counters.redrive_all().await.expect("accepted").driven, 1);
    assert_eq!(counters.get(&7).await.expect("read"), Some(of(i64::MAX - 4, 2)));
    counters.flush().await.expect("flushed");
    assert_eq!(store.row(&7), Some(of(i64::MAX - 4, 2)), "invariant violated: an increment is in effect once");
    assert!(counters.dead_letters(None).await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_namespace_holds_rows_or_counters() {
    let journal = MemoryJournal::new();
    let _posts = posts(&Posts::new(), &journal).await.expect("built");
    let rows = MemoryStore::new(|row: &(i64, i64)| row.0);
    let rows = WriteBack::builder(rows).namespace("post_counts").allow_volatile_changes().allow_unbounded_flushes();
    let refused = rows.build(journal).await.expect_err("recorded as the other kind");
    assert_eq!(refused.kind(), Kind::Invalid);
    // The compiler refuses the rest: `WriteBack::builder` takes no store of counters.
    let _: fn(MemoryStore<i64, (i64, i64)>) -> writeway_back::WriteBackBuilder<_> = WriteBack::builder;
}

#[tokio::test]
async fn adds_that_meet_are_accepted_together_and_each_has_its_answer() {
    let (counters, script) = scripted(Duration::from_secs(5)).await;
    // The first is held up: the others meet behind it.
    script.on("accept", Act::HoldBefore);
    let mut adds = JoinSet::new();
    for n in 0..100 {
        let counters = counters.clone();
        adds.spawn(async move { (n, counters.add(&(n % 3), of(if n == 50 { i64::MAX } else { 1 }, 1)).await) });
    }
    script.called("accept", 1).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    script.on("accept", Act::Pass);
    let answers = adds.join_all().await;
    let refused: Vec<i64> = answers.iter().filter(|(_, answer)| answer.is_err()).map(|(n, _)| *n).collect();
    assert_eq!(refused.len(), 1, "invariant violated: what does not fit costs only itself");
    assert!(script.count("accept") < 10, "{} accepts for 100 adds", script.count("accept"));
    let counts = counters.get_many(&[0, 1, 2]).await.expect("read");
    let views: i64 = counts.into_iter().flatten().map(|counts| counts.views).sum();
    assert_eq!(views, 99, "invariant violated: every acknowledged increment is counted once");
    assert_eq!(counters.stats().await.expect("stats").accepted, 99);
}

#[tokio::test]
async fn an_add_whose_time_is_over_before_it_was_sent_is_not_sent_any_more() {
    let (counters, script) = scripted(Duration::from_millis(100)).await;
    script.on("accept", Act::Stall);
    let (one, other) = (counters.clone(), counters.clone());
    let mut calls = JoinSet::new();
    calls.spawn(async move { (1, one.add(&7, of(1, 0)).await) });
    script.called("accept", 1).await;
    calls.spawn(async move { (10, other.add(&7, of(10, 0)).await) });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(by, _)| *by);
    let [(_, first), (_, queued)] = <[_; 2]>::try_from(answers).expect("two");
    let first = first.expect_err("no answer");
    assert_eq!(first.outcome(), Outcome::Unknown);
    script.on("accept", Act::Pass);
    let queued = queued.expect_err("no answer");
    assert_ne!(queued.outcome(), Outcome::Applied);
    drop(counters.add(&8, of(1, 0)).await.expect("accepted"));
    let landed = counters.get(&7).await.expect("read");
    assert_eq!(landed, None, "invariant violated: after its caller was answered nothing of an add lands");
}

#[tokio::test]
async fn an_add_that_is_dropped_before_it_was_sent_takes_nobody_along() {
    let (counters, script) = scripted(Duration::from_secs(5)).await;
    script.on("accept", Act::HoldBefore);
    let (mut first, one, other) = (JoinSet::new(), counters.clone(), counters.clone());
    first.spawn(async move { one.add(&7, of(1, 0)).await });
    script.called("accept", 1).await;
    let mut dropped = Box::pin(async move { other.add(&7, of(10, 0)).await });
    assert!(polled(&mut dropped).await.is_none(), "it waits for the first");
    drop(dropped);
    script.on("accept", Act::Pass);
    drop(first.join_next().await.expect("one").expect("no panic").expect("accepted"));
    drop(counters.add(&7, of(100, 0)).await.expect("invariant violated: what a call left behind harms nobody"));
    assert_eq!(
        counters.get(&7).await.expect("read"),
        Some(of(101, 0)),
        "invariant violated: what was dropped unsent is not sent later"
    );
}

/// Polls once.
async fn polled<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
