//! Calls that fail, processes that die, callers that leave.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use writeway_core::runtime::Runtime;

use super::*;

#[test]
fn a_call_ends_in_every_way() {
    let seen = Mutex::new(BTreeSet::new());
    let report = Explore::new("one call").faults(1).run(|world| {
        let (register, early) = (Register::new(world), Arc::new(Mutex::new(None)));
        let (r, e) = (register.clone(), early.clone());
        world.process("app").task("writer", async move {
            let answer = r.set(7).await;
            *e.lock().unwrap() = Some((answer, r.now(), r.world.now_ms()));
        });
        let start = world.now_ms();
        world.explore()?;
        let (answer, at_answer, ended) = early.lock().unwrap().expect("answered");
        seen.lock().unwrap().insert((format!("{answer:?}"), at_answer, register.now(), ended - start));
        Ok(())
    });
    let expected = [
        ("Ok(0)", 7, 7, 0),
        ("Err(Refused)", 0, 0, 0),
        ("Err(Unknown)", 7, 7, 0),   // the reply was lost
        ("Err(Unknown)", 7, 7, 500), // late, but before its caller gave up
        ("Err(Unknown)", 0, 7, 500), // later than that
    ];
    let expected = expected.map(|(answer, early, late, after)| (answer.to_owned(), early, late, after));
    assert_eq!(seen.into_inner().unwrap(), BTreeSet::from(expected));
    assert_eq!(report.runs, 5);
}

#[test]
fn late_effects_survive_a_crash() {
    let outcomes = Mutex::new(BTreeSet::new());
    let report = Explore::new("a crash while a request is under way").faults(1).crashes(1).run(|world| {
        let (register, answered) = (Register::new(world), Arc::new(Mutex::new(false)));
        let (r, a) = (register.clone(), answered.clone());
        world.process("app").task("writer", async move {
            let _ = r.set(7).await;
            *a.lock().unwrap() = true;
            // Its death comes after a step: so there must be one more to be taken.
            r.world.point("then").await;
            let _ = r.set(8).await;
        });
        world.explore()?;
        let died = world.counts().crashes == 1;
        let late = world.counts().late_landings == 1;
        outcomes.lock().unwrap().insert((died, late, *answered.lock().unwrap(), register.now()));
        Ok(())
    });
    let outcomes = outcomes.into_inner().unwrap();
    assert!(outcomes.contains(&(true, true, false, 7)), "dead before the answer, and it landed all the same: {outcomes:?}");
    assert!(outcomes.contains(&(true, false, true, 7)), "dead, and what was not sent does not land: {outcomes:?}");
    assert!(report.counts.crashes > 0 && report.counts.late_landings > 0);
}

#[test]
fn a_dead_process_does_nothing_more() {
    let report = Explore::new("a crash").crashes(1).run(|world| {
        let (dying, witness) = (world.process("dying"), world.process("witness").immortal());
        let (held, freed) = oneshot::channel::<()>();
        let late = Register::new(world);
        let (runtime, point, register) = (world.runtime(), world.clone(), late.clone());
        dying.task("worker", async move {
            let _held = held;
            point.point("work").await;
            runtime.spawn(
                "child",
                Box::pin(async move {
                    let _ = register.set(1).await;
                }),
            );
            point.point("more work").await;
        });
        let dead = world.clone();
        witness.task("watch", async move {
            let _ = freed.await;
            if dead.counts().crashes == 1 {
                dead.point("look").await;
            }
        });
        world.explore()
    });
    assert!(report.counts.crashes >= 3, "{report}");
}

#[test]
fn a_caller_drops_its_future_at_every_await() {
    let reached = Mutex::new(BTreeSet::new());
    let report = Explore::new("cancel").cancels(1).run(|world| {
        let (register, w) = (Register::new(world), world.clone());
        let r = register.clone();
        world.process("app").task("caller", async move {
            let work = async move {
                for n in 1..=3 {
                    let _ = r.set(n).await;
                }
            };
            let _ = w.cancellable(work).await;
        });
        world.explore()?;
        reached.lock().unwrap().insert(register.now());
        Ok(())
    });
    assert_eq!(reached.into_inner().unwrap(), BTreeSet::from([0, 1, 2, 3]));
    assert_eq!((report.runs, report.counts.cancels), (7, 6), "at each of three calls, which then lands or not");
}
