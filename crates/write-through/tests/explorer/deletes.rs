//! Puts and deletes of one row, deletes that find none among them: those hold no row lock.

use crate::setup::{Site, explore};

#[test]
fn a_put_a_delete_and_a_reader() {
    let report = explore("put, delete, one reader").run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.deletes();
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.lock_waits > 0, "{report}");
}

#[test]
fn a_put_a_delete_that_finds_no_row_and_a_reader() {
    let report = explore("put, delete of no row, one reader").run(|world| {
        let site = Site::over(world.store(&[]), world);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.deletes();
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.hits > 0, "{report}");
}

#[test]
fn two_deletes_and_a_reader() {
    let report = explore("two deletes, one reader").run(|world| {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.deletes();
        two.deletes();
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.lock_waits > 0, "{report}");
}
