//! A flusher stands still for longer than its lease, another takes over, and the first goes on.

use std::time::Duration;

use writeway_testkit::explorer::Side;

use crate::setup::{Site, explore, up_to};

/// Longer than any lease and any time-out of SQL.
const LONG: Duration = Duration::from_secs(400);

#[test]
fn a_flusher_that_stands_still_in_sql() {
    let report = explore("sql answers late, a takeover").slow_replies(Side::Store, 1, LONG).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.slow_replies > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_flusher_that_dies_after_it_stood_still() {
    let report =
        explore("sql answers late, a takeover, a crash").slow_replies(Side::Store, 1, LONG).crashes(1).preemptions(up_to(1)).run(
            |world| {
                let site = Site::new(world);
                let [one, two] = site.apps::<2>();
                one.puts([10]);
                let two = two.immortal();
                two.puts([20]);
                site.explore([one, two])
            },
        );
    let counts = report.assert_complete().counts;
    assert!(counts.slow_replies > 0 && counts.takeovers > 0 && counts.crashes > 0, "{report}");
}

#[test]
fn a_flusher_that_stands_still_before_and_after_sql() {
    let report =
        explore("the journal answers late, a takeover").slow_replies(Side::Cache, 1, LONG).preemptions(up_to(2)).run(|world| {
            let site = Site::new(world);
            let apps = site.apps::<2>();
            apps[0].puts([10]);
            apps[1].puts([20]);
            site.explore(apps)
        });
    let counts = report.assert_complete().counts;
    assert!(counts.slow_replies > 0 && counts.takeovers > 0, "{report}");
}
