//! Misses that come together.

use std::sync::Arc;

use writeway_testkit::double::Act;

use crate::rig::{Rig, user};

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_are_one_load_and_the_first_caller_may_go() {
    let rig = Arc::new(Rig::new().await);
    rig.in_sql_only(user(7, "ada")).await;
    rig.redis.on("lease", Act::HoldBefore);
    let get = |rig: Arc<Rig>| async move { rig.users.get(&7).await };
    let first = spawn(get(rig.clone()));
    rig.redis.called("lease", 1).await;
    let rest: Vec<_> = (1..1_000).map(|_| spawn(get(rig.clone()))).collect();
    rig.redis.called("get", 1_000).await;
    first.abort();
    assert!(first.await.is_err_and(|e| e.is_cancelled()));
    rig.redis.on("lease", Act::Pass);
    for caller in rest {
        assert_eq!(caller.await.expect("no panic").expect("get"), Some(user(7, "ada")));
    }
    assert_eq!((rig.sql.count("fetch"), rig.redis.count("lease")), (1, 1), "invariant violated: one load per process");
}

/// The read of the first caller has started; a write is acknowledged; only then the second caller asks.
#[tokio::test(start_paused = true)]
async fn nobody_joins_a_read_that_has_started() {
    let rig = Arc::new(Rig::new().await);
    rig.in_sql_only(user(7, "old")).await;
    rig.sql.on("fetch", Act::HoldAfter);
    let early = spawn({
        let rig = rig.clone();
        async move { rig.users.get(&7).await }
    });
    rig.sql.called("fetch", 1).await;
    rig.users.put(user(7, "new")).await.expect("put");
    rig.users.invalidate(&[7]).await.expect("so that the next caller misses");
    let late = spawn({
        let rig = rig.clone();
        async move { rig.users.get(&7).await }
    });
    rig.redis.called("get", 2).await;
    rig.redis.called("lease", 2).await;
    rig.sql.on("fetch", Act::Pass);
    assert_eq!(early.await.expect("no panic").expect("get"), Some(user(7, "old")), "it asked before the write");
    assert_eq!(late.await.expect("no panic").expect("get"), Some(user(7, "new")), "invariant violated: single-flight staleness");
    rig.runtime.quiet().await;
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "new")), "invariant violated: no late fill");
}

/// The load of a key that another process loads waits for it, and looks again.
#[tokio::test(start_paused = true)]
async fn a_busy_lease_is_waited_for() {
    let rig = Rig::new().await;
    let other = {
        use writeway_through::cache::{Ask, Entries, Hold, Id};
        let hold = Hold { owner: std::time::Duration::from_millis(200), key: std::time::Duration::from_secs(3) };
        let ask = Ask { key: b"users:7".to_vec(), id: Id([9; 16]), discard: false };
        rig.cache.lease(&[ask], hold).await.expect("granted")
    };
    assert_eq!(other.len(), 1);
    rig.in_sql_only(user(7, "ada")).await;
    let (found, took) = rig.timed(rig.users.get(&7)).await;
    assert_eq!(found.expect("get"), Some(user(7, "ada")));
    assert!(
        rig.redis.count("lease") > 1 && took.as_millis() >= 200,
        "it took over after the lease's owner had lost it: {took:?}"
    );
    assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "ada")));
    assert_eq!(rig.sql.count("fetch"), 1, "the fill landed under the lease that was taken over");
}

#[expect(clippy::disallowed_methods, reason = "callers of a test")]
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}
