//! A server refuses, loses an answer, or does its part late.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn two_puts_with_a_fault_of_sql() {
    let report = explore("two puts, a fault of sql").store_faults(1).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.repeated_batches > 0, "{report}");
}

#[test]
fn two_puts_with_two_faults_of_sql() {
    let report = explore("two puts, two faults of sql").store_faults(2).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.repeated_batches > 0, "{report}");
}

#[test]
fn two_puts_with_a_fault_of_the_journal() {
    let report = explore("two puts, a fault of the journal").cache_faults(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.writes_in_doubt > 0 && counts.late_landings > 0 && counts.late_accepts > 0, "{report}");
}

#[test]
fn a_delete_and_a_put_with_a_fault_of_the_journal() {
    let report = explore("a delete, a put, a fault of the journal").cache_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].deletes().puts([10]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.writes_in_doubt > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_fault_of_each() {
    let report = explore("a put, a fault of each").cache_faults(1).store_faults(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > report.runs && counts.late_landings > 0, "{report}");
}

#[test]
fn two_flushers_with_a_fault_of_sql() {
    let report = explore("two flushers, a fault of sql").store_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.late_landings > 0 && counts.lock_waits > 0 && counts.fenced_batches > 0, "{report}");
}

#[test]
fn two_flushers_with_a_fault_of_the_journal() {
    let report = explore("two flushers, a fault of the journal").cache_faults(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.late_landings > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_fault_of_the_journal_and_a_crash() {
    let report =
        explore("a put, a fault of the journal, a crash").cache_faults(1).crashes(1).preemptions(up_to(2)).run(|world| {
            let site = Site::new(world);
            let apps = site.apps::<1>();
            apps[0].puts([10, 11]);
            site.explore(apps)
        });
    let counts = report.assert_complete().counts;
    assert!(counts.late_landings > 0 && counts.crashes > 0, "{report}");
}

#[test]
fn an_open_batch_stays_as_it_is_while_sql_fails() {
    let report = explore("a flush, a put of another key, a fault of sql").store_faults(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_and_flushes(10).puts_other(20);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.repeated_batches > 0 && counts.batches > report.runs, "{report}");
}
