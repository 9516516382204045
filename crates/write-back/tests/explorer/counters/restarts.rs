//! The journal's server restarts at any moment: with all it had, without its last changes, or empty.

use writeway_testkit::sim::Journal;

use super::{A, B, C, Site};
use crate::setup::{explore, up_to};

#[test]
fn adds_with_a_restart() {
    let report = explore("two adds, a restart").evictions(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].adds([A, B]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.batches > report.runs, "{report}");
}

#[test]
fn adds_with_two_restarts() {
    let report = explore("two adds, two restarts").evictions(2).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].adds([A, B]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > report.runs && counts.takeovers > 0, "{report}");
}

#[test]
fn a_reader_with_a_restart() {
    let report = explore("a reader of counters, two adds, a restart").evictions(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].adds([A, B]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_ticket_with_a_restart() {
    let report = explore("a ticket of an add, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].adds_durably(A).adds([B]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn two_counters_with_a_restart() {
    let report = explore("two counters, a restart").evictions(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].adds_to_both(A, B).adds([C]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn two_flushers_with_a_restart() {
    let report = explore("two flushers of counters, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].adds([A]);
        apps[1].adds([B]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.fenced_batches > 0, "{report}");
}

#[test]
fn two_servers_by_turns() {
    let report = explore("three adds, two servers by turns").evictions(2).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).with(Journal::alternating);
        let apps = site.apps::<1>();
        apps[0].adds([A, B, C]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_counter_that_is_refused_twice_with_a_restart() {
    let report =
        explore("an add that is refused twice, a later one, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
            let site = Site::new(world).refusing(&[(A, 2)]).with(Journal::restarting);
            let apps = site.apps::<1>();
            apps[0].adds([A, B]);
            site.explore(apps)
        });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.delays > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_counter_that_is_set_aside_with_a_restart() {
    let report = explore("an add that is set aside, a later one, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).refusing(&[(A, 3)]).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].adds_and_redrives([A, B]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.parks > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_counter_that_is_set_aside_and_two_servers_by_turns() {
    let report =
        explore("an add that is set aside, a later one, two servers by turns").evictions(2).preemptions(up_to(0)).run(|world| {
            let site = Site::new(world).refusing(&[(A, 3)]).with(Journal::alternating);
            let apps = site.apps::<1>();
            apps[0].adds_and_redrives([A, B]);
            site.explore(apps)
        });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.parks > 0 && counts.batches > 0, "{report}");
}
