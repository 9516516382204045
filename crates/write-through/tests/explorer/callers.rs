//! A caller loses patience: its future is dropped at any await, or its deadline comes while a call is under way.

use writeway_testkit::explorer::{Verdict, Violation};

use crate::setup::{Site, explore};

/// `a dropped write goes on`: once it has begun, its caller's patience changes nothing.
fn writes_go_on(site: &Site) -> Verdict {
    let history = site.store.history();
    let lost = history.writes.iter().find(|write| history.commits.iter().all(|commit| commit.op != Some(write.op)));
    Violation::unless(lost.is_none(), "a dropped write goes on", || format!("not committed: {lost:?}"))
}

#[test]
fn a_writer_is_dropped() {
    let report = explore("a writer is dropped, another writes, a reader").cancels(1).preemptions(3).run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.task("puts", |app| async move {
            let put = app.put(1, 10);
            app.world.cancellable(put).await;
        });
        two.puts(20);
        three.reads(1);
        site.explore()?;
        writes_go_on(&site)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.cancels > 0 && counts.hits > 0, "{report}");
}

/// Its followers get their row all the same.
#[test]
fn a_reader_is_dropped() {
    let report = explore("of three readers one is dropped, one writer").cancels(1).preemptions(3).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10);
        two.reads(1).task("reads", |app| async move {
            let read = app.read(1);
            app.world.cancellable(read).await;
        });
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.cancels > 0, "{report}");
}

#[test]
fn a_deadline_comes_early() {
    let report = explore("a writer and a reader, a time-out").timeouts(1).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10);
        two.reads(2);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.timeouts > 0 && counts.late_landings > 0 && counts.writes_in_doubt > 0, "{report}");
}
