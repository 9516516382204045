//! Redis comes back without its last changes, with an older file, or with none: SQL never goes backwards, what can be known is
//! known, and new changes land.

use std::fs;
use std::path::{Path, PathBuf};

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::{Kind, Outcome, Sql, Ticket};
use writeway_testkit::harness::Scores;

use crate::rig::{Handle, Rig, eventually, flushed, put_all};

const PLAYERS: i32 = 60;
/// Bytes cut off the file; the last is all there is.
const CUTS: [u64; 8] = [1, 300, 3_000, 9_000, 20_000, 50_000, 200_000, u64::MAX];

fn file(rig: &Rig) -> PathBuf {
    let files = fs::read_dir(rig.redis.dir().join("appendonlydir")).expect("a directory");
    let mut increments =
        files.map(|file| file.expect("a file").path()).filter(|path| path.to_string_lossy().ends_with(".incr.aof"));
    increments.next().expect("an increment")
}

fn cut(rig: &Rig, bytes: u64) {
    if bytes == u64::MAX {
        return fs::remove_dir_all(rig.redis.dir().join("appendonlydir")).expect("removed");
    }
    let file = fs::OpenOptions::new().write(true).open(file(rig)).expect("a file");
    let length = file.metadata().expect("a length").len();
    file.set_len(length.saturating_sub(bytes)).expect("cut");
}

fn restart(rig: &mut Rig) {
    tokio::task::block_in_place(|| rig.redis.restart()).expect("restarted");
}

/// What is read now is what SQL has, or newer.
pub(crate) async fn reads_nothing_older(rig: &Rig, handle: &Handle, players: std::ops::Range<i32>) {
    let keys: Vec<(i64, i32)> = players.clone().map(|player| (1, player)).collect();
    let held = rig.ledger.holds().await;
    let found = eventually("reads", async || handle.get_many(&keys).await.ok()).await;
    for (player, row) in players.zip(found) {
        let (read, held) = (row.map_or(0, |row| row.points), held.get(&player).copied().unwrap_or(0));
        assert!(read >= held, "invariant violated: a read is never older than sql: {player}: {read}, {held}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_last_changes_never_takes_sql_back() {
    let Some(mut rig) = Rig::new("cut").await else { return };
    let handle = rig.handle().await;
    let (mut lost, mut kept) = (0, 0);
    for (round, bytes) in (0..).zip(CUTS) {
        let first = 10 * round + 1;
        drop(put_all(&handle, 0..PLAYERS, first).await);
        flushed(&handle).await;
        let events = handle.stats().await.expect("stats").loss_possible;
        // Some of these are in SQL by the time of the crash, and some in an open batch.
        let pause = u64::try_from(Tokio.random() % 120).unwrap_or(0);
        let tickets = put_all(&handle, 0..PLAYERS, first + 1).await;
        Tokio.sleep(std::time::Duration::from_millis(pause)).await;
        rig.redis.kill().expect("killed");
        cut(&rig, bytes);
        restart(&mut rig);

        eventually("the event", async || {
            let now = handle.stats().await.ok()?.loss_possible;
            (now > events).then_some(())
        })
        .await;
        reads_nothing_older(&rig, &handle, 0..PLAYERS).await;
        for (player, ticket) in (0..PLAYERS).zip(&tickets) {
            let _known = settled(&rig, ticket, player, first + 1).await;
        }
        flushed(&handle).await;
        let held = rig.ledger.holds().await;
        kept += (0..PLAYERS).filter(|player| held[player] == first + 1).count();
        lost += (0..PLAYERS).filter(|player| held[player] == first).count();
        drop(put_all(&handle, 0..PLAYERS, first + 2).await);
        flushed(&handle).await;
        let rows = rig.ascending().await;
        assert!((0..PLAYERS).all(|player| rows[&player].ends_with(&[first + 2])), "invariant violated: new changes land");
        reads_nothing_older(&rig, &handle, 0..PLAYERS).await;
    }
    println!("{} cuts: {kept} changes are in SQL, {lost} are lost", CUTS.len());
    assert!(lost > 0 && kept > 0, "the harness did too little");
    assert_eq!(handle.stats().await.expect("stats").dead, 0);
}

/// What a ticket says of a change that the journal may have lost: that it is in SQL only if it is. False if that is not known.
pub(crate) async fn settled(rig: &Rig, ticket: &Ticket<Sql<Scores>>, player: i32, points: i64) -> bool {
    let became = eventually("what became of a change", async || {
        let became = ticket.durable().await;
        // In the middle of a recovery it may be told later.
        if became.as_ref().is_err_and(|e| e.outcome() == Outcome::NotApplied) { None } else { Some(became) }
    });
    match became.await {
        Ok(()) => {
            let held = rig.ledger.holds().await.get(&player).copied();
            assert_eq!(held, Some(points), "invariant violated: durable means in sql");
            true
        }
        Err(e) => {
            assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::Unknown), "{e}");
            false
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let _none = fs::remove_dir_all(to);
    fs::create_dir(to).expect("a directory");
    for file in fs::read_dir(from).expect("a directory") {
        let file = file.expect("a file");
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_restored_from_an_older_file_gives_way_to_sql() {
    let Some(mut rig) = Rig::new("older").await else { return };
    let handle = rig.handle().await;
    let (live, backup) = (rig.redis.dir().join("appendonlydir"), rig.redis.dir().join("backup"));
    for (round, put_again) in (0..).zip([false, true]) {
        let n = 10 * round + 1;
        // The copy has an open batch that SQL does not have, and changes that are in none; in the second round, newer ones.
        let lock = rig.block_sql().await;
        drop(put_all(&handle, 0..PLAYERS, n).await);
        eventually("an open batch", async || (rig.status().await.open > 0).then_some(())).await;
        if put_again {
            drop(put_all(&handle, 0..PLAYERS, n + 1).await);
        }
        copy(&live, &backup);
        lock.release().await;
        flushed(&handle).await;
        drop(put_all(&handle, 0..PLAYERS, n + 2).await);
        flushed(&handle).await;
        let before = rig.ascending().await;
        let events = handle.stats().await.expect("stats").loss_possible;
        rig.redis.kill().expect("killed");
        copy(&backup, &live);
        restart(&mut rig);
        eventually("the event", async || {
            let now = handle.stats().await.ok()?.loss_possible;
            (now > events).then_some(())
        })
        .await;
        reads_nothing_older(&rig, &handle, 0..PLAYERS).await;
        flushed(&handle).await;
        assert_eq!(rig.ascending().await, before, "invariant violated: what sql has newer is dropped");
        let status = rig.status().await;
        assert_eq!((status.dirty, status.open), (0, 0), "invariant violated: superseded changes are dropped");
        reads_nothing_older(&rig, &handle, 0..PLAYERS).await;
    }
    drop(put_all(&handle, 0..PLAYERS, 100).await);
    flushed(&handle).await;
    let rows = rig.ascending().await;
    assert!((0..PLAYERS).all(|player| rows[&player].ends_with(&[100])), "invariant violated: new changes land");
    assert_eq!(handle.stats().await.expect("stats").dead, 0);
}
