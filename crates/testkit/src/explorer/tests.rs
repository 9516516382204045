//! The explorer is tested with small toys: what it must find, it finds; how many runs there are is known by counting.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use writeway_core::runtime::Runtime;

use super::*;

mod time;

/// A server with one register.
#[derive(Clone)]
struct Register {
    world: World,
    value: Arc<Mutex<u64>>,
}

impl Register {
    fn new(world: &World) -> Self {
        Register { world: world.clone(), value: Arc::default() }
    }

    fn now(&self) -> u64 {
        *self.value.lock().unwrap()
    }

    async fn run(&self, what: &'static str, effect: impl FnOnce(&mut u64) -> u64 + Send + 'static) -> Result<u64, Failed> {
        let value = self.value.clone();
        let limit = self.world.now_ms() + 500;
        let call = Call { what: what.into(), side: Side::Store, ends: WRITES, limit, lands_by: None };
        self.world.call(call, move || effect(&mut value.lock().unwrap())).await
    }

    async fn get(&self) -> u64 {
        self.run("get", |value| *value).await.unwrap_or(0)
    }

    async fn set(&self, to: u64) -> Result<u64, Failed> {
        self.run("set", move |value| std::mem::replace(value, to)).await
    }
}

fn points(world: &World, tasks: usize, each: usize) {
    let process = world.process("app");
    for _ in 0..tasks {
        let world = world.clone();
        process.task("points", async move {
            for _ in 0..each {
                world.point("point").await;
            }
        });
    }
}

#[test]
fn every_order_is_visited_once() {
    for (tasks, each, runs) in [(1, 9, 1), (2, 2, 6), (3, 2, 90), (2, 4, 70), (4, 2, 2_520)] {
        let report = Explore::new("points").run(|world| {
            points(world, tasks, each);
            world.explore()
        });
        assert_eq!((report.runs, report.coverage), (runs, Coverage::Complete));
    }
}

#[test]
fn preemptions_are_counted_and_bounded() {
    // Of the six orders of aa and bb: aabb and bbaa have none, abba and baab one, abab and baba two.
    for (bound, runs) in [(0, 2), (1, 4), (2, 6), (3, 6)] {
        let report = Explore::new("points").preemptions(bound).run(|world| {
            points(world, 2, 2);
            world.explore()
        });
        assert_eq!((report.runs, report.coverage), (runs, Coverage::CompleteUpToPreemptions(bound)));
        assert!(report.to_string().contains(&format!("{runs} runs, complete up to {bound} preemptions")));
    }
}

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
fn a_lost_update_is_found() {
    let failure = Explore::new("two increments")
        .check(|world| {
            let register = Register::new(world);
            let process = world.process("app");
            for name in ["one", "two"] {
                let register = register.clone();
                process.task(name, async move {
                    let seen = register.get().await;
                    let _ = register.set(seen + 1).await;
                });
            }
            world.explore()?;
            let sum = register.now();
            Violation::unless(sum == 2, "no update is lost", || format!("the sum is {sum}"))
        })
        .expect_err("get, get, set, set");
    let text = failure.to_string();
    assert!(text.starts_with("invariant violated: no update is lost\n  the sum is 1\n"), "{text}");
    let steps = failure.trace.iter().filter_map(|line| line.split_once("app/")).map(|(_, step)| step).collect::<Vec<_>>();
    assert_eq!(steps, ["one: get", "two: get", "two: set", "one: set"], "{text}");
}

#[test]
fn a_deadlock_is_found_with_its_trace() {
    let failure = Explore::new("two locks in two orders")
        .check(|world| {
            let locks = [Arc::new(tokio::sync::Mutex::new(())), Arc::new(tokio::sync::Mutex::new(()))];
            let process = world.process("app");
            for (name, first, second) in [("ab", 0, 1), ("ba", 1, 0)] {
                let (world, first, second) = (world.clone(), locks[first].clone(), locks[second].clone());
                process.task(name, async move {
                    world.point("start").await;
                    let _first = first.lock().await;
                    world.point("has one").await;
                    let _second = second.lock().await;
                });
            }
            world.explore()
        })
        .expect_err("each has the other's");
    assert_eq!(failure.violation.invariant, "nothing waits for ever");
    assert_eq!(failure.violation.detail, "still waiting: ab, ba");
    assert!(failure.to_string().contains("app/ba: has one"), "{failure}");
}

#[test]
fn a_path_replays_the_same_run() {
    let scenario = |world: &World| {
        let register = Register::new(world);
        let process = world.process("app");
        for n in 1..=3 {
            let register = register.clone();
            process.task(format!("writer {n}"), async move {
                let _ = register.set(n).await;
            });
        }
        world.explore()?;
        Violation::unless(register.now() != 2, "two is not the last", || "it is".into())
    };
    let explore = Explore::new("three writers").faults(1).crashes(1);
    let first = explore.check(scenario).expect_err("in some order");
    let again = explore.clone().replay(&first.path).check(scenario).expect_err("the same run");
    assert_eq!((again.trace, again.path), (first.trace, first.path));

    let random = explore.clone().random(1, 1_000).check(scenario).expect_err("soon");
    let again = explore.clone().random(random.seed.expect("drawn"), 1).check(scenario).expect_err("the same run");
    assert_eq!((&again.trace, &again.path), (&random.trace, &random.path));
    let again = explore.replay(&random.path).check(scenario).expect_err("by its path");
    assert_eq!(again.trace, random.trace);
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
fn who_waits_has_no_turn_and_who_is_woken_has() {
    for (explore, runs) in [(Explore::new("a channel"), 3), (Explore::new("a channel").wake_at_once(), 2)] {
        let report = explore.run(|world| {
            let process = world.process("app");
            let (send, receive) = oneshot::channel();
            let order = Arc::new(Mutex::new(Vec::new()));
            let (w, o) = (world.clone(), order.clone());
            process.task("receiver", async move {
                receive.await.expect("sent");
                o.lock().unwrap().push("received");
            });
            let o = order.clone();
            process.task("sender", async move {
                w.point("before").await;
                o.lock().unwrap().push("sent");
                send.send(()).expect("the receiver waits");
            });
            let w = world.clone();
            process.task("neighbour", async move { w.point("meanwhile").await });
            world.explore()?;
            assert_eq!(*order.lock().unwrap(), ["sent", "received"]);
            Ok(())
        });
        assert_eq!(report.runs, runs);
    }
}

#[test]
fn who_is_alone_in_its_process_goes_on_at_once() {
    let report = Explore::new("a channel between processes").run(|world| {
        let (send, receive) = oneshot::channel();
        world.process("one").task("receiver", async move { receive.await.expect("sent") });
        let w = world.clone();
        world.process("two").task("sender", async move {
            w.point("before").await;
            send.send(()).expect("the receiver waits");
            w.point("after").await;
        });
        world.explore()
    });
    assert_eq!(report.runs, 1, "nobody can tell when the receiver goes on");
}

#[test]
fn a_slow_reply_comes_after_its_effect() {
    let seen = Mutex::new(BTreeSet::new());
    let report = Explore::new("a slow reply").slow_replies(Side::Cache, 1, Duration::from_millis(70)).run(|world| {
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
fn branches_of_one_task_take_their_turns_apart() {
    let orders = Mutex::new(BTreeSet::new());
    Explore::new("join").run(|world| {
        let order = Arc::new(Mutex::new(String::new()));
        let (w, o) = (world.clone(), order.clone());
        world.process("app").task("both", async move {
            let branch = |name: &'static str| {
                let (w, o) = (w.clone(), o.clone());
                async move {
                    w.point(name).await;
                    o.lock().unwrap().push_str(name);
                }
            };
            tokio::join!(branch("a"), branch("b"));
        });
        world.explore()?;
        orders.lock().unwrap().insert(order.lock().unwrap().clone());
        Ok(())
    });
    assert_eq!(orders.into_inner().unwrap(), BTreeSet::from(["ab".to_owned(), "ba".to_owned()]));
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

#[test]
fn a_panic_and_a_run_without_end_are_failures() {
    let failure = Explore::new("a panic").check(|world| {
        world.process("app").task("careless", async { panic!("at the disco") });
        world.explore()
    });
    let violation = failure.expect_err("it panics").violation;
    assert_eq!((violation.invariant, violation.detail.as_str()), ("nothing panics", "at the disco"));

    let failure = Explore::new("for ever").max_steps(50).check(|world| {
        let w = world.clone();
        world.process("app").task("busy", async move {
            loop {
                w.point("again").await;
            }
        });
        world.explore()
    });
    assert_eq!(failure.expect_err("it never ends").violation.invariant, "every run ends");
}

#[test]
fn a_scenario_that_is_not_deterministic_is_found_out() {
    let calls = Mutex::new(0);
    let failure = Explore::new("dice").check(|world| {
        *calls.lock().unwrap() += 1;
        let tasks = if *calls.lock().unwrap() % 2 == 0 { 3 } else { 2 };
        points(world, tasks, 2);
        world.explore()
    });
    assert!(failure.expect_err("the second run differs").violation.detail.contains("not deterministic"));
}

#[test]
fn a_cut_exploration_says_so() {
    let explore = Explore::new("points").max_runs(10);
    let report = explore.run(|world| {
        points(world, 3, 2);
        world.explore()
    });
    assert_eq!((report.runs, report.coverage), (10, Coverage::CutShort));
    assert!(report.to_string().contains("CUT SHORT"));
}
