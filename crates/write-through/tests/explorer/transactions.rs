//! A user's own transaction among the strategy's own writes.

use writeway_core::change::{Change, Stored};
use writeway_core::store::Store as _;
use writeway_testkit::sim::Cell;

use crate::setup::{App, KEY, Site, explore, is_long};

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

/// Barriers in two namespaces, one commit: a barrier that could not be placed takes the others with it.
#[test]
fn a_transaction_over_two_tables_and_a_reader_with_a_fault() {
    let report = explore("a transaction over two tables, a reader of both, a fault")
        .faults(1)
        .preemptions(if is_long() { 3 } else { 1 })
        .run(|world| {
            let database = world.database();
            let (cells, marks) = (database.table("cells", &[(KEY, 0)]), database.table("marks", &[(KEY, 0)]));
            let site = Site::over(cells, world);
            let [one, two] = site.apps();
            let handles = [&one, &two].map(|app| app.process.setup(site.handle_of("marks", &marks)));
            let [writer, reader] = handles.map(|handle| (handle, marks.clone()));
            one.task("transacts", |app| async move {
                let (handle, marks) = writer;
                let change = [Change::Put(Cell { key: KEY, value: 10 })];
                let work = async {
                    let mut tx = app.handle.begin().await?;
                    app.store.apply_in(tx.transaction(), &change).await?;
                    marks.apply_in(tx.transaction(), &change).await?;
                    app.handle.touch(&mut tx, &KEY);
                    handle.touch(&mut tx, &KEY);
                    tx.commit().await
                };
                app.note(app.store.witness_write(&change, work).await);
            });
            two.task("reads both", |app| async move {
                let (handle, marks) = reader;
                app.read(KEY).await;
                app.note(marks.witness_read(KEY, handle.get(&KEY)).await);
            });
            site.explore()
        });
    let counts = report.assert_complete().counts;
    assert!(counts.late_landings > 0 && counts.writes_in_doubt > 0, "{report}");
}
