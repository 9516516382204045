//! Accept levels, and settings that somebody changes, as a user of one handle sees them.

use std::time::Duration;

use writeway_back::error::{Error, Kind, Outcome};
use writeway_back::{Drift, Level, MemoryJournal};
use writeway_core::runtime::Runtime as _;
use writeway_testkit::double::{Act, TestRuntime};

use crate::doubles::Troubled;
use crate::slow::{quick, scripted};
use crate::{builder, row, table};

fn not_in_time() -> Error {
    Error::unknown("not confirmed")
}

#[tokio::test]
async fn a_journal_in_the_process_has_no_level_but_memory() {
    for level in [Level::LocalFsync, Level::Replicated(1)] {
        let refused = builder(table()).accept_level(level).build(MemoryJournal::new()).await.map(drop).expect_err("refused");
        assert_eq!((refused.kind(), refused.outcome()), (Kind::Invalid, Outcome::NotApplied), "{refused}");
    }
    assert!(builder(table()).accept_level(Level::Memory).build(MemoryJournal::new()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_level_that_is_not_reached_at_the_start_is_refused_there() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    script.on("confirm", Act::Fail(not_in_time));
    let built = quick(Troubled::new(|_| Ok(())), &runtime).accept_level(Level::Replicated(1)).build(journal).await;
    let e = built.map(drop).expect_err("refused");
    assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::NotApplied), "{e}");
    assert!(e.to_string().contains("accept level"), "{e}");
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_and_not_confirmed_is_in_doubt_and_on_its_way() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    let store = Troubled::new(|_| Ok(()));
    let rows = quick(store.clone(), &runtime).accept_level(Level::Replicated(1)).build(journal).await.expect("build");
    script.forget();
    for (act, key) in [(Act::Fail(not_in_time), 1), (Act::Fail(Error::fenced), 2), (Act::Stall, 3)] {
        script.on("confirm", act);
        let (asked, e) = (runtime.now(), rows.put(row(key, "a")).await.map(drop).expect_err("not confirmed"));
        let told = "invariant violated: what is accepted and not confirmed is in doubt";
        assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::Unknown), "{told}: {e}");
        assert!(runtime.now() - asked <= Duration::from_secs(1), "invariant violated: every call ends by its deadline");
        assert_eq!(rows.get(&key).await.expect("get"), Some(row(key, "a")));
    }
    assert_eq!(script.count("accept"), 3, "invariant violated: an accept lands once");
    script.on("confirm", Act::Pass);
    rows.flush().await.expect("flush");
    let in_sql = (1..=3).all(|key| store.table.row(&key) == Some(row(key, "a")));
    assert!(in_sql, "invariant violated: what is accepted reaches sql, confirmed or not");
    assert_eq!(rows.stats().await.expect("stats").unconfirmed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_write_to_many_shards_is_confirmed_once() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    let store = Troubled::new(|_| Ok(()));
    let rows = quick(store, &runtime).shards(8).accept_level(Level::LocalFsync).build(journal).await.expect("build");
    script.forget();
    let _ = rows.write((0..100).map(|n| writeway_back::Change::Put(row(n, "x"))).collect()).await.expect("written");
    assert_eq!((script.count("accept"), script.count("confirm"), script.items("confirm")), (8, 1, 8));
}

#[tokio::test(start_paused = true)]
async fn memory_asks_for_nothing() {
    let runtime = TestRuntime::new();
    let (journal, script) = scripted(&runtime);
    let rows = quick(Troubled::new(|_| Ok(())), &runtime).build(journal).await.expect("build");
    let ticket = rows.put(row(1, "a")).await.expect("put");
    ticket.durable().await.expect("durable");
    assert_eq!(script.count("confirm"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_flushed_once_it_is_confirmed_where_that_was_asked_for() {
    for durable in [true, false] {
        let runtime = TestRuntime::new();
        let (journal, script) = scripted(&runtime);
        let store = Troubled::new(|_| Ok(()));
        let builder = quick(store.clone(), &runtime).shards(1).accept_level(Level::Replicated(1));
        let builder = if durable { builder.durable_claims() } else { builder };
        let rows = builder.build(journal).await.expect("build");
        script.forget();
        script.on("confirm", Act::Fail(not_in_time));
        rows.put(row(1, "a")).await.map(drop).expect_err("not confirmed");
        if durable {
            let flushed = rows.flush().await.is_ok() || store.applied.load(std::sync::atomic::Ordering::SeqCst) > 0;
            assert!(!flushed, "invariant violated: a claim is confirmed before it is flushed");
            assert!(script.count("confirm") > 3, "the put's, and the flusher's tries");
            script.on("confirm", Act::Pass);
        }
        // The flusher may be pausing after its last failure.
        let mut flushed = false;
        for _ in 0..20 {
            flushed |= rows.flush().await.is_ok();
        }
        assert!(flushed, "invariant violated: everything drains");
        assert_eq!(store.table.row(&1), Some(row(1, "a")));
    }
}

#[tokio::test(start_paused = true)]
async fn drift_is_counted_and_by_choice_refused_until_it_is_mended() {
    for (drift, goes_on) in [(Drift::Report, true), (Drift::Refuse, false)] {
        let runtime = TestRuntime::new();
        let (journal, script) = scripted(&runtime);
        let builder = quick(Troubled::new(|_| Ok(())), &runtime).recheck_every(Duration::from_secs(3)).on_drift(drift);
        let rows = builder.build(journal).await.expect("build");
        script.forget();
        script.on("unmet", Act::Fail(|| Error::invalid("it evicts by allkeys-lru")));
        // When the third is asked, what the second said is known.
        script.called("unmet", 3).await;
        match rows.put(row(1, "a")).await {
            Ok(_) => assert!(goes_on, "invariant violated: drift refuses writes where that was chosen"),
            Err(e) => {
                assert!(!goes_on && e.is_retryable() && e.to_string().contains("allkeys-lru"), "{e}");
                assert_eq!(rows.get(&1).await.expect("reads go on"), None);
            }
        }
        assert_eq!(rows.stats().await.expect("stats").drifts, 1, "invariant violated: drift is told once");
        script.on("unmet", Act::Pass);
        let asked = script.count("unmet");
        script.called("unmet", asked + 2).await;
        let _ = rows.put(row(1, "b")).await.expect("mended");
        assert_eq!(rows.stats().await.expect("stats").drifts, 1);
    }
}
