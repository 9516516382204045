//! Orders alone: nothing fails.

use crate::setup::{Site, explore, preemptions};

#[test]
fn two_puts_and_a_flush() {
    let report = explore("two puts, a flush").preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]).flushes();
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn two_writers_of_one_key_in_two_processes() {
    let report = explore("two writers in two processes").preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].puts([10]).flushes();
        apps[1].puts([20]);
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn a_delete_and_a_put() {
    let report = explore("a delete, a put").preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].deletes().puts([10]).flushes();
        site.explore(apps)
    });
    report.assert_complete();
}
