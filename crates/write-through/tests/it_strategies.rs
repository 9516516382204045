//! Write-through on Redis and PostgreSQL: a composite key, an Option column, a column and a key that triggers set.

use std::time::Duration;

use writeway_testkit::harness::{Given, Schema, Score, Scores, number, score};
use writeway_through::diesel::prelude::*;
use writeway_through::diesel_async::RunQueryDsl;
use writeway_through::runtime::{Runtime, Tokio};
use writeway_through::store::Store;
use writeway_through::{CacheEffect, Change, Changes, Kind, Outcome, Redis, Sql, WriteThrough};

struct Rig {
    schema: Schema,
    cache: Redis,
    table: Sql<Scores>,
    scores: WriteThrough<Sql<Scores>>,
}

async fn rig(test: &str) -> Option<Rig> {
    let given = Given::from_env()?;
    let schema = Schema::make(&given.database, &format!("it_through_{test}")).await;
    let (cache, table) = (given.cache(&format!("through.{test}")).await, schema.scores(5).await);
    let builder = WriteThrough::builder(table.clone()).namespace("scores").call_timeout(Duration::from_secs(5));
    let scores = builder.build(cache.clone()).await.expect("build");
    scores.invalidate_all().await.expect("an earlier run's entries");
    Some(Rig { schema, cache, table, scores })
}

/// Changes the rows behind the cache's back: a hit does not see it, a load does.
async fn mark(rig: &Rig) {
    rig.schema.run("UPDATE scores SET note = 'behind the cache'").await;
}

fn stands(player: i32, points: i64, version: i64) -> Score {
    Score { version, ..score(player, points) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_made_of_a_row_is_published() {
    let Some(rig) = rig("published").await else { return };
    let written = rig.scores.put(Score { note: Some("n".into()), ..score(1, 10) }).await.expect("put");
    let first = Score { note: Some("n".into()), ..stands(1, 10, 1) };
    assert_eq!((written.row, written.cache), (Some(first), CacheEffect::Published), "the trigger's column too");
    let written = rig.scores.put(score(1, 11)).await.expect("put");
    assert_eq!((written.row.as_ref(), written.cache), (Some(&stands(1, 11, 2)), CacheEffect::Published), "NULL again");
    mark(&rig).await;
    assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), written.row, "a hit");
    rig.scores.invalidate(&[(1, 1)]).await.expect("invalidate");
    let loaded = rig.scores.get(&(1, 1)).await.expect("get").expect("a row");
    assert_eq!((loaded.note.as_deref(), loaded.version), (Some("behind the cache"), 3), "a load");
    let gone = rig.scores.delete(&(1, 1)).await.expect("delete");
    assert_eq!((gone.row, gone.cache), (None, CacheEffect::Published));
    assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), None);
    let nothing = rig.scores.delete(&(1, 1)).await.expect("delete");
    assert_eq!(nothing.cache, CacheEffect::Invalidated, "nothing locks a row that is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_in_one_write_and_one_read() {
    let Some(rig) = rig("many").await else { return };
    let all: Changes<_, _> = (0..2_500).map(|player| Change::Put(score(player, i64::from(player)))).collect();
    let written = rig.scores.write(all).await.expect("write");
    assert!(written.len() == 2_500 && written.iter().all(|w| w.cache == CacheEffect::Published));
    let changes = Changes::new().put(score(5, 50)).delete((1, 6)).put(score(3, 30)).put(score(5, 51)).delete((1, 7));
    let written = rig.scores.write(changes).await.expect("write");
    let rows: Vec<Option<Score>> = written.iter().map(|w| w.row.clone()).collect();
    assert_eq!(rows, [Some(stands(3, 30, 2)), Some(stands(5, 51, 2)), None, None]);
    mark(&rig).await;
    let keys: Vec<(i64, i32)> = (0..2_600).rev().map(|player| (1, player)).collect();
    let found = rig.scores.get_many(&keys).await.expect("get_many");
    for (key, row) in keys.iter().zip(&found) {
        let expected = match key.1 {
            3 => Some(stands(3, 30, 2)),
            5 => Some(stands(5, 51, 2)),
            6 | 7 => None,
            player if player < 2_500 => Some(stands(player, player.into(), 1)),
            _ => None,
        };
        assert_eq!(*row, expected, "{key:?}");
    }
    assert!(rig.scores.invalidate_all().await.expect("invalidate_all") >= 2_498);
    let found = rig.scores.get_many(&[(1, 9), (1, 6), (2, 9), (1, 9)]).await.expect("get_many");
    assert_eq!(found[0].as_ref().and_then(|row| row.note.as_deref()), Some("behind the cache"));
    assert_eq!((&found[1], &found[2], &found[3]), (&None, &None, &found[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_refuses_changes_nothing() {
    let Some(rig) = rig("refused").await else { return };
    rig.scores.put(score(1, 10)).await.expect("put");
    let changes = Changes::new().put(score(1, 11)).put(score(2, -1)).delete((1, 3));
    for refused in [rig.scores.put(score(1, -1)).await.map(drop), rig.scores.write(changes).await.map(drop)] {
        let e = refused.expect_err("a CHECK");
        assert_eq!((e.kind(), e.outcome()), (Kind::Rejected, Outcome::NotApplied), "{e}");
    }
    assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), Some(stands(1, 10, 1)));
    assert_eq!(rig.scores.get(&(1, 2)).await.expect("get"), None);
    let written = rig.scores.put(score(1, 12)).await.expect("put");
    assert_eq!((written.row, written.cache), (Some(stands(1, 12, 2)), CacheEffect::Published), "no barrier and no lock is left");
}

/// A trigger inserts the row under another key than was put: both keys count as touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_trigger_changes() {
    let Some(rig) = rig("moved").await else { return };
    assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), None, "cached as missing");
    assert_eq!(rig.scores.get(&(1, 1001)).await.expect("get"), None, "cached as missing");
    let elsewhere = Score { note: Some("elsewhere".into()), ..score(1, 10) };
    let written = rig.scores.put(elsewhere.clone()).await.expect("put");
    let row = Score { player: 1001, version: 1, ..elsewhere };
    assert_eq!((written.row.as_ref(), written.cache), (Some(&row), CacheEffect::Invalidated), "the least of both keys");
    assert_eq!(rig.scores.get(&(1, 1001)).await.expect("get"), Some(row), "invariant violated: the returned key is touched");
    assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_ones_own() {
    let Some(rig) = rig("own").await else { return };
    let other = WriteThrough::builder(rig.table.clone()).namespace("others").build(rig.cache.clone()).await.expect("build");
    other.invalidate_all().await.expect("an earlier run's entries");
    rig.scores.put(score(1, 10)).await.expect("put");
    rig.scores.put(score(2, 20)).await.expect("put");
    other.get(&(1, 1)).await.expect("filled");
    let mut tx = rig.scores.begin().await.expect("begin");
    let raised = "UPDATE scores SET points = points + 5 WHERE game = 1 AND player = 1 AND points = 10";
    let changed = writeway_through::diesel::sql_query(raised).execute(tx.transaction().connection()).await.expect("update");
    assert_eq!(changed, 1, "compare and set");
    let stored = rig.table.apply_in(tx.transaction(), &[Change::Put(score(2, 21))]).await.expect("applied");
    let writeway_through::change::Stored::As(second) = &stored[0] else { panic!("{stored:?}") };
    rig.scores.touch(&mut tx, &(1, 1));
    rig.scores.publish(&mut tx, second);
    other.touch(&mut tx, &(1, 1));
    assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), Some(stands(1, 10, 1)), "hits go on until the commit");
    assert_eq!(tx.commit().await.expect("committed"), CacheEffect::Invalidated);
    mark(&rig).await;
    assert_eq!(rig.scores.get(&(1, 2)).await.expect("get"), Some(stands(2, 21, 2)), "published");
    for touched in [rig.scores.get(&(1, 1)).await, other.get(&(1, 1)).await] {
        assert_eq!(touched.expect("get").map(|row| (row.points, row.version)), Some((15, 3)), "invalidated, then loaded");
    }
    let mut tx = rig.scores.begin().await.expect("begin");
    writeway_through::diesel::sql_query("DELETE FROM scores").execute(tx.transaction().connection()).await.expect("delete");
    rig.scores.touch(&mut tx, &(1, 1));
    drop(tx);
    rig.scores.invalidate(&[(1, 1)]).await.expect("invalidate");
    assert!(rig.scores.get(&(1, 1)).await.expect("get").is_some(), "dropped is rolled back");
}

/// Two thousand callers that give up after 0 to 5 ms or 0 to 50 ms, every third as soon as it would wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_leave_nothing() {
    const CALLS: u32 = 2_000;
    const TASKS: u32 = 8;
    let Some(rig) = rig("giveup").await else { return };
    let rig = std::sync::Arc::new(rig);
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let rig = rig.clone();
        #[expect(clippy::disallowed_methods, reason = "callers of a test")]
        tasks.push(tokio::spawn(async move {
            let mut given_up = 0;
            for n in 0..CALLS / TASKS {
                given_up += u32::from(give_up(&rig, task, n).await);
            }
            given_up
        }));
    }
    let mut given_up = 0;
    for task in tasks {
        given_up += task.await.expect("no panic");
    }
    println!("{given_up} of {CALLS} calls were given up");
    assert!((CALLS / 3 - TASKS..CALLS).contains(&given_up), "the harness did too little: {given_up}");
    assert_eq!(rig.scores.clone().shutdown(Duration::from_secs(10)).await, 0, "invariant violated: every write ends");
    let mut conn = rig.schema.connect().await;
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND state LIKE 'idle in transaction%'",
        rig.schema.name()
    );
    // A connection that was let go inside a transaction is closed by the pool, a moment later.
    let deadline = Tokio.now() + Duration::from_secs(10);
    while number(&mut conn, &open).await > 0 {
        assert!(Tokio.now() < deadline, "invariant violated: no session is left in a transaction");
    }
    let again = WriteThrough::builder(rig.table.clone()).namespace("scores").call_timeout(Duration::from_secs(5));
    let again = again.build(rig.cache.clone()).await.expect("build");
    let rows: Vec<Score> =
        writeway_through::diesel::QueryDsl::select(writeway_testkit::harness::scores::table, Score::as_select())
            .load(&mut conn)
            .await
            .expect("rows");
    assert!(rows.len() > 10);
    for row in rows {
        let key = (row.game, row.player);
        assert_eq!(again.get(&key).await.expect("get"), Some(row), "invariant violated: the cache agrees with sql");
    }
    let written = again.put(score(0, 1)).await.expect("no lock is left");
    assert_eq!(written.cache, CacheEffect::Published);
}

async fn give_up(rig: &Rig, task: u32, n: u32) -> bool {
    // Some give up on any machine (a timer waits for a millisecond at least), and some so late that the call ends in time on a
    // busy one.
    let given_up_at_once = n.is_multiple_of(3);
    let most = if n % 3 == 1 { 5_000 } else { 50_000 };
    let within = Duration::from_micros(u64::try_from(Tokio.random() % most).unwrap_or(0));
    let player = i32::try_from(n % 20).unwrap_or(0);
    let key = (1, player);
    let call = async {
        match (n + task) % 4 {
            0 | 1 => drop(rig.scores.put(score(player, n.into())).await),
            2 => drop(rig.scores.get_many(&[key, (1, 99)]).await),
            _ => {
                let Ok(mut tx) = rig.scores.begin().await else { return };
                let changes = [Change::Put(score(player, n.into()))];
                if rig.table.apply_in(tx.transaction(), &changes).await.is_ok() {
                    rig.scores.touch(&mut tx, &key);
                    drop(tx.commit().await);
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = call => false,
        () = std::future::ready(()), if given_up_at_once => true,
        () = Tokio.sleep(within) => true,
    }
}
