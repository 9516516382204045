//! Nothing goes wrong; the orders alone must not show a stale value.

use writeway_testkit::explorer::Verdict;

use crate::setup::{Site, explore, is_long};

fn two_writers_one_reader(site: &Site) -> Verdict {
    let [one, two, three] = site.apps();
    one.puts(10);
    two.puts(20);
    three.reads(1);
    site.explore()
}

#[test]
fn two_writers_and_a_reader() {
    let report = explore("two writers, one reader").run(|world| two_writers_one_reader(&Site::new(world)));
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

#[test]
fn two_writers_and_a_reader_of_a_cached_row() {
    let report = explore("two writers, one reader, a cached row").run(|world| two_writers_one_reader(&Site::new(world).warm()));
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

#[test]
fn two_writers_and_two_readers() {
    let report = explore("two writers, two readers").preemptions(if is_long() { 3 } else { 2 }).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10).reads(1);
        two.puts(20).reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

/// What SQL returned is what may be shown, whatever the caller put.
#[test]
fn a_trigger_changes_what_is_put() {
    let report = explore("a writer and a reader, a trigger").run(|world| {
        let store = world.store(&[(1, 0)]).with_trigger(|row| writeway_testkit::sim::Cell { value: row.value + 1, ..row });
        let site = Site::over(store, world);
        let [one, two] = site.apps();
        one.puts(10);
        two.reads(2);
        site.explore()
    });
    assert!(report.assert_complete().counts.hits > 0, "{report}");
}
