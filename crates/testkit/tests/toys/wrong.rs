//! Every known mistake is found, and by the invariant that it breaks.

use std::time::Duration;

use writeway_testkit::check;
use writeway_testkit::explorer::Side;
use writeway_testkit::explorer::{Explore, Failure, Verdict, World};

use crate::protocol::{Mistake, Toy, put};

/// Writers and readers, all in one process.
fn run(world: &World, mistake: Mistake, writers: u64, readers: usize, reads_each: usize) -> (Toy, Verdict) {
    let toy = Toy::new(world, mistake);
    let app = world.process("app");
    for n in 1..=writers {
        app.task(format!("writer {n}"), toy.clone().writes(put(10 * n)));
    }
    for n in 1..=readers {
        let toy = toy.clone();
        app.task(format!("reader {n}"), async move {
            for _ in 0..reads_each {
                toy.clone().reads(1).await;
            }
        });
    }
    let verdict = world.explore();
    (toy, verdict)
}

fn found(explore: Explore, mistake: Mistake, writers: u64, readers: usize) -> Box<Failure> {
    let scenario = |world: &World| {
        let (toy, verdict) = run(world, mistake, writers, readers, 1);
        verdict?;
        check::strict(world, &toy.cache, &toy.store)
    };
    let failure = explore.check(scenario).expect_err("the mistake is found");
    let again = explore.replay(&failure.path).check(scenario).expect_err("its path shows it again");
    assert_eq!(again.violation, failure.violation);
    failure
}

#[test]
fn a_plain_fill_is_stale_at_rest() {
    let failure = found(Explore::new("plain fill").evictions(1), Mistake::FillsWithoutLease, 1, 1);
    assert_eq!(failure.violation.invariant, "nothing stale at rest", "{failure}");
    assert_eq!(failure.violation.detail, "cells:1 is cached as Some(0), SQL has Some(10)");
}

#[test]
fn write_around_with_a_plain_fill_is_stale_even_by_its_own_promise() {
    let failure = Explore::new("write-around, plain fill").check(|world| {
        // The two mistakes together, as everybody writes it at first.
        let toy = Toy::new(world, Mistake::FillsWithoutLease);
        let around = Toy { mistake: Mistake::NoBarrier, ..toy.clone() };
        let app = world.process("app");
        app.task("writer", around.writes(put(10)));
        app.task("reader", toy.clone().reads(1));
        world.explore()?;
        check::eventual(world, &toy.cache, &toy.store)
    });
    assert_eq!(failure.expect_err("stale").violation.invariant, "nothing stale at rest");
}

#[test]
fn write_around_is_right_at_rest_but_not_linearizable() {
    let explore = Explore::new("write-around with fill leases").preemptions(3);
    explore
        .run(|world| {
            let (toy, verdict) = run(world, Mistake::NoBarrier, 1, 1, 2);
            verdict?;
            check::eventual(world, &toy.cache, &toy.store)
        })
        .assert_complete();
    let failure = explore.check(|world| {
        let (toy, verdict) = run(world, Mistake::NoBarrier, 1, 1, 2);
        verdict?;
        check::strict(world, &toy.cache, &toy.store)
    });
    let failure = failure.expect_err("a hit between the commit and the invalidation");
    assert_eq!(failure.violation.invariant, "hits are linearizable", "{failure}");
    assert!(failure.violation.detail.contains("from the cache"), "{failure}");
}

#[test]
fn cleaning_up_after_an_unknown_commit_is_found() {
    let failure = found(Explore::new("in doubt").store_faults(1), Mistake::CleansUpInDoubt, 1, 1);
    assert_eq!(failure.violation.invariant, "nothing stale at rest", "{failure}");
}

#[test]
fn a_guess_is_found() {
    let failure = Explore::new("a guess").store_faults(1).check(|world| {
        let (toy, verdict) = run(world, Mistake::Guesses, 1, 0, 0);
        verdict?;
        check::answers_hold(toy.store.database())
    });
    let failure = failure.expect_err("committed after all");
    assert_eq!(failure.violation.invariant, "not applied means not committed", "{failure}");
}

#[test]
fn a_forgotten_barrier_is_found() {
    let failure = found(Explore::new("a forgotten barrier").store_faults(1), Mistake::LeavesItsBarrier, 1, 0);
    assert_eq!(failure.violation.invariant, "no orphan barrier", "{failure}");
}

#[test]
fn a_begin_without_a_limit_lands_late() {
    // It lands after a fresh fill and removes it: harmless for the value, but a barrier that nobody ends.
    let failure = found(Explore::new("a late begin").cache_faults(1), Mistake::BeginsWithoutLimit, 1, 0);
    assert!(["nothing lands late", "no orphan barrier"].contains(&failure.violation.invariant), "{failure}");
}

#[test]
fn a_commit_without_time_limits_is_found_when_all_are_slow() {
    let explore = Explore::new("no time limits").lapses(1, Duration::from_millis(2_500));
    let failure = found(explore, Mistake::NoTimeLimits, 1, 2);
    assert!(["hits are linearizable", "nothing stale at rest"].contains(&failure.violation.invariant), "{failure}");
}

#[test]
fn a_look_at_the_clock_before_the_commit_is_needed() {
    let explore = Explore::new("a barrier is confirmed too late").slow_replies(Side::Cache, 1, Duration::from_millis(2_500));
    let scenario = |world: &World, mistake| {
        let toy = Toy::new(world, mistake);
        // Only the writer is slow: while a COMMIT is under way no time passes, so the look at the clock right before it is enough.
        let (slow, prompt) = (world.process("slow"), world.process("prompt").prompt());
        slow.task("writer", toy.clone().writes(put(10)));
        prompt.task("first reader", toy.clone().reads(1));
        prompt.task("second reader", toy.clone().reads(1));
        world.explore()?;
        check::strict(world, &toy.cache, &toy.store)
    };
    let failure = explore.check(|world| scenario(world, Mistake::NoTimeLimits)).expect_err("committed behind a lapsed barrier");
    assert_eq!(failure.violation.invariant, "hits are linearizable", "{failure}");
    let guarded = explore.run(|world| scenario(world, Mistake::NoServerTimeouts));
    assert!(guarded.assert_complete().counts.slow_replies > 0, "{guarded}");
}

#[test]
fn evictable_barriers_cost_stale_reads() {
    let failure = Explore::new("allkeys-lru").evictions(1).preemptions(3).check(|world| {
        let toy = Toy::new(world, Mistake::None);
        let cache = toy.cache.clone().evicting_barriers();
        let app = world.process("app");
        app.task("writer", toy.clone().writes(put(10)));
        app.task("first reader", toy.clone().reads(1));
        app.task("second reader", toy.clone().reads(1));
        world.explore()?;
        check::strict(world, &cache, &toy.store)
    });
    let failure = failure.expect_err("a fill between the eviction and the commit");
    assert_eq!(failure.violation.invariant, "hits are linearizable", "{failure}");
}
