//! Orders, readers and evictions: no call fails.

use writeway_testkit::sim::Journal;

use super::{A, B, C, D, Site};
use crate::setup::{explore, up_to};

#[test]
fn three_adds() {
    let report = explore("three adds").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].adds([A, B, C]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn a_reader_beside_two_adds() {
    let report = explore("a reader, two adds").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].adds([A, B]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn two_processes_that_add_and_read() {
    let report = explore("two processes that add and read").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].adds([A, B]);
        apps[1].adds([C]).reads_around(D);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn two_readers_that_miss() {
    let report = explore("two readers, two adds").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].adds([A, B]);
        apps[1].reads(1).reads(1);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > 0, "{report}");
}

#[test]
fn a_reader_with_evictions() {
    let report = explore("a reader of counters, two evictions").evictions(2).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::evicting);
        let apps = site.apps::<2>();
        apps[0].adds([A, B]);
        apps[1].reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.evictions > 0, "{report}");
}

#[test]
fn a_reader_beside_two_flushers() {
    let report = explore("a reader of counters, two flushers").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].adds([A]);
        apps[1].adds([B]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.takeovers > 0 && counts.fenced_batches > 0, "{report}");
}

#[test]
fn a_ticket_beside_adds() {
    let report = explore("a ticket, two adds").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].adds_durably(A).adds([B, C]);
        site.explore(apps)
    });
    report.assert_complete();
}
