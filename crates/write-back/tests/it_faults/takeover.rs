//! A flusher that sleeps, and another that takes over meanwhile: when the first wakes, it changes nothing.

use std::time::Duration;

use nix::sys::signal::Signal;
use writeway_testkit::harness::{Job, number};
use writeway_testkit::servers::Resp;

use crate::rig::{DELAY, FLUSH, Rig, eventually, flushed, put_all};
use crate::worker::{Like, Mate, work};

const PLAYERS: i32 = 40;
const LIKE: Like = Like { delay: DELAY, flush: FLUSH, batch: 1_000 };

/// Where the flusher falls asleep.
#[derive(Clone, Copy, Debug)]
enum Asleep {
    /// With a batch that SQL does not know yet.
    Claimed,
    /// In the middle of its transaction.
    InSql,
    /// With a batch that SQL has and the journal still holds.
    Committed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flusher_that_slept_past_its_lease_changes_nothing() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    for asleep in [Asleep::Claimed, Asleep::InSql, Asleep::Committed] {
        let name = format!("asleep_{asleep:?}").to_lowercase();
        let Some(rig) = Rig::new(&name).await else { return };
        let test = "takeover::a_flusher_that_slept_past_its_lease_changes_nothing";
        let mut first = Mate::start(test, &rig.given, &rig.schema, LIKE).await;
        fall_asleep(&rig, &mut first, asleep).await;

        let second = rig.handle().await;
        drop(put_all(&second, 0..PLAYERS, 2).await);
        flushed(&second).await;
        let before = rig.ascending().await;
        assert!((0..PLAYERS).all(|player| before[&player].ends_with(&[2])), "invariant violated: a sleeper holds up nobody");
        // What it had begun was finished by the other, with the same batch.
        let finished = before.values().filter(|steps| steps.starts_with(&[1])).count();
        println!("{asleep:?}: {finished} rows went through the sleeper's batch");
        assert!(finished > 0, "invariant violated: a claimed batch is flushed by whoever takes over: {before:?}");

        // It goes on where it stood.
        first.worker.tell("go");
        first.signal(Signal::SIGCONT);
        first.ask("flush").await;
        assert_eq!(rig.ascending().await, before, "invariant violated: who slept past his lease changes nothing");
        // And it is of use again.
        first.ask(&format!("put 0 {PLAYERS} 3")).await;
        first.ask("flush").await;
        let after = rig.ascending().await;
        assert!((0..PLAYERS).all(|player| after[&player].ends_with(&[3])), "invariant violated: who was fenced goes on");
    }
}

async fn fall_asleep(rig: &Rig, first: &mut Mate, asleep: Asleep) {
    let put = format!("put 0 {PLAYERS} 1");
    match asleep {
        Asleep::Claimed | Asleep::Committed => {
            first.ask(if matches!(asleep, Asleep::Claimed) { "hold claimed" } else { "hold committed" }).await;
            first.ask(&put).await;
            first.hears("halted").await;
            first.signal(Signal::SIGSTOP);
        }
        Asleep::InSql => {
            let lock = rig.block_sql().await;
            first.ask(&put).await;
            let mut conn = rig.schema.connect().await;
            let name = rig.schema.name();
            let waiting =
                format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event_type = 'Lock'");
            while number(&mut conn, &waiting).await == 0 {}
            first.signal(Signal::SIGSTOP);
            // Its rows are written now, and its transaction waits for a client that sleeps.
            lock.release().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flusher_whose_lease_was_lost_is_fenced_out() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(rig) = Rig::new("fenced").await else { return };
    let test = "takeover::a_flusher_whose_lease_was_lost_is_fenced_out";
    // There is time enough for it to go on with its flush.
    let mut first = Mate::start(test, &rig.given, &rig.schema, Like { flush: Duration::from_secs(20), ..LIKE }).await;
    first.ask("hold claimed").await;
    first.ask(&format!("put 0 {PLAYERS} 1")).await;
    first.hears("halted").await;

    let mut redis = Resp::connect(&format!("127.0.0.1:{}", rig.redis.port())).expect("redis lets us in");
    let leases = redis.call(&["KEYS", "*lease"]).expect("redis answers");
    assert!(!leases.is_empty(), "the flusher has a lease");
    let second = rig.handle().await;
    drop(put_all(&second, 0..PLAYERS, 2).await);
    // The lease gives no safety: it may be gone at any time.
    eventually("the second to flush all", async || {
        redis_forgets(&rig, &leases);
        let rows = rig.ascending().await;
        (0..PLAYERS).all(|player| rows.get(&player).is_some_and(|steps| steps.ends_with(&[2]))).then_some(())
    })
    .await;
    let before = rig.ascending().await;
    first.worker.tell("go");
    assert_eq!(first.hears("ended").await, "Superseded", "invariant violated: a flusher of an earlier epoch changes nothing");
    first.ask("flush").await;
    assert_eq!(rig.ascending().await, before, "invariant violated: a flusher of an earlier epoch changes nothing");
    first.worker.tell("stats");
    let fenced = first.numbers("stats").await[2];
    assert!(fenced > 0, "being fenced out is counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flusher_of_before_a_loss_is_fenced_out() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(mut rig) = Rig::new("before").await else { return };
    // One shard, so that all of the first process stands still: it would lead the others and wait for its own turn in SQL.
    let only = rig.build(|builder| builder.shards(1)).await;
    only.shutdown(DELAY).await.expect("redis says what is left");
    let test = "takeover::a_flusher_of_before_a_loss_is_fenced_out";
    let mut first = Mate::start(test, &rig.given, &rig.schema, Like { flush: Duration::from_secs(20), ..LIKE }).await;
    first.ask("hold claimed").await;
    first.ask(&format!("put 0 {PLAYERS} 1")).await;
    first.hears("halted").await;
    // The next batch has the same number: only the epoch tells the two apart.
    rig.redis.kill().expect("killed");
    std::fs::remove_dir_all(rig.redis.dir().join("appendonlydir")).expect("removed");
    tokio::task::block_in_place(|| rig.redis.restart()).expect("restarted");
    let second = rig.build(|builder| builder.max_delay(Duration::from_secs(600))).await;
    drop(put_all(&second, 0..PLAYERS, 2).await);
    first.worker.tell("go");
    assert_eq!(first.hears("ended").await, "Superseded", "invariant violated: a flusher of an earlier epoch changes nothing");
    flushed(&second).await;
    let rows = rig.ascending().await;
    let newer = (0..PLAYERS).all(|player| rows[&player] == [2]);
    assert!(newer, "invariant violated: a flusher of an earlier epoch changes nothing: {rows:?}");
}

fn redis_forgets(rig: &Rig, leases: &[String]) {
    let mut redis = Resp::connect(&format!("127.0.0.1:{}", rig.redis.port())).expect("redis lets us in");
    for lease in leases {
        redis.call(&["DEL", lease]).expect("redis answers");
    }
}
