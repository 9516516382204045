//! A process dies at any moment; what it sent lives on, and another process reads.

use writeway_core::runtime::Runtime;

use crate::setup::{COMMIT_WITHIN, Site, explore};

#[test]
fn a_writer_and_two_readers_with_eviction_and_crash() {
    let explore = explore("one writer, two readers, an eviction, a crash").evictions(1).crashes(1).preemptions(3);
    let report = explore.run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10).reads(1);
        two.immortal().reads(1);
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.evictions > 0 && counts.hits > 0, "{report}");
}

/// Before, while and after the dead writer's barrier stands.
#[test]
fn a_writer_dies_and_another_process_reads_on() {
    let report = explore("one writer dies, a reader goes on").crashes(1).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps();
        one.puts(10);
        two.immortal().task("reads", |app| async move {
            app.read(1).await;
            app.runtime.sleep(COMMIT_WITHIN).await;
            app.read(1).await;
            app.read(1).await;
        });
        site.explore()
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.late_landings > 0 && counts.hits > 0, "{report}");
}
