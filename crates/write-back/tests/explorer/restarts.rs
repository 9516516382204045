//! The journal's server restarts: with all it had, without its last changes, or empty.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore};

#[test]
fn two_puts_and_a_flush_with_a_restart() {
    let report = explore("two puts, a flush, a restart").evictions(1).preemptions(1).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]).flushes();
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn a_reader_with_a_restart() {
    let report = explore("a reader, a put, a restart").evictions(1).preemptions(1).run(|world| {
        let site = Site::new(world).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10]).flushes().reads(2);
        site.explore(apps)
    });
    report.assert_complete();
}
