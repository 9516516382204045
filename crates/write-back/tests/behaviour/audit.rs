//! The audit of cache, journal and SQL finds what differs, and raises no false alarm.

use std::time::Duration;

use writeway_back::MemoryJournal;
use writeway_back::change::{Change, Changes};
use writeway_back::store::Store as _;

use crate::{builder, row, table};

const CALL: Duration = Duration::from_millis(20);

#[tokio::test]
async fn clean_dirty_and_stale_are_told_apart() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store.clone()).call_timeout(CALL).max_delay(Duration::from_secs(60));
    let rows = rows.build(journal).await.expect("build");
    let ten = (0..10).fold(Changes::new(), |changes, n| changes.put(row(n, "x")));
    let _ = rows.write(ten).await.expect("write");
    let audit = rows.audit(100).await.expect("audit");
    assert!(audit.is_clean() && (audit.looked_at, audit.dirty) == (10, 10), "{audit:?}");
    rows.flush().await.expect("flush");
    assert_eq!(rows.get(&99).await.expect("get"), None);
    let audit = rows.audit(100).await.expect("audit");
    assert!(audit.is_clean() && (audit.looked_at, audit.equal, audit.absent) == (11, 10, 1), "{audit:?}");

    store.apply(&[Change::Put(row(3, "behind its back")), Change::Delete(4)]).await.expect("applied");
    let audit = rows.audit(100).await.expect("audit");
    let mut stale = audit.stale().to_vec();
    stale.sort_unstable();
    assert_eq!(stale, [3, 4], "invariant violated: an audit finds what differs");
    assert_eq!((audit.equal, audit.undecided, audit.stranded), (8, 0, 0));
    let reads = rows.stats().await.expect("stats").reads;
    assert_eq!(reads.stale, 2);
}

/// Every row goes to and fro between two values, so that the cache holds the very bytes again that it held before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_go_to_and_fro_are_no_finding() {
    let (store, journal) = (table(), MemoryJournal::new());
    let rows = builder(store).call_timeout(CALL).max_delay(Duration::from_millis(1)).build(journal).await.expect("build");
    for n in 0..8 {
        rows.put(row(n, "a")).await.expect("put").durable().await.expect("durable");
    }
    let writes = async {
        for round in 0..400 {
            let text = if round % 2 == 0 { "b" } else { "a" };
            for n in 0..8 {
                let _ = rows.put(row(n, text)).await.expect("put");
            }
            if round % 10 == 0 {
                rows.flush().await.expect("flush");
            } else {
                tokio::task::yield_now().await;
            }
        }
    };
    let audits = async {
        let mut looked_at = 0;
        for _ in 0..30 {
            let audit = rows.audit(100).await.expect("audit");
            assert!(audit.is_clean(), "invariant violated: an audit raises no false alarm: {audit:?}");
            looked_at += audit.looked_at;
        }
        looked_at
    };
    let ((), looked_at) = tokio::join!(writes, audits);
    assert!(looked_at >= 100, "{looked_at}");
}
