//! Two readers of one process share loads: what they share is local. So here it is a choice when a woken task goes on, or an
//! answer may be slow.

use std::time::Duration;

use writeway_core::store::Store as _;
use writeway_testkit::explorer::{Explore, Side};
use writeway_testkit::sim::Cell;
use writeway_through::Change;

use crate::setup::{KEY, Site};

/// Any other call may come in between.
const A_MOMENT: Duration = Duration::from_millis(1);

/// A read that starts after an acknowledged write does not get a row that was read before it.
#[test]
fn a_reader_and_one_that_wrote_before_with_eviction() {
    let report = Explore::new("one process: a reader, a write and a read after it, an eviction").evictions(1).run(|world| {
        let site = Site::new(world);
        let [one] = site.apps();
        one.reads(1).task("puts, reads", |app| async move {
            app.put(1, 10).await;
            app.read(1).await;
        });
        site.explore()
    });
    assert!(report.assert_complete().counts.evictions > 0, "{report}");
}

/// A hit that the leader found instead of a lease is not handed to those who came after the cache had answered.
#[test]
fn a_reader_and_one_that_wrote_twice_with_eviction_and_a_slow_answer() {
    let explore =
        Explore::new("one process: a reader, two writes and a read after them, an eviction, a slow answer").wake_at_once();
    let report = explore.evictions(1).slow_replies(Side::Cache, 1, A_MOMENT).preemptions(3).run(|world| {
        let site = Site::new(world);
        let [one] = site.apps();
        one.reads(1).task("puts, puts, reads", |app| async move {
            app.put(1, 10).await;
            app.put(1, 20).await;
            app.read(1).await;
        });
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.evictions > 0 && counts.slow_replies > 0, "{report}");
}

/// Nor does one that starts after an invalidation, whoever changed the row. The other read may be stale, and is not judged.
#[test]
fn a_reader_and_one_that_invalidated_before_with_eviction() {
    let explore = Explore::new("one process: a reader, a change by others, an invalidation and a read after it, an eviction");
    let report = explore.evictions(1).run(|world| {
        let site = Site::new(world);
        let [one] = site.apps();
        one.task("reads", |app| async move { app.note(app.handle.get(&KEY).await) });
        one.task("changes, invalidates, reads", |app| async move {
            app.note(app.store.apply(&[Change::Put(Cell { key: KEY, value: 30 })]).await);
            app.note(app.handle.invalidate(&[KEY]).await);
            app.read(KEY).await;
        });
        site.explore()
    });
    assert!(report.assert_complete().counts.evictions > 0, "{report}");
}

#[test]
fn two_readers_of_one_process_and_a_writer_with_eviction() {
    let report =
        Explore::new("two readers of one process, one writer, an eviction").wake_at_once().evictions(1).preemptions(3).run(
            |world| {
                let site = Site::new(world);
                let [one, two] = site.apps();
                one.reads(1).reads(1);
                two.puts(10);
                site.explore()
            },
        );
    assert!(report.assert_complete().counts.evictions > 0, "{report}");
}
