//! Commit, then one invalidation: reads may be stale until it, nothing is stale after it. No row that was loaded before a write
//! is put back after its invalidation.

use crate::setup::{Mode, Site, explore};

#[test]
fn a_writer_and_two_readers_with_eviction() {
    let report = explore("eventual: one writer, two readers, an eviction").evictions(1).run(|world| {
        let site = Site::new(world, Mode::Eventual);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.reads(1);
        three.reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.evictions > 0 && counts.hits > 0, "{report}");
}

#[test]
fn two_writers_and_a_reader_of_a_cached_row() {
    let report = explore("eventual: two writers, a reader, a cached row").run(|world| {
        let site = Site::new(world, Mode::Eventual).warm();
        let [one, two, three] = site.apps();
        one.puts(10);
        two.puts(20);
        three.reads(2);
        site.explore()
    });
    assert!(report.assert_complete().counts.hits > 0, "{report}");
}

#[test]
fn a_put_a_delete_and_a_reader() {
    let report = explore("eventual: put, delete, a reader").run(|world| {
        let site = Site::new(world, Mode::Eventual);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.deletes();
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.commits > 0, "{report}");
}

/// A commit whose answer is lost is invalidated all the same.
#[test]
fn a_writer_and_a_reader_with_a_fault_of_sql() {
    let report = explore("eventual: one writer, a reader, a cached row, a fault of sql").store_faults(1).run(|world| {
        let site = Site::new(world, Mode::Eventual).warm();
        let [one, two] = site.apps();
        one.puts(10);
        two.reads(2);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.writes_in_doubt > 0, "{report}");
}

#[test]
fn a_writer_and_a_reader_with_a_fault_of_the_cache_and_a_crash() {
    let explore = explore("eventual: one writer, a reader, a fault of the cache, a crash").cache_faults(1).crashes(1);
    let report = explore.run(|world| {
        let site = Site::new(world, Mode::Eventual);
        let [one, two] = site.apps();
        one.puts(10);
        two.immortal().reads(2);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.crashes > 0, "{report}");
}
