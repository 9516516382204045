//! Shards spread over the processes that are there, and moving when one dies, stands still, comes or goes.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_testkit::harness::Job;
use writeway_testkit::servers::Resp;

use crate::rig::{DELAY, FLUSH, Rig};
use crate::worker::{Like, Mate, work};

const SHARDS: usize = 16;
const PLAYERS: i32 = 300;
const LIKE: Like = Like { delay: DELAY, flush: FLUSH, batch: 1_000 };
/// What a move may take on a loaded machine: to be missed, to be noticed, and a lease's end.
const MOVED: Duration = Duration::from_secs(12);
const TEST: &str = "spread::shards_are_spread_and_move_when_a_process_dies_pauses_comes_or_goes";

/// The rig's Redis, and what its keys start with.
struct Eye {
    redis: Resp,
    prefix: String,
}

/// How many shards each process leads, fewest first.
fn led(Eye { redis, prefix }: &mut Eye) -> Vec<usize> {
    let mut led = BTreeMap::<String, usize>::new();
    for shard in 0..SHARDS {
        let lease = redis.call(&["GET", &format!("{prefix}:{{scores:{shard}}}:lease")]).expect("redis answers");
        if let Some(holder) = lease.first().filter(|holder| !holder.is_empty()) {
            *led.entry(holder.clone()).or_default() += 1;
        }
    }
    let mut led: Vec<usize> = led.into_values().collect();
    led.sort_unstable();
    led
}

/// Everything is written again and again until so many shards are led by each.
async fn spreads_as(eye: &mut Eye, writer: &mut Mate, points: &mut i64, what: &str, wanted: &[usize]) {
    let asked = Tokio.now();
    loop {
        *points += 1;
        writer.ask(&format!("put 0 {PLAYERS} {points}")).await;
        let led = led(eye);
        let took = Tokio.now() - asked;
        if led == wanted {
            println!("{what}: {led:?} after {took:?}");
            return;
        }
        assert!(took < MOVED, "invariant violated: shards move within seconds: {what}: {led:?}, not {wanted:?}, after {took:?}");
        Tokio.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_spread_and_move_when_a_process_dies_pauses_comes_or_goes() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("spread").await else { return };
    // Their number is for good.
    let first = rig.build(|builder| builder.shards(16)).await;
    first.shutdown(DELAY).await.expect("redis says what is left");
    let redis = Resp::connect(&format!("127.0.0.1:{}", rig.redis.port())).expect("redis lets us in");
    let mut eye = Eye { redis, prefix: rig.given.prefix_of("faults") };
    let mut points = 0;

    let mut one = Mate::start(TEST, &rig.given, &rig.schema, LIKE).await;
    spreads_as(&mut eye, &mut one, &mut points, "one process", &[16]).await;
    let two = Mate::start(TEST, &rig.given, &rig.schema, LIKE).await;
    spreads_as(&mut eye, &mut one, &mut points, "a second comes", &[8, 8]).await;
    let three = Mate::start(TEST, &rig.given, &rig.schema, LIKE).await;
    spreads_as(&mut eye, &mut one, &mut points, "a third comes", &[5, 5, 6]).await;

    two.worker.kill();
    spreads_as(&mut eye, &mut one, &mut points, "one is killed", &[8, 8]).await;
    three.signal(Signal::SIGSTOP);
    spreads_as(&mut eye, &mut one, &mut points, "one stands still", &[16]).await;
    three.signal(Signal::SIGCONT);
    spreads_as(&mut eye, &mut one, &mut points, "it goes on", &[8, 8]).await;
    let mut three = three;
    three.signal(Signal::SIGTERM);
    three.hears("drained").await;
    three.worker.wait();
    spreads_as(&mut eye, &mut one, &mut points, "one is shut down", &[16]).await;

    one.ask("flush").await;
    let rows = rig.ascending().await;
    let last = |player: i32| rows.get(&player).and_then(|steps| steps.last()) == Some(&points);
    assert!((0..PLAYERS).all(last), "invariant violated: everything drains, whoever flushes it");
    let members = eye.redis.call(&["ZRANGE", &format!("{}:{{scores}}:members", eye.prefix), "0", "-1"]).expect("redis answers");
    assert_eq!(members.len(), 1, "who is dead or has left is forgotten");
}
