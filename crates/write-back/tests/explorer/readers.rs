//! Reads beside puts, flushes and evictions.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, preemptions};

#[test]
fn a_reader_beside_a_put_and_a_flush() {
    let report = explore("a reader, a put, a flush").preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10]).flushes().reads(2);
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn a_reader_beside_a_put_and_a_flush_with_an_eviction() {
    let report = explore("a reader, a put, a flush, an eviction").evictions(1).preemptions(preemptions()).run(|world| {
        let site = Site::new(world).with(Journal::evicting);
        let apps = site.apps::<2>();
        apps[0].puts([10]).flushes();
        apps[1].reads(2);
        site.explore(apps)
    });
    report.assert_complete();
}

#[test]
fn a_reader_with_a_fault_of_the_journal() {
    let report = explore("a reader, a put, a fault of the journal").cache_faults(1).preemptions(1).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10]).flushes().reads(1);
        site.explore(apps)
    });
    report.assert_complete();
}
