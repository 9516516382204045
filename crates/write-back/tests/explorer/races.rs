//! Orders alone: nothing fails.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn three_puts() {
    let report = explore("three puts").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11, 12]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn two_writers_in_one_process() {
    let report = explore("two writers").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10]).puts([20, 21]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn two_writers_in_two_processes() {
    let report = explore("two writers in two processes").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs && counts.takeovers > 0, "{report}");
}

#[test]
fn a_delete_and_a_put() {
    let report = explore("a delete, a put").run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].deletes().puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn a_batch_of_two_keys_and_a_put_of_one_of_them() {
    let report = explore("a batch of two keys, a put").run(|world| {
        let site = Site::new(world).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_both(10).puts_and_flushes(11);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches > report.runs, "{report}");
}

#[test]
fn two_flushers() {
    let report = explore("two flushers").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.takeovers > 0 && counts.fenced_batches > 0, "{report}");
}

#[test]
fn two_flushers_and_a_delete() {
    let report = explore("two flushers, a delete").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).with(Journal::leaseless);
        let apps = site.apps::<2>();
        apps[0].deletes();
        apps[1].puts([20, 21]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.takeovers > 0 && counts.fenced_batches > 0, "{report}");
}
