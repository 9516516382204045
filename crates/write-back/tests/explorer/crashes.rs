//! A process dies at any moment; another finds what it left.

use crate::setup::{Site, explore, preemptions};

#[test]
fn two_puts_and_a_flush_with_a_crash() {
    let report = explore("two puts, a flush, a crash").crashes(1).preemptions(preemptions()).run(|world| {
        let site = Site::new(world);
        let apps = site.apps::<1>();
        apps[0].puts([10, 11]).flushes();
        site.explore(apps)
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0, "{report}");
}

#[test]
fn a_flusher_that_dies_is_taken_over() {
    let report = explore("a put, a crash, a takeover").crashes(1).preemptions(1).run(|world| {
        let site = Site::new(world);
        let [one, two] = site.apps::<2>();
        one.puts([10]).flushes();
        let two = two.immortal();
        two.puts([20]).flushes();
        site.explore([one, two])
    });
    let counts = report.assert_complete().counts;
    assert!(counts.crashes > 0, "{report}");
}
