//! What goes wrong in a scenario is found, told and replayed.

use std::sync::{Arc, Mutex};

use super::*;

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
