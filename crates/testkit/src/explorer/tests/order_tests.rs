//! Every order, and no order twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::*;

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
fn a_cut_exploration_says_so() {
    let explore = Explore::new("points").max_runs(10);
    let report = explore.run(|world| {
        points(world, 3, 2);
        world.explore()
    });
    assert_eq!((report.runs, report.coverage), (10, Coverage::CutShort));
    assert!(report.to_string().contains("CUT SHORT"));
}
