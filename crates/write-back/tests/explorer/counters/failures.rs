//! A server refuses, loses an answer or does its part late; a process dies; SQL refuses a counter.

use std::time::Duration;

use writeway_testkit::explorer::Side;

use super::{A, B, C, Site};
use crate::setup::{explore, up_to};

/// As often as it is sent.
const ALWAYS: usize = usize::MAX;
/// Longer than any lease and any time-out of SQL.
const LONG: Duration = Duration::from_secs(400);

#[test]
fn adds_with_a_fault_of_sql() {
    let report = explore("two adds, a reader, a fault of sql").store_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].adds([A, B]).reads(1);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.repeated_batches > 0, "{report}");
}

#[test]
fn adds_with_a_fault_of_the_journal() {
    let report = explore("an add, a reader, a fault of the journal").cache_faults(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].adds([A]).reads(1);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.writes_in_doubt > 0 && counts.late_landings > 0 && counts.late_accepts > 0, "{report}");
}

#[test]
fn a_flusher_that_dies_beside_a_reader() {
    let report = explore("adds, a crash, a takeover").crashes(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps::<2>();
        one.adds([A, B]);
        let two = two.immortal();
        two.adds([C]).reads(1);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_flusher_that_stands_still_beside_a_reader() {
    let scenario = explore("adds, sql answers late, a takeover").slow_replies(Side::Store, 1, LONG);
    let report = scenario.preemptions(up_to(0)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].adds([A]);
        apps[1].adds([B]).reads(1);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.slow_replies > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_ticket_with_a_crash_of_the_flusher() {
    let report = explore("a ticket of an add, a crash").crashes(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps::<2>();
        one.adds([A]);
        let two = two.immortal();
        two.adds_durably(B);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_refused_counter_beside_a_good_one() {
    let report = explore("two counters, one refused, an add").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(A, ALWAYS)]).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].adds_to_both(A, B).adds([C]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.delays > 0 && counts.parks > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_counter_that_is_refused_twice_lands_with_what_came_since() {
    let report = explore("an add that is refused twice, a reader").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).refusing(&[(A, 2)]);
        let apps = site.apps::<1>();
        apps[0].adds([A, B]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.delays > 0 && counts.parks == 0, "{report}");
}

#[test]
fn two_counters_of_which_one_is_refused_twice() {
    let report = explore("two counters, one refused twice, a reader").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(A, 2)]).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].adds_to_both(A, B).reads_around(C);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.parks == 0, "{report}");
}

#[test]
fn a_counter_that_is_set_aside_and_driven_again() {
    let report = explore("an add that is set aside, a later one, driven again").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).refusing(&[(A, 3)]);
        let apps = site.apps::<1>();
        apps[0].adds_and_redrives([A, B]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.parks > 0 && counts.batches > report.runs, "{report}");
}

#[test]
fn a_refused_counter_with_a_crash() {
    let report = explore("two counters, one refused, a crash").crashes(1).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).refusing(&[(A, ALWAYS)]).batches_of(2);
        let [one, two] = site.apps::<2>();
        one.adds_to_both(A, B);
        let two = two.immortal();
        two.adds([C]);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.crashes > 0 && counts.takeovers > 0, "{report}");
}
