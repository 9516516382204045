//! The audit finds what differs from SQL, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use writeway_testkit::double::Act;
use writeway_through::Kind;

use crate::rig::{CALL, Rig, down, user};

#[tokio::test(start_paused = true)]
async fn a_row_that_was_changed_behind_the_cache_is_found() {
    let rig = Rig::new().await;
    rig.seed((0..300).map(|id| user(id, "ada"))).await;
    rig.users.get(&999).await.expect("there is no such row");
    rig.cache.plant("users:7", b"damaged");
    rig.runtime.quiet().await;
    rig.in_sql_only(user(42, "eve")).await;
    let audit = rig.users.audit(1_000).await.expect("audit");
    assert_eq!(audit.stale(), [42], "invariant violated: an audit finds what differs");
    assert_eq!((audit.looked_at, audit.equal, audit.absent, audit.empty), (301, 298, 1, 1), "{audit:?}");
    assert!(!audit.is_clean() && !format!("{audit:?}").contains("42"), "{audit:?}");
    let reads = rig.users.stats().reads;
    assert_eq!((reads.audited, reads.stale), (299, 1));
    rig.users.invalidate(&[42]).await.expect("invalidate");
    assert!(rig.users.audit(1_000).await.expect("audit").is_clean());
}

/// Between its look into the cache and its read of SQL, somebody writes; and so again at its second look.
#[tokio::test(start_paused = true)]
async fn a_row_that_is_written_meanwhile_is_no_finding() {
    for times in 1..=2 {
        let rig = Arc::new(Rig::new().await);
        rig.seed([user(1, "0")]).await;
        let auditor = rig.clone();
        rig.sql.on("fetch", Act::HoldBefore);
        #[expect(clippy::disallowed_methods, reason = "callers of a test")]
        let audit = tokio::spawn(async move { auditor.users.audit(10).await });
        for n in 1..=times {
            rig.sql.called("fetch", n).await;
            rig.users.put(user(1, &n.to_string())).await.expect("put");
            rig.sql.on("fetch", Act::Pass);
            rig.sql.on("fetch", Act::HoldBefore);
            tokio::task::yield_now().await;
        }
        rig.sql.on("fetch", Act::Pass);
        let audit = audit.await.expect("no panic").expect("audit");
        assert!(audit.is_clean(), "invariant violated: an audit raises no false alarm: {audit:?}");
        assert_eq!(audit.looked_at, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_changes_the_table_and_invalidates_at_once_is_not_reported() {
    let rig = Arc::new(Rig::new().await);
    rig.seed([user(1, "old"), user(2, "old")]).await;
    rig.in_sql_only(user(1, "new")).await;
    let auditor = rig.clone();
    #[expect(clippy::disallowed_methods, reason = "callers of a test")]
    let audit = tokio::spawn(async move { auditor.users.audit(10).await });
    rig.sql.called("fetch", 1).await;
    writeway_through::runtime::Runtime::sleep(&rig.runtime, Duration::from_millis(300)).await;
    rig.users.invalidate(&[1]).await.expect("invalidate");
    let audit = audit.await.expect("no panic").expect("audit");
    assert_eq!((audit.equal, audit.undecided, audit.stale()), (1, 1, &[][..]), "{audit:?}");
}

#[tokio::test(start_paused = true)]
async fn small_audits_come_round_to_all_keys() {
    let rig = Rig::new().await;
    rig.seed((0..1_000).map(|id| user(id, "ada"))).await;
    rig.in_sql_only(user(77, "eve")).await;
    let mut audits = 0;
    loop {
        let audit = rig.users.audit(250).await.expect("audit");
        assert!(audit.looked_at <= 250);
        audits += 1;
        if audit.stale() == [77] {
            break;
        }
        assert!(audits < 100, "never found");
    }
}

#[tokio::test(start_paused = true)]
async fn an_audit_ends_by_its_deadlines_and_says_what_is_away() {
    for (call, act) in [("scan", Act::Stall), ("get", Act::Stall), ("fetch", Act::Stall), ("get", Act::Fail(down))] {
        let rig = Rig::new().await;
        rig.seed([user(1, "ada")]).await;
        rig.sql.on(call, act);
        rig.redis.on(call, act);
        let (audit, took) = rig.timed(rig.users.audit(10)).await;
        assert_eq!(audit.expect_err("away").kind(), Kind::Unavailable);
        assert!(took <= CALL, "{call}: {took:?}");
    }
    let rig = Rig::new().await;
    assert_eq!(rig.users.audit(0).await.expect_err("nothing to do").kind(), Kind::Invalid);
}
