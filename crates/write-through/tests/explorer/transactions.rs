//! A user's own transaction among the strategy's own writes.

use writeway_core::change::{Change, Stored};
use writeway_core::store::Store as _;
use writeway_testkit::sim::Cell;

use crate::setup::{App, KEY, Site, explore};

/// Puts the row by a statement of its own, and says how it now stands.
async fn publish(app: App, value: u64) {
    let changes = [Change::Put(Cell { key: KEY, value })];
    let work = async {
        let mut tx = app.handle.begin().await?;
        for stored in app.store.apply_in(tx.transaction(), &changes).await? {
            let Stored::As(row) = stored else { continue };
            app.handle.publish(&mut tx, &row);
        }
        tx.commit().await
    };
    app.note(app.store.witness_write(&changes, work).await);
}

/// The same, but then it changes the row once more and says only that.
async fn publish_then_touch(app: App, value: u64) {
    let (first, last) = ([Change::Put(Cell { key: KEY, value: value + 1 })], [Change::Put(Cell { key: KEY, value })]);
    let work = async {
        let mut tx = app.handle.begin().await?;
        for stored in app.store.apply_in(tx.transaction(), &first).await? {
            let Stored::As(row) = stored else { continue };
            app.handle.publish(&mut tx, &row);
        }
        app.store.apply_in(tx.transaction(), &last).await?;
        app.handle.touch(&mut tx, &KEY);
        tx.commit().await
    };
    app.note(app.store.witness_write(&last, work).await);
}

#[test]
fn a_transaction_that_publishes_a_put_and_a_reader() {
    let report = explore("a transaction that publishes, a put, one reader").run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.task("transacts", |app| publish(app, 10));
        two.puts(20);
        three.reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

#[test]
fn a_transaction_that_touches_a_delete_and_a_reader() {
    let report = explore("a transaction that touches, a delete, one reader").run(|world| {
        let site = Site::new(world).warm();
        let [one, two, three] = site.apps();
        one.task("transacts", |app| publish_then_touch(app, 10));
        two.deletes();
        three.reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.hits > 0, "{report}");
}

#[test]
fn a_transaction_and_a_reader_with_a_fault() {
    let report = explore("a transaction, a reader, a fault").faults(1).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.task("transacts", |app| publish(app, 10));
        two.reads(2);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.late_landings > 0 && counts.writes_in_doubt > 0, "{report}");
}
