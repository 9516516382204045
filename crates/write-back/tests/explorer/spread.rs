//! Processes that share the shards: the one that owns a shard may die or stand still, and somebody else does its part.

use writeway_testkit::sim::Journal;

use crate::setup::{Site, explore, up_to};

#[test]
fn two_processes_of_which_one_owns_the_shard() {
    let report = explore("two processes that share the shards").preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::spreading);
        let apps = site.apps::<2>();
        apps[0].puts([10]);
        apps[1].puts([20]);
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.batches >= report.runs, "{report}");
}

#[test]
fn a_process_that_dies_leaves_its_shard_to_the_other() {
    let report = explore("two processes that share the shards, a crash").crashes(1).preemptions(up_to(2)).run(|world| {
        let site = Site::new(world).with(Journal::spreading);
        let [one, two] = site.apps::<2>();
        one.puts([10]);
        let two = two.immortal();
        two.puts([20]);
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.takeovers > 0, "{report}");
}
