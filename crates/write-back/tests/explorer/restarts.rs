//! The journal's server restarts at any moment: with all it had, without its last changes, or empty.

use writeway_back::journal::PAGE;
use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn two_puts_with_a_restart() {
    let report = explore("two puts, a restart").evictions(1).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.batches > report.runs, "{report}");
}

#[test]
fn two_puts_with_two_restarts() {
    let report = explore("two puts, two restarts").evictions(2).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > report.runs && counts.takeovers > 0, "{report}");
}

#[test]
fn a_delete_and_a_put_with_a_restart() {
    let report = explore("a delete, a put, a restart").evictions(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].deletes().puts([10]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_batch_of_two_keys_with_a_restart() {
    let report = explore("a batch of two keys, a restart").evictions(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_both(10).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_batch_of_two_pages_with_a_restart() {
    let report = explore("a batch of two pages, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).batches_of(PAGE + 1);
        let apps = site.apps::<1>();
        apps[0].puts_two_pages();
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_reader_with_a_restart() {
    let report = explore("a reader, a put, a restart").evictions(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10]).reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.hits > 0, "{report}");
}

#[test]
fn a_reader_in_another_process_with_a_restart() {
    let report = explore("a reader, two puts, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<2>();
        apps[0].puts([10, 11]);
        apps[1].reads(2);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.hits > 0, "{report}");
}

#[test]
fn two_servers_by_turns() {
    let report = explore("three puts, two servers by turns").evictions(2).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).with(Journal::alternating);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11, 12]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.batches > 0, "{report}");
}

#[test]
fn two_servers_by_turns_and_two_rows() {
    let report = explore("two rows, two servers by turns").evictions(2).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).with(Journal::alternating).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_both(10).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.batches > 0, "{report}");
}

#[test]
fn two_flushers_with_a_restart() {
    let report = explore("two flushers, a restart").evictions(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].puts([10, 11]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0 && counts.fenced_batches > 0, "{report}");
}

#[test]
fn a_restart_and_a_crash() {
    let report = explore("two puts, a restart, a crash").evictions(1).crashes(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.crashes > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_restart_and_a_fault_of_sql() {
    let report = explore("two puts, a restart, a fault of sql").evictions(1).store_faults(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.faults > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_restart_and_a_fault_of_the_journal() {
    let report =
        explore("a put, a restart, a fault of the journal").evictions(1).cache_faults(1).preemptions(up_to(2)).run(|world| {
            let site = Site::new(world).with(Journal::restarting);
            let apps = site.apps::<1>();
            apps[0].puts([10]);
            site.explore(apps)
        });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.faults > 0 && counts.late_landings > 0, "{report}");
}
