//! Two servers that went apart: a replica that was cut off and promoted takes writes, and then handles are led back to the first,
//! which has changes of its own and knows nothing of the others. As in a split brain, or with a name that flips.

use std::time::Duration;

use crate::failover::{PLAYERS, Pair, all_settled};
use crate::lost_file::reads_nothing_older;
use crate::rig::{Handle, eventually, flushed, put_all};

/// A replica that was cut off and promoted takes writes; then handles are led back to the first, which knows nothing of them.
async fn there_and_back(test: &str) -> Option<(Pair, Handle)> {
    let pair = Pair::new(test).await?;
    let handle = pair.rig.build(|builder| builder.max_delay(Duration::from_secs(600))).await;
    drop(put_all(&handle, PLAYERS, 1).await);
    flushed(&handle).await;
    pair.caught_up().await;
    pair.promoted();
    Some((pair, handle))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_does_not_take_sql_back() {
    let Some((pair, handle)) = there_and_back("back").await else { return };
    // On the first they are dirty; on the second come newer ones.
    drop(put_all(&handle, PLAYERS, 2).await);
    pair.led_to_second();
    drop(put_all(&handle, PLAYERS, 3).await);
    flushed(&handle).await;
    let before = handle.stats().await.expect("stats").loss_possible;
    led_to_first(&pair);
    flushed(&handle).await;
    reads_nothing_older(&pair.rig, &handle, PLAYERS).await;
    drop(put_all(&handle, PLAYERS, 4).await);
    flushed(&handle).await;
    let rows = pair.rig.ascending().await;
    assert!(rows.values().all(|steps| steps.ends_with(&[4])), "invariant violated: new changes land: {rows:?}");
    let after = handle.stats().await.expect("stats");
    println!("there and back: loss possible {before}, then {}; {} dead", after.loss_possible, after.dead);
    assert!(after.loss_possible > before, "invariant violated: a loss is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_number_another_server_used_is_not_taken_for_flushed() {
    let Some((pair, handle)) = there_and_back("numbers").await else { return };
    // An open batch on the first.
    let hold = pair.rig.block_sql().await;
    let tickets = put_all(&handle, PLAYERS, 2).await;
    let frozen = async {
        eventually("open batches", async || (pair.rig.status().await.open == 40).then_some(())).await;
        pair.led_to_second();
    };
    // It does not get through: SQL is blocked, and then the first is away.
    let _ended = tokio::join!(handle.flush(), frozen).0;
    pair.rig.end_sessions().await;
    hold.release().await;
    // On the second other rows, by batches of the same numbers.
    let others = PLAYERS.end..PLAYERS.end + 40;
    drop(put_all(&handle, others, 1).await);
    flushed(&handle).await;
    led_to_first(&pair);
    flushed(&handle).await;
    let doubts = all_settled(&pair.rig, &tickets, 2).await;
    let stats = handle.stats().await.expect("stats");
    println!("numbers used twice: {doubts} in doubt; {stats:?}");
    pair.rig.ascending().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_clean_before_another_server_was_used_is_not_read_again() {
    let Some((pair, handle)) = there_and_back("clean").await else { return };
    pair.led_to_second();
    drop(put_all(&handle, PLAYERS, 3).await);
    flushed(&handle).await;
    let before = handle.stats().await.expect("stats").loss_possible;
    led_to_first(&pair);
    // The flusher looks at every shard about once a second, and finds an epoch that is over.
    pair.loss_is_told(&handle, before).await;
    reads_nothing_older(&pair.rig, &handle, PLAYERS).await;
    pair.rig.ascending().await;
}

fn led_to_first(pair: &Pair) {
    pair.wire.lead_to(pair.rig.redis_address());
    pair.wire.kill_all();
}
