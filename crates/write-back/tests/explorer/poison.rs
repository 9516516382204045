//! A row that SQL refuses: it is found, held back and set aside, and nothing else is.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

/// As often as it is sent.
const ALWAYS: usize = usize::MAX;

#[test]
fn a_row_that_is_always_refused() {
    let report = explore("a put that is refused").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]);
        let apps = site.apps::<1>();
        apps[0].puts([10]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.delays == 2 * report.runs && counts.parks == report.runs && counts.refusals > 3 * report.runs - 1, "{report}");
}

#[test]
fn a_row_that_is_refused_twice_lands() {
    let report = explore("a put that is refused twice").preemptions(up_to(3)).run(|world| {
        let site = Site::new(world).refusing(&[(10, 2)]);
        let apps = site.apps::<1>();
        apps[0].puts([10]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.delays > 0 && counts.parks == 0, "{report}");
}

#[test]
fn a_refused_row_beside_a_good_one() {
    let report = explore("two rows, one refused").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.parks > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_refused_row_that_a_good_one_replaces() {
    let report = explore("a put that is refused, a better one").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.refusals > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_refused_row_with_a_fault_of_sql() {
    let report = explore("two rows, one refused, a fault of sql").store_faults(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.late_landings > 0 && counts.probes > 0 && counts.faults > 0, "{report}");
}

#[test]
fn a_row_that_is_refused_once_with_a_fault_of_sql() {
    let report = explore("two rows, one refused once, two faults of sql").store_faults(2).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(10, 1)]).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.late_landings > 0 && counts.parks == 0, "{report}");
}

#[test]
fn a_refused_row_with_a_fault_of_the_journal() {
    let report = explore("two rows, one refused, a fault of the journal").cache_faults(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.late_landings > 0 && counts.parks > 0, "{report}");
}

#[test]
fn a_refused_row_with_a_crash() {
    let report = explore("two rows, one refused, a crash").crashes(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).batches_of(2);
        let [one, two] = site.apps::<2>();
        one.puts_each([10, 20]);
        let two = two.immortal();
        two.puts([11]);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.crashes > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_refused_row_and_two_flushers() {
    let report = explore("two rows, one refused, two flushers").preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).batches_of(2).with(Journal::leaseless);
        let [one, two] = site.apps::<2>();
        one.puts_each([10, 20]);
        two.puts_other(21);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.splits > 0 && counts.parks > 0 && counts.fenced_batches > 0, "{report}");
}

#[test]
fn a_refused_row_with_a_restart() {
    let report = explore("a put that is refused, a better one, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.delays > 0 && counts.takeovers > 0, "{report}");
}

#[test]
fn a_good_row_after_a_refused_one() {
    let report = explore("a put that is set aside, then a better one").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]);
        let apps = site.apps::<1>();
        apps[0].puts_at_rest([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.parks == report.runs && counts.batches == report.runs, "{report}");
}

#[test]
fn a_good_row_after_a_refused_one_with_a_restart() {
    let report = explore("a put that is set aside, a better one, a restart").evictions(1).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).with(Journal::restarting);
        let apps = site.apps::<1>();
        apps[0].puts_at_rest([10, 11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.parks > 0 && counts.batches > 0, "{report}");
}

#[test]
fn a_refused_row_and_two_servers_by_turns() {
    let report = explore("two rows, one refused, two servers by turns").evictions(2).preemptions(up_to(0)).run(|world| {
        let site = Site::new(world).refusing(&[(10, ALWAYS)]).with(Journal::alternating).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.splits > 0 && counts.parks > 0, "{report}");
}

#[test]
fn a_newer_row_beside_a_split_with_a_restart() {
    let report = explore("two rows, one refused, a newer one, a restart").evictions(1).preemptions(up_to(1)).run(|world| {
        let site = Site::new(world).refusing(&[(20, ALWAYS)]).with(Journal::restarting).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.splits > 0, "{report}");
}

#[test]
fn a_newer_row_beside_a_split_with_a_restart_and_a_crash() {
    let report =
        explore("two rows, one refused once, a newer one, a restart, a crash").evictions(1).crashes(1).preemptions(0).run(
            |world| {
                let site = Site::new(world).refusing(&[(20, 1)]).with(Journal::restarting).batches_of(2);
                let [one, two] = site.apps::<2>();
                one.puts_each([10, 20]).puts([11]);
                site.explore([one, two.immortal()])
            },
        );
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.splits > 0 && counts.crashes > 0, "{report}");
}

#[test]
fn a_newer_row_beside_a_split_with_two_restarts() {
    let report = explore("two rows, one refused once, a newer one, two restarts").evictions(2).preemptions(0).run(|world| {
        let site = Site::new(world).refusing(&[(20, 1)]).with(Journal::restarting).batches_of(2);
        let apps = site.apps::<1>();
        apps[0].puts_each([10, 20]).puts([11]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.restarts > 0 && counts.splits > 0, "{report}");
}
