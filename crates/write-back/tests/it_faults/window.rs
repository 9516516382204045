//! One hot row: how soon it is durable, and how little of it SQL sees.

use std::time::Duration;

use writeway_back::{Receipt, runtime::Runtime as _, runtime::Tokio};
use writeway_testkit::harness::{Job, number, score};

use crate::rig::{FLUSH, Rig};
use crate::worker::{Like, Mate, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_never_rests_is_durable_after_two_flushes() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("durable").await else { return };
    let like = Like { delay: Duration::from_millis(200), flush: FLUSH, batch: 1_000 };
    let test = "window::a_row_that_never_rests_is_durable_after_two_flushes";
    let mut writer = Mate::start(test, &rig.given, &rig.schema, like).await;
    writer.worker.tell("hammer 7");
    let other = rig.build(|builder| builder.max_delay(like.delay)).await;
    let mut conn = rig.schema.connect().await;
    let flushes = "SELECT sum(batch) FROM writeway_fence WHERE namespace = 'scores'";
    let (mut most, mut slowest) = (0, Duration::ZERO);
    for _ in 0..20 {
        let receipt = writer.ask("receipt").await;
        let receipt: Receipt = serde_json::from_str(&receipt).expect("a receipt");
        let (before, asked) = (number(&mut conn, flushes).await, Tokio.now());
        other.durable(&receipt).await.expect("invariant violated: durable() ends also where the row never rests");
        slowest = slowest.max(Tokio.now() - asked);
        most = most.max(number(&mut conn, flushes).await - before);
    }
    println!("20 receipts of a row written every millisecond: at most {most} flushes, slowest {slowest:?}");
    // The one under way, the change's own, and one that may end before we look.
    assert!(most <= 3, "invariant violated: durable() ends after two flushes: {most}");
    assert!(most > 0, "nothing had to be waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_changes_in_a_window_are_one_row_change() {
    let Some(rig) = Rig::new("window").await else { return };
    let handle = rig.build(|builder| builder.max_delay(Duration::from_secs(600))).await;
    for n in 0..100 {
        drop(handle.put(score(7, 2 * n + 1)).await.expect("put"));
        drop(handle.delete(&(1, 7)).await.expect("delete"));
        drop(handle.put(score(7, 2 * n + 2)).await.expect("put"));
    }
    handle.flush().await.expect("flush");
    let steps = rig.ascending().await.remove(&7);
    assert_eq!(steps, Some(vec![200]), "invariant violated: changes of one row are coalesced, and the last one wins");
    let stats = handle.stats().await.expect("stats");
    assert_eq!((stats.accepted, stats.flushed, stats.batches), (300, 1, 1), "{stats:?}");
}
