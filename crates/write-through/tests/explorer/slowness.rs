//! Servers are slow: a load outlives its lease, an answer comes when the barrier that it confirms has lapsed.

use std::time::Duration;

use writeway_testkit::explorer::{Side, Verdict, Violation};
use writeway_testkit::sim::Cell;

use crate::setup::{KEY, Site, explore};

/// Longer than a fill lease is owned, shorter than it is kept.
const OWNER_GONE: Duration = Duration::from_millis(400);
/// Longer than a fill lease is kept.
const LEASE_GONE: Duration = Duration::from_millis(3_500);
/// Longer than a barrier stands.
const BARRIER_GONE: Duration = Duration::from_millis(2_500);
/// Longer than all of these: nobody gives up before.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_slow_loader_is_taken_over_while_a_writer_writes() {
    for (slow, name) in [(OWNER_GONE, "a lease taken over, one writer"), (LEASE_GONE, "a lease gone, one writer")] {
        let report = explore(name).slow_replies(Side::Store, 1, slow).preemptions(3).run(|world| {
            let site = Site::new(world).with(|builder| builder.call_timeout(PATIENCE));
            let [one, two, three] = site.apps();
            one.reads(1);
            two.reads(1);
            three.puts(10);
            site.explore()
        });
        assert!(report.assert_complete().counts.slow_replies > 0, "{report}");
    }
}

/// The second loader takes over and dies: what the first one loaded, late, is good.
#[test]
fn a_slow_loaders_result_stays_good() {
    let report = explore("a lease taken over, no writer, a crash").slow_replies(Side::Store, 1, OWNER_GONE).crashes(1).run(
        |world| -> Verdict {
            let site = Site::new(world).with(|builder| builder.call_timeout(PATIENCE));
            let [one, two] = site.apps();
            one.immortal().reads(1);
            two.reads(1);
            world.explore()?;
            Violation::unless(site.is_cached(), "a slow load is not in vain", || "nothing is cached".to_owned())
        },
    );
    let counts = report.assert_complete().counts;
    assert!(counts.slow_replies > 0 && counts.crashes > 0, "{report}");
}

/// SQL has no time-outs of its own here, so it is the guard alone that keeps the commit from being sent.
#[test]
fn a_commit_is_not_sent_when_its_barrier_has_lapsed() {
    let report = explore("a barrier confirmed when it has lapsed, SQL without time-outs").run(|world| {
        let mut site = Site::new(world).with(|builder| builder.call_timeout(PATIENCE).allow_unbounded_commits());
        site.cache = site.cache.confirming_barriers_after(BARRIER_GONE);
        let [one, two] = site.apps();
        one.task("puts", |app| async move {
            let row = Cell { key: KEY, value: 10 };
            // Refused in every run, as is asserted below.
            let _ = app.store.witness_put(row, app.handle.put(row)).await;
        });
        two.reads(2);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.hits > 0 && counts.commits == 0, "{report}");
}
