//! A process dies at any moment; another finds what it left. What it had sent may land afterwards.

use writeway_back::journal::PAGE;
use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn two_puts_with_a_crash() {
    let report = explore("two puts, a crash").crashes(1).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.late_landings > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_batch_of_two_keys_with_a_crash() {
    let report = explore("a batch of two keys, a crash").crashes(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_both(10).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.late_landings > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_flusher_that_dies_is_taken_over_when_its_lease_ends() {
    let report = explore("a put, a crash, a takeover").crashes(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps::<2>();
        one.puts([10]);
        let two = two.immortal();
        two.puts([20]);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_flusher_that_dies_beside_another() {
    let report = explore("a put, a crash, another flusher").crashes(1).preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let [one, two] = site.apps::<2>();
        one.puts([10]);
        let two = two.immortal();
        two.puts([20]);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0 && counts.repeated_batches > 0, "{report}");
}

#[test]
fn two_flushers_that_die() {
    let report = explore("two flushers, two crashes").crashes(2).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].puts([10, 11]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn a_batch_of_two_pages_with_a_crash() {
    let report = explore("a batch of two pages, a crash").crashes(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).batches_of(PAGE + 1);
        let apps = site.apps::<1>();
        apps[0].puts_two_pages();
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.late_landings > 0 && counts.batches > 0, "{report}");
}
