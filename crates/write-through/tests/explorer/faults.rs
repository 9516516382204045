//! A call fails: refused, not applied without a word, applied without an answer, or late.

use writeway_core::runtime::Runtime;
use writeway_testkit::explorer::{Verdict, World};

use crate::setup::{COMMIT_WITHIN, Site, explore, is_long};

fn two_writers_one_reader(world: &World) -> Verdict {
    let site = Site::new(world);
    let [one, two, three] = site.apps();
    one.puts(10);
    two.puts(20);
    three.reads(1);
    site.explore()
}

#[test]
fn two_writers_and_a_reader_with_a_fault_of_the_cache() {
    let explore =
        explore("two writers, one reader, a fault of the cache").cache_faults(1).preemptions(if is_long() { 3 } else { 2 });
    let report = explore.run(two_writers_one_reader);
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn two_writers_and_a_reader_with_a_fault_of_sql() {
    let explore = explore("two writers, one reader, a fault of sql").store_faults(1).preemptions(3);
    let report = explore.run(two_writers_one_reader);
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.writes_in_doubt > 0, "{report}");
}

/// Not one of its calls may have an effect after it was answered, its begin least of all.
#[test]
fn a_writer_and_a_reader_with_a_fault_of_the_cache() {
    let report = explore("one writer, one reader, a fault of the cache").cache_faults(1).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10);
        two.reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.late_landings > 0, "{report}");
}

/// The commit may have landed, or lands as late as the server allows; reads go on before and after the barrier has lapsed.
#[test]
fn a_commit_of_unknown_outcome() {
    let report = explore("one writer in doubt, a reader before and after").store_faults(1).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10);
        two.task("reads", |app| async move {
            app.read(1).await;
            app.runtime.sleep(COMMIT_WITHIN).await;
            app.read(1).await;
            app.read(1).await;
        });
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.writes_in_doubt > 0 && counts.late_landings > 0 && counts.hits > 0, "{report}");
}

#[test]
fn at_random() {
    let explore = explore("two writers, a delete, two readers, all that can go wrong");
    let explore = explore.faults(2).crashes(1).evictions(2).cancels(1).timeouts(1);
    let report = explore.random(1, if is_long() { 2_000_000 } else { 20_000 }).run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.puts(10).reads(2);
        two.deletes();
        three.immortal().task("writes", |app| async move {
            let put = app.put(1, 20);
            app.world.cancellable(put).await;
        });
        site.explore()
    });
    let counts = report.counts;
    assert!(counts.faults > 1_000 && counts.crashes > 500 && counts.evictions > 1_000 && counts.cancels > 500, "{report}");
}
