//! One call fails: refused, not applied without a word, applied without an answer, or late.

use writeway_testkit::explorer::{Explore, Verdict, World};

use crate::setup::Site;

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
    let explore = Explore::new("two writers, one reader, a fault of the cache").wake_at_once().cache_faults(1).preemptions(2);
    let report = explore.run(two_writers_one_reader);
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn two_writers_and_a_reader_with_a_fault_of_sql() {
    let explore = Explore::new("two writers, one reader, a fault of sql").wake_at_once().store_faults(1).preemptions(2);
    let report = explore.run(two_writers_one_reader);
    let counts = report.assert_complete().counts;
    assert!(counts.faults > 0 && counts.late_landings > 0 && counts.writes_in_doubt > 0, "{report}");
}
