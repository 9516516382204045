//! A Redis that is there and refuses to write: its memory is full, its disk fails, it has too few replicas. Writes are refused by
//! type with nothing half done, reads go on, what it lets drain drains, and all of it heals without a restart of anybody.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use writeway_back::{Change, Kind, Outcome};
use writeway_testkit::harness::{Job, score};
use writeway_testkit::servers::Resp;

use crate::load::{Load, Shape};
use crate::rig::{DELAY, FLUSH, Handle, Rig, eventually, flushed, put_all, write_all};
use crate::worker::{Like, Mate, work};

const PLAYERS: i32 = 300;
const SOME: i32 = 40;

fn set(redis: &mut Resp, name: &str, value: &str) {
    redis.call(&["CONFIG", "SET", name, value]).expect("set");
}

/// Every write is refused by type, in time, and leaves nothing: of those of several rows in several shards neither.
async fn refuses(rig: &Rig, handle: &Handle, lasts: u32) {
    let before = rig.status().await;
    let held = before.dirty + before.open;
    for round in 0..lasts {
        let put = handle.put(score(SOME + 1, 900)).await.map(drop).map_err(|e| (e.kind(), e.outcome()));
        assert_eq!(put, Err((Kind::Unavailable, Outcome::NotApplied)), "invariant violated: a typed refusal");
        let delete = handle.delete(&(1, 3)).await.map(drop).map_err(|e| (e.kind(), e.outcome()));
        assert_eq!(delete, Err((Kind::Unavailable, Outcome::NotApplied)), "invariant violated: a typed refusal");
        let many = (0..PLAYERS).map(|player| Change::Put(score(player, 901 + i64::from(round)))).collect();
        let many = handle.write(many).await.map(drop).map_err(|e| (e.kind(), e.outcome()));
        assert_eq!(many, Err((Kind::Unavailable, Outcome::NotApplied)), "invariant violated: a typed refusal");
    }
    let after = rig.status().await;
    assert!(after.dirty + after.open <= held, "invariant violated: nothing is half staged: {held}, {after:?}");
}

/// All rows are read, cached or not; of some the last change is not in SQL.
async fn reads(handle: &Handle) {
    for player in 0..PLAYERS {
        let row = handle.get(&(1, player)).await.expect("invariant violated: reads go on");
        let last = if player < SOME { 2 } else { 1 };
        assert_eq!(row.map(|row| row.points), Some(last), "invariant violated: reads are right");
    }
}

/// Rows of which half are not cached, and changes on their way that `hold` keeps from SQL.
async fn staged(rig: &Rig, handle: &Handle) {
    write_all(handle, 0..PLAYERS, 1).await;
    flushed(handle).await;
    let half: Vec<(i64, i32)> = (0..PLAYERS).step_by(2).map(|player| (1, player)).collect();
    handle.invalidate(&half).await.expect("removed");
    assert_eq!(rig.status().await.dirty, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_refuses_and_drains() {
    let Some(rig) = Rig::new("oom").await else { return };
    let handle = rig.handle().await;
    staged(&rig, &handle).await;
    let lock = rig.block_sql().await;
    drop(put_all(&handle, 0..SOME, 2).await);
    let mut redis = rig.resp();
    set(&mut redis, "maxmemory", "1000");
    refuses(&rig, &handle, 20).await;
    reads(&handle).await;
    // It drains all the same.
    lock.release().await;
    flushed(&handle).await;
    let rows = rig.ascending().await;
    assert!((0..SOME).all(|player| rows[&player] == [1, 2]), "invariant violated: draining goes on: {rows:?}");
    // A process that starts now takes part, too.
    let other = rig.handle().await;
    refuses(&rig, &other, 5).await;
    assert_eq!(other.get(&(1, 3)).await.expect("reads go on").map(|row| row.points), Some(2));
    let refused = redis.call(&["INFO", "errorstats"]).expect("redis answers").concat();
    let refused = refused.lines().find(|line| line.starts_with("errorstat_OOM")).unwrap_or("none").to_owned();
    set(&mut redis, "maxmemory", "0");
    heals(&rig, &handle, "oom").await;
    println!("out of memory: {refused}, all drained meanwhile");
    assert_ne!(refused, "none", "the harness did too little");
}

/// New changes land, without a restart of the process.
async fn heals(rig: &Rig, handle: &Handle, why: &str) {
    drop(put_all(handle, 0..SOME, 1_000).await);
    flushed(handle).await;
    let rows = rig.ascending().await;
    assert!((0..SOME).all(|player| rows[&player].ends_with(&[1_000])), "invariant violated: it heals: {why}");
    let stats = handle.stats().await.expect("stats");
    assert_eq!((stats.dirty, stats.dead, stats.loss_possible), (0, 0, 0), "invariant violated: it heals: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_again_and_again_loses_nothing() {
    let Some(rig) = Rig::new("full").await else { return };
    let handle = rig.handle().await;
    let load = Load::start(&handle, Shape { keys: 100, deletes: true, ..Shape::default() });
    let mut redis = rig.resp();
    for _ in 0..6 {
        load.goes_on().await;
        set(&mut redis, "maxmemory", "1000");
        load.is_refused(40).await;
        set(&mut redis, "maxmemory", "0");
    }
    load.goes_on().await;
    load.stop().await;
    flushed(&handle).await;
    println!("full six times: {}", load.counts());
    load.answers_are_right();
    assert_eq!(load.verdict(&rig.ledger).await, Default::default(), "invariant violated: a refusal is true, and an accept too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_too_few_replicas_refuses() {
    let Some(rig) = Rig::new("noreplicas").await else { return };
    let handle = rig.handle().await;
    staged(&rig, &handle).await;
    let lock = rig.block_sql().await;
    drop(put_all(&handle, 0..SOME, 2).await);
    let mut redis = rig.resp();
    set(&mut redis, "min-replicas-to-write", "1");
    refuses(&rig, &handle, 10).await;
    reads(&handle).await;
    lock.release().await;
    // Redis lets nobody write, so nothing drains; nor is anything lost.
    refuses(&rig, &handle, 10).await;
    let stats = handle.stats().await.expect("invariant violated: reads go on");
    set(&mut redis, "min-replicas-to-write", "0");
    heals(&rig, &handle, "noreplicas").await;
    println!("too few replicas: refused, {} rows waited", stats.dirty);
    assert!(stats.dirty > 0, "the harness did too little");
}

fn persistence(rig: &Rig) -> String {
    rig.resp().call(&["INFO", "persistence"]).expect("redis answers").concat()
}

/// A snapshot that cannot be put in its place, for there is a directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_cannot_save_refuses() {
    let Some(rig) = Rig::new("misconf").await else { return };
    let handle = rig.handle().await;
    staged(&rig, &handle).await;
    let lock = rig.block_sql().await;
    drop(put_all(&handle, 0..SOME, 2).await);
    let mut redis = rig.resp();
    let in_the_way = rig.redis.dir().join("dump.rdb");
    fs::create_dir_all(in_the_way.join("x")).expect("a directory");
    set(&mut redis, "save", "3600 1");
    redis.call(&["BGSAVE"]).expect("started");
    eventually("a failed save", async || persistence(&rig).contains("rdb_last_bgsave_status:err").then_some(())).await;
    refuses(&rig, &handle, 10).await;
    reads(&handle).await;
    lock.release().await;
    refuses(&rig, &handle, 10).await;
    fs::remove_dir_all(&in_the_way).expect("removed");
    redis.call(&["BGSAVE"]).expect("started");
    eventually("a save", async || persistence(&rig).contains("rdb_last_bgsave_status:ok").then_some(())).await;
    heals(&rig, &handle, "misconf").await;
    println!("a failing snapshot: refused, healed");
}

/// A small file system of its own under the server's files; taken away again whatever happens.
struct Small(PathBuf);

impl Small {
    /// `None` where the operating system does not let us.
    fn mount(at: PathBuf) -> Option<Small> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_whose_disk_is_full_refuses() {
    if let Some(job) = Job::from_env() {
        return work(job).await;
    }
    let Some(mut rig) = Rig::new("disk").await else { return };
    rig.redis.stop().expect("stopped");
    let dir = rig.redis.dir().to_owned();
    let small = Small::mount(dir.clone());
    tokio::task::block_in_place(|| rig.redis.restart()).expect("restarted");
    let Some(_small) = small else { return println!("SKIPPED: a file system of one's own needs more rights") };
    let handle = rig.handle().await;
    let load = Load::start(&handle, Shape { deletes: true, ..Shape::default() });
    load.goes_on().await;
    // Another process is there as well: it heals by itself, too.
    let like = Like { delay: DELAY, flush: FLUSH, batch: 1_000 };
    let mut other = Mate::start("refusals::a_redis_whose_disk_is_full_refuses", &rig.given, &rig.schema, like).await;
    let filling = dir.join("filling");
    // All that is left.
    let _full = fs::write(&filling, vec![0; 4 << 20]);
    load.is_refused(100).await;
    let info = persistence(&rig);
    fs::remove_file(&filling).expect("removed");
    load.goes_on().await;
    load.stop().await;
    other.ask(&format!("put 2000 {} 7", 2_000 + SOME)).await;
    other.ask("flush").await;
    flushed(&handle).await;
    println!("a full disk: {}", load.counts());
    assert!(info.contains("aof_last_write_status:err"), "the harness did too little");
    load.answers_are_right();
    assert_eq!(load.verdict(&rig.ledger).await, Default::default(), "invariant violated: a refusal is true, and an accept too");
    let rows = rig.steps_of(2_000..2_000 + SOME).await;
    assert!(rows.values().all(|steps| *steps == [7]) && rows.len() == 40, "invariant violated: it heals");
}
