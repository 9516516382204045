//! Strict write-through under readers, writers that die at any await, and evictions: no stale read. The same harness finds
//! them where the barrier is patched out, and in delete-after-commit.

mod watched;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use watched::{DeleteAfterCommit, Through};
use writeway_testkit::harness::{Floors, Given, Schema, Subject, Watched, number, watch};
use writeway_through::runtime::{Runtime, Tokio};

const FLOORS: Floors = Floors { reads: 200_000, killed: 1_000, evictions: 1_000, max_reads: u64::MAX, enough_stale: 5 };
/// Commits whose writer was killed.
const KILLED_COMMITS: i64 = 1_000;
/// How many stale reads the guardless forms must show.
const SHOWN: u64 = 100;
/// They have shown enough by then.
const GUARDLESS: Floors = Floors { reads: u64::MAX, killed: 0, evictions: 0, max_reads: 400_000, enough_stale: SHOWN + 50 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_reads_are_never_stale() {
    let Some(given) = Given::from_env() else { return };
    let (schema, subject) = through(&given, "strict", true).await;
    // More deaths than commits of dead writers are needed: about two of five had committed.
    let floors = Floors { killed: 2_800, ..FLOORS };
    let (seen, hits) = watched(&subject, floors, "strict").await;
    let killed_commits = committed_by_killed(&schema, &seen).await;
    println!("  of the killed writers {killed_commits} had committed");
    let t = &seen.tally;
    assert_eq!(t.stale.load(SeqCst), 0, "invariant violated: strict reads are never stale");
    // The server ends statements that stall for 60 ms: on a busy machine some reads meet that.
    assert!(t.failed_reads.load(SeqCst) * 100 <= t.reads.load(SeqCst), "too many reads failed");
    assert!(t.reads.load(SeqCst) >= FLOORS.reads && t.evictions.load(SeqCst) >= FLOORS.evictions, "the harness did too little");
    assert!(hits * 2 >= t.reads.load(SeqCst), "the harness did too little: {hits} hits");
    assert!(killed_commits >= KILLED_COMMITS, "the harness did too little: {killed_commits} commits by killed writers");

    let (_, subject) = through(&given, "guardless", false).await;
    let (seen, _) = watched(&subject, GUARDLESS, "without the barrier").await;
    assert!(seen.tally.stale.load(SeqCst) > SHOWN, "the harness does not see what the barrier is for");

    let schema = Schema::make(&given.database, "it_staleness_naive").await;
    let naive = Arc::new(DeleteAfterCommit::new(&given, &schema).await);
    let (seen, _) = watched(&naive, GUARDLESS, "delete after commit").await;
    assert!(seen.tally.stale.load(SeqCst) > SHOWN, "the harness does not see what delete-after-commit does");
}

async fn through(given: &Given, name: &str, guarded: bool) -> (Schema, Arc<Through>) {
    let schema = Schema::make(&given.database, &format!("it_staleness_{name}")).await;
    let subject = Through::new(given, &schema, name, guarded).await;
    (schema, Arc::new(subject))
}

async fn watched<S: Subject>(subject: &Arc<S>, floors: Floors, name: &str) -> (Watched, u64) {
    let start = Tokio.now();
    let seen = watch(subject, floors).await;
    let (hits, t) = (subject.hits(), &seen.tally);
    println!("{name}: {hits} hits, {t:?} in {:?}", Tokio.now() - start);
    (seen, hits)
}

/// How many of the writes whose process died are in the ledger.
async fn committed_by_killed(schema: &Schema, seen: &Watched) -> i64 {
    let tags: Vec<String> = seen.killed.iter().map(ToString::to_string).collect();
    let list = if tags.is_empty() { "-1".to_owned() } else { tags.join(",") };
    number(&mut schema.connect().await, &format!("SELECT count(*) FROM ledger WHERE points IN ({list})")).await
}
