//! Accept levels: an accept is confirmed by a call of its own, which may fail, or come after the server lost the accept.

use writeway_back::Level;
use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

const LEVEL: Level = Level::Replicated(1);

#[test]
fn an_accept_that_is_not_confirmed_is_unknown_and_drains() {
    let report = explore("two confirmed puts, a fault of the journal").cache_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).at(LEVEL);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.writes_in_doubt > 0 && counts.faults > 0, "{report}");
}

#[test]
fn what_is_confirmed_outlives_a_restart() {
    let report = explore("two confirmed puts, a restart").evictions(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).at(LEVEL);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.writes_in_doubt > 0, "{report}");
}

#[test]
fn what_is_confirmed_by_one_process_is_flushed_by_another_after_a_restart() {
    let report = explore("two processes, confirmed puts, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).at(LEVEL);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}
