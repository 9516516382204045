//! Several keys in one call: all or none of a write, each key of a read by itself.

use writeway_testkit::sim::Cell;
use writeway_through::{Change, Changes};

use crate::setup::{App, Site, explore, is_long};

async fn put_both(app: App, value: u64) {
    let rows = [Cell { key: 1, value }, Cell { key: 2, value: value + 1 }];
    let write = app.handle.write(Changes::new().put(rows[0]).put(rows[1]));
    app.note(app.store.witness_write(&rows.map(Change::Put), write).await);
}

async fn read_both(app: App) {
    app.note(app.store.witness_read_many(&[1, 2], app.handle.get_many(&[1, 2])).await);
}

#[test]
fn a_writer_of_two_keys_one_of_one_and_a_reader_of_both() {
    let report = explore("a write of two keys, one of one, a reader of both").run(|world| {
        let site = Site::over(world.store(&[(1, 0), (2, 0)]), world);
        let [one, two, three] = site.apps();
        one.task("puts both", |app| put_both(app, 10));
        two.puts(20);
        three.task("reads both", read_both);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

/// Both take their row locks in key order, whatever order they name: else each would wait for the other.
#[test]
fn two_writers_of_two_keys_in_opposite_order() {
    let report = explore("two writes of two keys in opposite order, a reader").run(|world| {
        let site = Site::over(world.store(&[(1, 0), (2, 0)]), world);
        let [one, two, three] = site.apps();
        one.task("puts both", |app| put_both(app, 10));
        two.task("puts both, the second first", |app| async move {
            let rows = [Cell { key: 2, value: 20 }, Cell { key: 1, value: 21 }];
            let write = app.handle.write(Changes::new().put(rows[0]).put(rows[1]));
            app.note(app.store.witness_write(&rows.map(Change::Put), write).await);
        });
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.lock_waits > 0, "{report}");
}

#[test]
fn a_writer_of_two_keys_and_a_reader_of_both_with_eviction_and_a_fault() {
    let explore = explore("a write of two keys, two reads of both, an eviction, a fault").evictions(1).faults(1);
    let report = explore.preemptions(if is_long() { 3 } else { 2 }).run(|world| {
        let site = Site::over(world.store(&[(1, 0), (2, 0)]), world);
        let [one, two] = site.apps();
        one.task("puts both", |app| put_both(app, 10));
        two.task("reads both", |app| async move {
            read_both(app.clone()).await;
            read_both(app).await;
        });
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.evictions > 0 && counts.late_landings > 0 && counts.hits > 0, "{report}");
}
