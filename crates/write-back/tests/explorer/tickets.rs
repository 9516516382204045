//! What a ticket and a flush say when they end well.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn a_ticket_beside_a_put() {
    let report = explore("a ticket, a put").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts_durably(10).puts([11]);
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn a_flush_beside_a_put() {
    let report = explore("a flush, a put").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts_and_flushes(10).puts([11]);
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn a_ticket_with_a_crash_of_the_flusher() {
    let report = explore("a ticket, a crash").crashes(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps::<2>();
        one.puts([10]);
        let two = two.immortal();
        two.puts_durably(20);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_ticket_with_a_fault_of_sql() {
    let report = explore("a ticket, a fault of sql").store_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts_durably(10).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_ticket_with_a_restart() {
    let report = explore("a ticket, a restart").evictions(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts_durably(10).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.takeovers > 0, "{report}");
}
