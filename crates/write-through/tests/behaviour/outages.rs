//! One of the two servers refuses, hangs, or loses an answer.

use std::time::Duration;

use writeway_testkit::double::Act;
use writeway_through::{CacheEffect, Kind, Outcome};

use crate::rig::{CALL, Rig, assert_refused, down, unanswered, user};

/// The deadline, and a timer's tick more.
const BY: Duration = Duration::from_millis(1_005);

#[tokio::test(start_paused = true)]
async fn without_the_cache_reads_are_served_and_strict_writes_refused() {
    let rig = Rig::new().await;
    rig.seed([user(7, "ada")]).await;
    rig.redis.on_all(Act::Fail(down));
    for _ in 0..3 {
        assert_eq!(rig.users.get(&7).await.expect("from sql"), Some(user(7, "ada")));
        assert_eq!(rig.users.get_many(&[7, 8]).await.expect("from sql"), [Some(user(7, "ada")), None]);
    }
    assert_eq!((rig.sql.count("fetch"), rig.redis.count("fill"), rig.redis.count("lease")), (6, 0, 0));
    assert_refused(rig.users.put(user(7, "new")).await, Kind::Unavailable);
    assert_refused(rig.users.delete(&7).await, Kind::Unavailable);
    assert_refused(rig.users.invalidate(&[7]).await, Kind::Unavailable);
    assert_refused(rig.users.invalidate_all().await, Kind::Unavailable);
    assert_eq!(
        (rig.sql.count("commit"), rig.rows.row(&7)),
        (0, Some(user(7, "ada"))),
        "invariant violated: refused means unchanged"
    );
    rig.assert_clean(7).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_cache_eventual_writes_commit_and_say_so() {
    let rig = Rig::eventual().await;
    rig.redis.on_all(Act::Fail(down));
    let written = rig.users.put(user(7, "ada")).await.expect("committed");
    assert_eq!(written.row, Some(user(7, "ada")));
    let CacheEffect::Lapses { within } = written.cache else { panic!("{:?}", written.cache) };
    assert!(within >= Duration::from_secs(60), "the old value may live for its time-to-live and a tenth: {within:?}");
    assert_eq!(rig.rows.row(&7), Some(user(7, "ada")));
    assert!(matches!(rig.users.delete(&7).await.expect("committed").cache, CacheEffect::Lapses { .. }));
    rig.assert_clean(7).await;
}

/// The cache takes every request and never answers. It may have half of the time: the rest is for SQL.
#[tokio::test(start_paused = true)]
async fn a_cache_that_hangs_leaves_the_reader_time_for_sql() {
    for call in ["get", "lease", "fill"] {
        let rig = Rig::new().await;
        rig.in_sql_only(user(7, "ada")).await;
        rig.redis.on(call, Act::Stall);
        let (found, took) = rig.timed(rig.users.get(&7)).await;
        assert!(
            matches!(&found, Ok(Some(row)) if *row == user(7, "ada")),
            "invariant violated: reads outlive a hung cache ({call}): {found:?}"
        );
        assert!(took < CALL, "get with {call} hung took {took:?}");
        rig.users.invalidate(&[7]).await.expect("only one call hangs");
        let (found, took) = rig.timed(rig.users.get_many(&[7, 8])).await;
        assert!(matches!(&found, Ok(rows) if rows[0] == Some(user(7, "ada"))), "get_many with {call} hung: {found:?}");
        assert!(took < CALL, "get_many with {call} hung took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_hangs_holds_no_writer_beyond_its_deadline() {
    let rig = Rig::new().await;
    rig.seed([user(7, "ada")]).await;
    rig.redis.on_all(Act::Stall);
    let (refused, took) = rig.timed(rig.users.put(user(7, "new"))).await;
    assert_refused(refused, Kind::Unavailable);
    assert!(took <= BY, "{took:?}");
    assert_eq!(rig.rows.row(&7), Some(user(7, "ada")), "invariant violated: refused means unchanged");
    for work in [rig.timed(rig.users.invalidate(&[7])).await.1, rig.timed(rig.users.invalidate_all()).await.1] {
        assert!(work <= BY, "{work:?}");
    }
    // Only the answer to begin is lost: the barrier stands, and the writer must still refuse and clean up.
    for act in [Act::LandAndStall, Act::LoseAnswer(down)] {
        rig.redis.on_all(Act::Pass);
        rig.redis.on("begin", act);
        let (refused, took) = rig.timed(rig.users.put(user(7, "new"))).await;
        assert_refused(refused, Kind::Unavailable);
        assert!(took <= BY, "{took:?}");
        rig.assert_clean(7).await;
        rig.seed([user(7, "ada")]).await;
    }
    let rig = Rig::eventual().await;
    rig.redis.on_all(Act::Stall);
    let (written, took) = rig.timed(rig.users.put(user(7, "new"))).await;
    assert!(matches!(written.expect("committed").cache, CacheEffect::Lapses { .. }));
    assert!(took <= BY, "{took:?}");
}

/// Committed, but the cache does not hear of it: no error, and nothing stale.
#[tokio::test(start_paused = true)]
async fn a_lost_finish_is_no_error_and_never_stale() {
    for act in [Act::Fail(down), Act::LoseAnswer(down), Act::Stall, Act::LandAndStall] {
        let rig = Rig::new().await;
        rig.seed([user(7, "old")]).await;
        rig.redis.on("finish", act);
        let (written, took) = rig.timed(rig.users.put(user(7, "new"))).await;
        let written = written.expect("invariant violated: a cache failure never makes an error of a committed write");
        assert!(matches!(written.cache, CacheEffect::Lapses { .. }) && took <= BY, "{written:?} {took:?}");
        rig.redis.on("finish", Act::Pass);
        for _ in 0..3 {
            assert_eq!(
                rig.users.get(&7).await.expect("get"),
                Some(user(7, "new")),
                "invariant violated: the barrier hides the old value"
            );
        }
        // Where finish was not heard at all, the barrier lapses.
        writeway_through::runtime::Runtime::sleep(&rig.runtime, CALL * 3).await;
        rig.assert_clean(7).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_sql_hits_are_served_and_the_rest_is_a_typed_error_in_time() {
    for (act, after) in [(Act::Fail(down), Duration::ZERO), (Act::Stall, CALL)] {
        let rig = Rig::new().await;
        rig.seed([user(7, "ada")]).await;
        rig.sql.on_all(act);
        assert_eq!(rig.users.get(&7).await.expect("a hit"), Some(user(7, "ada")));
        let (missed, took) = rig.timed(rig.users.get(&8)).await;
        assert_refused(missed, Kind::Unavailable);
        assert!((after..=BY).contains(&took), "get {took:?}");
        let (missed, took) = rig.timed(rig.users.get_many(&[7, 8])).await;
        assert_refused(missed, Kind::Unavailable);
        assert!(took <= BY, "get_many {took:?}");
        let (refused, took) = rig.timed(rig.users.put(user(7, "new"))).await;
        assert_refused(refused, Kind::Unavailable);
        assert!(took <= BY, "put {took:?}");
        let (refused, took) = rig.timed(rig.users.begin()).await;
        assert_refused(refused.map(drop), Kind::Unavailable);
        assert!(took <= BY, "begin {took:?}");
        assert_eq!(rig.users.get(&7).await.expect("still a hit"), Some(user(7, "ada")));
        rig.assert_clean(7).await;
    }
}

/// One step of the write hangs or fails before COMMIT: nothing is committed, nothing is left.
#[tokio::test(start_paused = true)]
async fn a_write_that_fails_before_its_commit_leaves_nothing() {
    for call in ["begin", "apply_in"] {
        for act in [Act::Fail(down), Act::LoseAnswer(unanswered), Act::Stall, Act::LandAndStall] {
            let rig = Rig::new().await;
            rig.seed([user(7, "old")]).await;
            rig.sql.on(call, act);
            let (refused, took) = rig.timed(rig.users.put(user(7, "new"))).await;
            let e = refused.expect_err("a refusal");
            // A begin whose answer was lost may say what it likes of the outcome but `Applied`.
            assert!(call == "begin" || e.outcome() == Outcome::NotApplied, "{call} {act:?}: {e}");
            assert!(e.kind() == Kind::Unavailable && took <= BY, "{call} {act:?}: {e} {took:?}");
            assert_eq!(rig.redis.count("begin"), 0, "no barrier before the statements have run");
            assert_eq!(rig.users.get(&7).await.expect("a hit"), Some(user(7, "old")));
            rig.assert_clean(7).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_unknown_outcome_keeps_its_barrier() {
    // Landed or not, with an error or without any answer.
    for act in [Act::LoseAnswer(unanswered), Act::Fail(unanswered), Act::LandAndStall, Act::Stall] {
        let rig = Rig::new().await;
        rig.seed([user(7, "old")]).await;
        rig.sql.on("commit", act);
        let (unknown, took) = rig.timed(rig.users.put(user(7, "new"))).await;
        let e = unknown.expect_err("nobody can know");
        assert_eq!((e.kind(), e.outcome(), e.is_retryable()), (Kind::Unavailable, Outcome::Unknown, false), "{act:?}: {e}");
        assert!(took <= BY, "{took:?}");
        assert_eq!(
            (rig.cache.barriers(), rig.redis.count("finish")),
            (1, 0),
            "invariant violated: an unknown commit touches nothing"
        );
        for _ in 0..3 {
            assert_eq!(
                rig.users.get(&7).await.expect("get"),
                rig.rows.row(&7),
                "invariant violated: right after an unknown commit"
            );
        }
        assert_eq!(rig.redis.count("fill"), 0, "nobody fills behind a barrier");
        // The barrier lapses by itself, two seconds after it was placed.
        while rig.cache.barriers() > 0 {
            assert_eq!(rig.users.get(&7).await.expect("get"), rig.rows.row(&7));
            writeway_through::runtime::Runtime::sleep(&rig.runtime, Duration::from_millis(50)).await;
        }
        assert_eq!(rig.users.get(&7).await.expect("get"), rig.rows.row(&7));
        rig.sql.forget();
        assert_eq!(rig.users.get(&7).await.expect("get"), rig.rows.row(&7));
        assert_eq!(rig.sql.count("fetch"), 0, "filled again, once the barrier had lapsed");
        rig.assert_clean(7).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_takes_its_barrier_away() {
    let rig = Rig::new().await;
    rig.seed([user(7, "old")]).await;
    rig.sql.on("commit", Act::Fail(|| writeway_through::Error::rejected("a deferred constraint")));
    assert_refused(rig.users.put(user(7, "new")).await, Kind::Rejected);
    rig.runtime.quiet().await;
    assert_eq!(rig.cache.barriers(), 0, "invariant violated: no barrier left");
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "old")));
    rig.assert_clean(7).await;
}

#[tokio::test(start_paused = true)]
async fn an_eventual_commit_of_unknown_outcome_invalidates() {
    for act in [Act::LoseAnswer(unanswered), Act::LandAndStall] {
        let rig = Rig::eventual().await;
        rig.in_sql_only(user(7, "old")).await;
        rig.users.get(&7).await.expect("filled");
        rig.sql.on("commit", act);
        let (unknown, took) = rig.timed(rig.users.put(user(7, "new"))).await;
        assert_eq!(unknown.expect_err("nobody can know").outcome(), Outcome::Unknown);
        assert!(took <= BY, "{took:?}");
        rig.runtime.quiet().await;
        assert_eq!(
            rig.users.get(&7).await.expect("get"),
            Some(user(7, "new")),
            "invariant violated: an unknown commit invalidates"
        );
    }
}

/// The barrier was placed, but so late that the commit could outlive it.
#[tokio::test(start_paused = true)]
async fn the_commit_guard_rolls_back() {
    let rig = Rig::with(|b| b.call_timeout(Duration::from_secs(10)).commit_within(Duration::from_secs(2))).await;
    rig.seed([user(7, "old")]).await;
    rig.redis.on("begin", Act::HoldAfter);
    let release = async {
        rig.redis.called("begin", 1).await;
        writeway_through::runtime::Runtime::sleep(&rig.runtime, Duration::from_millis(1_499)).await;
        rig.redis.on("begin", Act::Pass);
    };
    let (written, ()) = tokio::join!(rig.users.put(user(7, "in time")), release);
    assert_eq!(written.expect("in time").cache, CacheEffect::Published);
    rig.redis.forget();
    rig.sql.forget();
    rig.redis.on("begin", Act::LandAndStall);
    let (refused, took) = rig.timed(rig.users.put(user(7, "late"))).await;
    assert_refused(refused, Kind::Unavailable);
    assert!(took < Duration::from_millis(1_510), "three quarters of the barrier's life: {took:?}");
    assert_eq!(rig.sql.count("commit"), 0, "invariant violated: commit guard");
    rig.assert_clean(7).await;
}
