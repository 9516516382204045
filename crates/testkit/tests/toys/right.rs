//! The toy without a mistake holds, whatever goes wrong: so the simulated servers and the checks raise no false alarm.

use std::time::Duration;

use writeway_core::change::Change;
use writeway_testkit::check;
use writeway_testkit::explorer::Side;
use writeway_testkit::explorer::{Explore, Verdict, World};

use crate::protocol::{Mistake, Toy, put};

fn writers_and_readers(world: &World, writes: &[Change<u32, writeway_testkit::sim::Cell>], readers: usize) -> Verdict {
    let toy = Toy::new(world, Mistake::None);
    let app = world.process("app");
    // They share nothing but the servers: one process serves as well as many.
    for (n, write) in writes.iter().enumerate() {
        app.task(format!("writer {n}"), toy.clone().writes(write.clone()));
    }
    for n in 0..readers {
        app.task(format!("reader {n}"), toy.clone().reads(1));
    }
    world.explore()?;
    check::strict(world, &toy.cache, &toy.store)
}

#[test]
fn two_writers_and_a_reader() {
    let report = Explore::new("two writers, one reader").run(|world| writers_and_readers(world, &[put(10), put(20)], 1));
    report.assert_complete();
    assert!(report.counts.lock_waits > 0 && report.counts.reads == report.runs, "{report}");
}

#[test]
fn a_writer_and_two_readers() {
    let report = Explore::new("one writer, two readers").run(|world| writers_and_readers(world, &[put(10)], 2));
    assert!(report.assert_complete().counts.hits > 0, "{report}");
}

#[test]
fn a_put_and_a_delete() {
    let report = Explore::new("put and delete").preemptions(3);
    report.run(|world| writers_and_readers(world, &[put(10), Change::Delete(1)], 1)).assert_complete();
}

#[test]
fn with_a_fault() {
    let explore = Explore::new("two writers, one reader, one fault").preemptions(2).faults(1);
    let report = explore.run(|world| writers_and_readers(world, &[put(10), put(20)], 1));
    assert!(report.assert_complete().counts.late_landings > 0, "{report}");
}

#[test]
fn with_a_crash_a_fault_and_an_eviction() {
    let explore = Explore::new("one writer, one reader, a crash, a fault, an eviction").faults(1).crashes(1).evictions(1);
    let report = explore.run(|world| writers_and_readers(world, &[put(10)], 1));
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0 && counts.evictions > 0 && counts.late_landings > 0, "{report}");
}

#[test]
fn with_lapses() {
    for by in [400, 2_500, 20_000].map(Duration::from_millis) {
        let explore = Explore::new(format!("one writer, two readers, {by:?} pass")).lapses(1, by).preemptions(2);
        let report = explore.run(|world| writers_and_readers(world, &[put(10)], 2));
        assert!(report.assert_complete().counts.lapses > 0, "{report}");
        let explore = Explore::new(format!("one writer, two readers, a reply is {by:?} late"))
            .slow_replies(Side::Cache, 1, by)
            .preemptions(2);
        let report = explore.run(|world| writers_and_readers(world, &[put(10)], 2));
        assert!(report.assert_complete().counts.slow_replies > 0, "{report}");
    }
}

#[test]
fn at_random() {
    let explore = Explore::new("at random").faults(2).crashes(1).evictions(2).lapses(1, Duration::from_millis(2_500));
    let report = explore.random(1, 20_000).run(|world| writers_and_readers(world, &[put(10), put(20), Change::Delete(1)], 2));
    assert!(report.counts.crashes > 100 && report.counts.faults > 1_000, "{report}");
}
