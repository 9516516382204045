//! Reads beside puts, flushes and evictions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn a_reader_beside_a_put() {
    let report = explore("a reader, a put").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.hits > 0 && counts.hits < counts.reads, "{report}");
}

#[test]
fn a_reader_beside_two_puts_in_another_process() {
    let report = explore("a reader, two puts").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].puts([10, 11]);
        apps[1].reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.hits > 0 && counts.hits < counts.reads, "{report}");
}

#[test]
fn a_reader_beside_a_delete() {
    let report = explore("a reader, a delete, a put").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].deletes().puts([10]);
        apps[1].reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.hits > 0 && counts.hits < counts.reads, "{report}");
}

#[test]
fn a_reader_with_evictions() {
    let report = explore("a reader, two puts, two evictions").evictions(2).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::evicting);
        let apps = site.apps::<2>();
        apps[0].puts([10, 11]);
        apps[1].reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.evictions > 0 && counts.hits < counts.reads, "{report}");
}

#[test]
fn a_reader_with_a_fault_of_the_journal() {
    let report = explore("a reader, a put, a fault of the journal").cache_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10]).reads(1);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.hits > 0, "{report}");
}

#[test]
fn a_reader_with_a_fault_of_sql() {
    let report = explore("a reader, a put, a fault of sql").store_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.hits > 0, "{report}");
}

#[test]
fn a_reader_beside_a_takeover() {
    let report = explore("a reader, two flushers").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.takeovers > 0 && counts.hits > 0, "{report}");
}

#[test]
fn an_audit_beside_puts() {
    static LOOKED_AT: AtomicU64 = AtomicU64::new(0);
    let report = explore("an audit, two puts").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].puts([10, 11]);
        apps[1].reads_and_audits(|keys| {
            LOOKED_AT.fetch_add(keys, Relaxed);
        });
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.hits > 0 && LOOKED_AT.load(Relaxed) > 100, "{report}");
}
