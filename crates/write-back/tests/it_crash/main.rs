//! Processes that die: two workers on one namespace, killed at random moments and started again, while SQL's sessions are ended
//! every 200 ms and Redis restarts. Every acknowledgement is with the parent before the key's next change begins, a trigger
//! records what SQL went through, and in the end the two are compared.
//!
//! The same harness is run on two forms that are wrong, and must say so: one that acknowledges what only its own memory holds,
//! and one that flushes past the fence.
//!
//! `soak` is the same with all other faults at random.
//!
//! `WRITEWAY_LONG` asks for a thousand kills, `WRITEWAY_SOAK` for so many minutes of soak.

mod parent;
mod soak;
mod worker;

use parent::{Parent, Plan, Seen};
use writeway_testkit::harness::{Job, Verdict};

fn is_long() -> bool {
    std::env::var_os("WRITEWAY_LONG").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_sql_exactly_once() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    let (kills, restarts) = if is_long() { (1_000, 20) } else { (40, 2) };
    let test = "what_was_acknowledged_is_in_sql_exactly_once";
    let Some(parent) = Parent::new(Plan { form: "fenced", test, kills, restarts }).await else { return };
    let seen = parent.run().await;
    assert_eq!(seen.verdict.lost, 0, "invariant violated: an acknowledged change reaches sql");
    assert_eq!(seen.verdict.regressed, 0, "invariant violated: sql never goes backwards");
    assert_eq!(seen.verdict.doubled, 0, "invariant violated: a change is applied once");
    assert_eq!(seen.verdict, Verdict::default(), "invariant violated: a refused change is not applied");
    let Seen { kills, loaded, with_batch, restarts, sessions, already, .. } = seen;
    assert!(loaded * 2 >= kills, "the harness did too little: {loaded} kills with a hundred changes on their way");
    assert!(with_batch * 10 >= kills, "the harness did too little: {with_batch} kills with an open batch");
    assert!(restarts > 0 && sessions > 0 && already > 0, "the harness did too little: {seen:?}");
}

/// Runs until something is seen, at most so often.
async fn sees(form: &'static str, test: &'static str, what: fn(&Verdict) -> u64) {
    for _ in 0..5 {
        let Some(parent) = Parent::new(Plan { form, test, kills: 4, restarts: 0 }).await else { return };
        if what(&parent.run().await.verdict) > 0 {
            return;
        }
    }
    panic!("the harness does not see what is wrong with {form}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dirty_set_in_the_process_is_seen_to_lose() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    sees("naive", "a_dirty_set_in_the_process_is_seen_to_lose", |verdict| verdict.lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_past_the_fence_are_seen_to_double() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    sees("fenceless", "flushes_past_the_fence_are_seen_to_double", |verdict| verdict.doubled + verdict.regressed).await;
}
