//! A process dies at any moment; what it sent lives on.

use writeway_testkit::explorer::Explore;

use crate::setup::Site;

#[test]
fn a_writer_and_two_readers_with_eviction_and_crash() {
    let explore =
        Explore::new("one writer, two readers, an eviction, a crash").wake_at_once().evictions(1).crashes(1).preemptions(2);
    let report = explore.run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10).reads(1);
        two.immortal().reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.evictions > 0 && counts.hits > 0, "{report}");
}
