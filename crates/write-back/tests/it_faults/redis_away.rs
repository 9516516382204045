//! Redis freezes, then dies: callers get typed answers, no read falls behind what was accepted, and all goes on afterwards.

use crate::is_long;
use crate::load::{Load, Shape};
use crate::rig::{Rig, flushed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_is_told_and_nobody_reads_the_past() {
    let Some(mut rig) = Rig::new("redis_away").await else { return };
    rig.fsync_always();
    let handle = rig.handle().await;
    let load = Load::start(&handle, Shape::default());
    // Nothing but refusals, for a while.
    let refusals = if is_long() { 5_000 } else { 200 };
    load.goes_on().await;
    rig.redis.pause().expect("paused");
    load.is_refused(refusals).await;
    rig.redis.resume().expect("resumed");
    let thawed = load.goes_on().await;
    rig.redis.kill().expect("killed");
    load.is_refused(refusals).await;
    tokio::task::block_in_place(|| rig.redis.restart()).expect("restarted");
    let restarted = load.goes_on().await;
    load.stop().await;
    flushed(&handle).await;
    println!("{}; again {thawed:?} after the thaw, {restarted:?} after the restart", load.counts());
    load.answers_are_right();
    let verdict = load.verdict(&rig.ledger).await;
    assert_eq!(verdict, Default::default(), "invariant violated: a restart that loses nothing loses nothing");
    rig.ascending().await;
}
