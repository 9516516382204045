//! Three processes and all that can go wrong, drawn at random: what no exhaustive scenario has room for.

use std::time::Duration;

use writeway_testkit::explorer::{Explore, Side};
use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, is_long};

fn runs() -> u64 {
    if is_long() { 300_000 } else { 10_000 }
}

fn rough(name: &str, seed: u64) -> Explore {
    let scenario = explore(name).random(seed, runs()).faults(3).crashes(2).cancels(1).timeouts(1);
    scenario.slow_replies(Side::Store, 1, Duration::from_secs(400)).lapses(1, Duration::from_secs(7))
}

#[test]
fn three_processes() {
    let report = rough("three processes", 1).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<3>();
        apps[0].busies_itself(10);
        apps[1].busies_itself(20).reads(2);
        apps[2].deletes().puts_both(30);
        site.explore(apps)
    });
    let counts = report.counts;
    assert!(counts.late_landings > runs() / 10 && counts.takeovers > runs() / 10 && counts.batches > runs(), "{report}");
    assert!(counts.fenced_batches > 0 && counts.cancels > 0 && counts.hits > runs() && counts.late_accepts > 0, "{report}");
}

#[test]
fn three_processes_with_restarts_and_no_lease() {
    let report = rough("three processes, restarts", 1_000_000).evictions(2).run(|world| {
        let site = Site::new(world).with(Journal::leaseless).with(Journal::restarting).batches_of(2);
        let apps = site.apps::<3>();
        apps[0].busies_itself(10);
        apps[1].busies_itself(20);
        apps[2].puts_both(30).reads(2);
        site.explore(apps)
    });
    let counts = report.counts;
    assert!(counts.restarts > runs() && counts.takeovers > runs() && counts.batches > runs(), "{report}");
    assert!(counts.fenced_batches > runs() / 50 && counts.crashes > runs() / 10, "{report}");
}
