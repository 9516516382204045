//! Three processes and all that can go wrong, drawn at random: what no exhaustive scenario has room for.

use std::time::Duration;

use writeway_testkit::explorer::{Explore, Side};
use writeway_testkit::sim::Journal;

use super::{A, D, Site};
use crate::setup::{explore, is_long};

/// The digits from the seventh on.
const G: u64 = D << 12;

fn runs() -> u64 {
    if is_long() { 300_000 } else { 2_000 }
}

fn rough(name: &str, seed: u64) -> Explore {
    let scenario = explore(name).random(seed, runs()).faults(3).crashes(2).cancels(1).timeouts(1);
    scenario.slow_replies(Side::Store, 1, Duration::from_secs(400)).lapses(1, Duration::from_secs(7))
}

#[test]
fn three_processes_that_count() {
    let report = rough("three processes that count", 1).run(|world| {
        let site = Site::new(world).refusing(&[(D, 2)]);
        let apps = site.apps::<3>();
        apps[0].busies_itself(A);
        apps[1].busies_itself(D).reads(2);
        apps[2].adds([G]).reads_around(G << 4);
        site.explore(apps)
    });
    let counts = report.counts;
    assert!(counts.late_landings > runs() / 10 && counts.takeovers > runs() / 10 && counts.batches > runs(), "{report}");
    assert!(counts.fenced_batches > 0 && counts.cancels > 0 && counts.delays > 0 && counts.late_accepts > 0, "{report}");
}

#[test]
fn three_processes_that_count_with_restarts_and_no_lease() {
    let report = rough("three processes that count, restarts", 1_000_000).evictions(2).run(|world| {
        let site = Site::new(world).with(Journal::leaseless).with(Journal::restarting).batches_of(2);
        let apps = site.apps::<3>();
        apps[0].busies_itself(A);
        apps[1].busies_itself(D);
        apps[2].adds([G]).reads(2);
        site.explore(apps)
    });
    let counts = report.counts;
    assert!(counts.restarts > runs() && counts.takeovers > runs() && counts.batches > runs(), "{report}");
}
