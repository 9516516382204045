//! Counters and processes that die: 16 tasks in 3 processes add to a thousand hot counters and a fourth process only reads, while
//! processes are killed, put to sleep and started again, SQL's sessions are ended and Redis restarts. Before and after each call its
//! task notes it in a file that survives it, so that at any moment it is known what was acknowledged and what is in doubt.
//!
//! In the end `acknowledged ≤ SQL ≤ acknowledged + in doubt`, for every counter. A reader holds the same against every answer, with what
//! was acknowledged before it asked and what had begun when it was answered; and no counter that it sees ever goes down.
//!
//! The same harness is run on two forms that are wrong, and must say so: one that acknowledges what only its own memory holds,
//! and one that flushes past the fence.
//!
//! `WRITEWAY_LONG` asks for two minutes.

mod notebook;
mod parent;
mod reader;
mod table;
mod worker;

use std::time::Duration;

use parent::{Parent, Plan, Seen};
use writeway_testkit::harness::Job;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_increment_is_in_sql_once_and_no_reader_sees_less() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    let long = std::env::var_os("WRITEWAY_LONG").is_some();
    let lasts = Duration::from_secs(if long { 120 } else { 12 });
    let test = "every_acknowledged_increment_is_in_sql_once_and_no_reader_sees_less";
    let Some(parent) = Parent::new(Plan { form: "fenced", test, lasts }).await else { return };
    let seen = parent.run().await;
    assert_eq!(seen.lost, 0, "invariant violated: an acknowledged increment reaches sql");
    assert_eq!(seen.doubled, 0, "invariant violated: an increment is in effect once");
    assert_eq!(seen.missed, 0, "invariant violated: a reader never misses an acknowledged increment");
    assert_eq!(seen.invented, 0, "invariant violated: a reader counts no increment twice");
    assert_eq!(seen.back, 0, "invariant violated: what is only added to never goes down for a reader");
    let Seen { kills, pauses, restarts, sessions, acknowledged, in_doubt, batches, reads, already, .. } = seen;
    // A round of faults takes some five seconds.
    let rounds = lasts.as_secs() / 12;
    assert!(kills >= 3 * rounds && pauses >= rounds && restarts >= rounds, "the harness did too little: {seen:?}");
    assert!(sessions > 4 * rounds && in_doubt > 0 && batches > 10 * rounds, "the harness did too little: {seen:?}");
    assert!(acknowledged > 5_000 * rounds && reads > 1_000 * rounds, "the harness did too little: {seen:?}");
    assert!(!long || already > 0, "the harness did too little: no batch was found in effect when it was flushed again");
}

/// Runs until something is seen, at most so often.
async fn sees(form: &'static str, test: &'static str, what: fn(&Seen) -> u64) {
    for _ in 0..5 {
        let Some(parent) = Parent::new(Plan { form, test, lasts: Duration::from_secs(4) }).await else { return };
        if what(&parent.run().await) > 0 {
            return;
        }
    }
    panic!("the harness does not see what is wrong with {form}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_in_the_process_are_seen_to_be_lost() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    sees("naive", "sums_in_the_process_are_seen_to_be_lost", |seen| seen.lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_past_the_fence_are_seen_to_double() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    sees("fenceless", "flushes_past_the_fence_are_seen_to_double", |seen| seen.doubled).await;
}
