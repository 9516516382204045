//! A server refuses, loses an answer, or does its part late.

use std::time::Duration;

use writeway_testkit::explorer::Side;

use crate::setup::{Site, explore, preemptions};

#[test]
fn two_puts_and_a_flush_with_a_fault_of_sql() {
    let report = explore("two puts, a flush, a fault of sql").store_faults(1).preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]).flushes();
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn two_puts_and_a_flush_with_a_fault_of_the_journal() {
    let report = explore("two puts, a flush, a fault of the journal").cache_faults(1).preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]).flushes();
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_flusher_that_stands_still_is_taken_over() {
    let report =
        explore("a slow commit, a takeover").slow_replies(Side::Store, 1, Duration::from_secs(400)).preemptions(1).run(|world| {
            let site = Site::new(world);
            let [one, two] = site.apps::<2>();
            one.puts([10]);
            two.puts([20]).flushes();
            site.explore([one, two])
        });
    report.assert_complete();
}
