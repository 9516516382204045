//! Logical time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_core::runtime::Runtime;

use super::*;

#[test]
fn a_slow_reply_comes_after_its_effect() {
    let seen = Mutex::new(BTreeSet::new());
    let report = Explore::new("a slow reply").slow_replies(Side::Store, 1, Duration::from_millis(70)).run(|world| {
        let (register, start) = (Register::new(world), world.now_ms());
        let (r, other) = (register.clone(), register.clone());
        world.process("one").task("writer", async move {
            r.set(1).await.expect("no fault");
        });
        let at = Arc::new(Mutex::new((0, 0)));
        let a = at.clone();
        world.process("two").task("reader", async move {
            let value = other.get().await;
            *a.lock().unwrap() = (value, other.world.now_ms() - start);
        });
        world.explore()?;
        seen.lock().unwrap().insert(*at.lock().unwrap());
        Ok(())
    });
    assert!(report.counts.slow_replies > 0);
    // Before the effect, after it and before the reply, and after both; or the reader's own reply is the slow one.
    assert_eq!(seen.into_inner().unwrap(), BTreeSet::from([(0, 0), (1, 0), (1, 70), (0, 70)]));
}

#[test]
fn time_moves_only_when_nothing_else_can() {
    let scenario = |world: &World, ends: &Mutex<BTreeSet<(bool, u64)>>| {
        let (runtime, w) = (world.runtime(), world.clone());
        let timed_out = Arc::new(Mutex::new(false));
        let t = timed_out.clone();
        let start = world.now_ms();
        world.process("app").task("impatient", async move {
            tokio::select! {
                biased;
                () = w.point("work") => {}
                () = runtime.sleep(Duration::from_millis(40)) => *t.lock().unwrap() = true,
            }
        });
        world.explore()?;
        let timed_out = *timed_out.lock().unwrap();
        ends.lock().unwrap().insert((timed_out, world.now_ms() - start));
        Ok(())
    };
    let (ends, early) = (Mutex::default(), Mutex::default());
    Explore::new("a time-out").run(|world| scenario(world, &ends));
    assert_eq!(ends.into_inner().unwrap(), BTreeSet::from([(false, 0)]));
    Explore::new("a time-out").timeouts(1).run(|world| scenario(world, &early));
    assert_eq!(early.into_inner().unwrap(), BTreeSet::from([(false, 0), (false, 40), (true, 40)]));
}

#[test]
fn sleepers_wake_in_order_and_set_up_lets_time_pass() {
    let report = Explore::new("sleepers").run(|world| {
        let runtime = world.runtime();
        world.setup(runtime.sleep(Duration::from_secs(1)));
        let start = world.now_ms();
        let order = Arc::new(Mutex::new(Vec::new()));
        let process = world.process("app");
        for ms in [30, 10, 20] {
            let (runtime, order) = (world.runtime(), order.clone());
            process.task(format!("sleep {ms}"), async move {
                runtime.sleep(Duration::from_millis(ms)).await;
                order.lock().unwrap().push(ms);
            });
        }
        world.explore()?;
        assert_eq!((world.now_ms() - start, order.lock().unwrap().as_slice()), (30, &[10, 20, 30][..]));
        Ok(())
    });
    assert_eq!(report.runs, 1);
}

#[test]
fn a_set_up_runs_no_task_of_the_exploration() {
    let report = Explore::new("set-up between tasks").run(|world| {
        points(world, 1, 2);
        world.setup(world.runtime().sleep(Duration::from_secs(1)));
        points(world, 1, 2);
        world.setup(world.runtime().sleep(Duration::from_secs(1)));
        world.explore()
    });
    assert_eq!(report.runs, 6);
}

#[test]
fn a_late_effect_lands_before_its_bound() {
    let landed = Mutex::new(BTreeSet::new());
    Explore::new("a bounded effect").run(|world| {
        let start = world.now_ms();
        let at = Arc::new(Mutex::new(0));
        let (runtime, w, a) = (world.runtime(), world.clone(), at.clone());
        world.process("app").task("client", async move {
            w.point("send").await;
            let (clock, a) = (w.clone(), a.clone());
            w.land_later("effect", Some(start + 100), move || *a.lock().unwrap() = clock.now_ms() - start);
            runtime.sleep(Duration::from_millis(50)).await;
            runtime.sleep(Duration::from_millis(100)).await;
        });
        world.explore()?;
        landed.lock().unwrap().insert(*at.lock().unwrap());
        Ok(())
    });
    assert_eq!(landed.into_inner().unwrap(), BTreeSet::from([0, 50]));
}
