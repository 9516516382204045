//! Strict mode: the barriers of write-through, and nothing is published.

use writeway_core::runtime::Runtime;

use crate::setup::{COMMIT_WITHIN, Mode, Site, explore};

#[test]
fn two_writers_and_a_reader_with_eviction() {
    let report = explore("strict: two writers, one reader, an eviction").evictions(1).run(|world| {
        let site = Site::new(world, Mode::Strict);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.puts(20);
        three.reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.lock_waits > 0 && counts.evictions > 0, "{report}");
}

#[test]
fn a_writer_and_two_readers() {
    let report = explore("strict: one writer, two readers").run(|world| {
        let site = Site::new(world, Mode::Strict);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.reads(1);
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.hits > 0, "{report}");
}

#[test]
fn a_delete_of_no_row_a_put_and_a_reader() {
    let report = explore("strict: delete of no row, put, one reader").run(|world| {
        let site = Site::over(world.store(&[]), world, Mode::Strict);
        let [one, two, three] = site.apps();
        one.puts(10);
        two.deletes();
        three.reads(1);
        site.explore()
    });
    assert!(report.assert_complete().counts.commits > 0, "{report}");
}

#[test]
fn a_writer_and_a_reader_with_a_fault_and_a_crash() {
    let report = explore("strict: one writer, a reader, a fault, a crash").faults(1).crashes(1).run(|world| {
        let site = Site::new(world, Mode::Strict);
        let [one, two] = site.apps();
        one.puts(10);
        two.immortal().task("reads", |app| async move {
            app.read().await;
            app.runtime.sleep(COMMIT_WITHIN).await;
            app.read().await;
            app.read().await;
        });
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.late_landings > 0 && counts.hits > 0, "{report}");
}
