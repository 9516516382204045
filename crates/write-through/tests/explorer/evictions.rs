//! The cache evicts what has an expiry, at any moment; where its users accepted that, barriers too.

use writeway_testkit::check;
use writeway_testkit::explorer::Verdict;

use crate::setup::{Site, explore};

#[test]
fn two_writers_and_a_reader_with_eviction() {
    let report = explore("two writers, one reader, an eviction").evictions(1).run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.puts(20);
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.evictions > 0, "{report}");
}

#[test]
fn a_writer_and_two_readers_with_eviction() {
    let report = explore("one writer, two readers, an eviction").evictions(1).run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.reads(1);
        three.reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.evictions > 0 && counts.hits > 0, "{report}");
}

/// `allow_evictable_barriers` costs a stale read now and then, as its documentation says, but nothing that stays.
#[test]
fn an_evicted_barrier_leaves_nothing_stale() {
    let report = explore("two writers, one reader, an evicted barrier").evictions(1).run(|world| -> Verdict {
        let mut site = Site::new(world).with(|builder| builder.allow_evictable_barriers());
        site.cache = site.cache.evicting_barriers();
        let [one, two, three] = site.apps();
        one.puts(10);
        two.puts(20);
        three.reads(1);
        world.explore()?;
        check::answers_hold(site.store.database())?;
        check::nothing_stale_at_rest(&site.cache, site.store.database())?;
        check::no_orphan_barrier(world, &site.cache, site.store.database())?;
        site.nothing_fails_by_itself()?;
        site.serves_again()
    });
    assert!(report.assert_complete().counts.evictions > 0, "{report}");
}
