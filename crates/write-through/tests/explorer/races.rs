//! Nobody fails; the orders alone must not show a stale value.

use writeway_testkit::explorer::{Explore, Verdict, World};

use crate::setup::Site;

fn two_writers_one_reader(site: &Site) -> Verdict {
    let [one, two, three] = site.apps();
    one.puts(10);
    two.puts(20);
    three.reads(1);
    site.explore()
}

#[test]
fn two_writers_and_a_reader() {
    let report = Explore::new("two writers, one reader").wake_at_once().run(|world| two_writers_one_reader(&Site::new(world)));
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

#[test]
fn two_writers_and_a_reader_of_a_cached_row() {
    let report = Explore::new("two writers, one reader, cached")
        .wake_at_once()
        .run(|world| two_writers_one_reader(&Site::new(world).warm()));
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

#[test]
fn two_writers_and_a_reader_with_eviction() {
    let explore = Explore::new("two writers, one reader, an eviction").wake_at_once().evictions(1);
    let report = explore.run(|world| two_writers_one_reader(&Site::new(world)));
    assert!(report.assert_complete().counts.evictions > 0, "{report}");
}

fn two_writers_two_readers(world: &World) -> Verdict {
    let site = Site::new(world);
    let [one, two] = site.apps();
    one.puts(10).reads(1);
    two.puts(20).reads(1);
    site.explore()
}

#[test]
fn two_writers_and_two_readers() {
    let report = Explore::new("two writers, two readers").wake_at_once().preemptions(2).run(two_writers_two_readers);
    assert!(report.assert_complete().counts.hits > 0, "{report}");
}
