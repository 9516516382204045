//! Write-around on Redis and PostgreSQL: a composite key, an Option column, a column and a key that triggers set.

use std::time::Duration;

use writeway_around::diesel_async::RunQueryDsl;
use writeway_around::runtime::{Runtime, Tokio};
use writeway_around::store::Store;
use writeway_around::{CacheEffect, Change, Changes, Kind, Outcome, Sql, WriteAround};
use writeway_testkit::harness::{Given, Schema, Score, Scores, number, score};

struct Rig {
    schema: Schema,
    table: Sql<Scores>,
    scores: WriteAround<Sql<Scores>>,
}

async fn rig(test: &str, strict: bool) -> Option<Rig> {
    let given = Given::from_env()?;
    let test = format!("{test}_{}", if strict { "strict" } else { "eventual" });
    let schema = Schema::make(&given.database, &format!("it_around_{test}")).await;
    let table = schema.scores(5).await;
    let builder = WriteAround::builder(table.clone()).namespace("scores").time_to_live(Duration::from_secs(60));
    let builder = if strict { builder.strict() } else { builder.eventual() }.call_timeout(Duration::from_secs(5));
    let scores = builder.build(given.cache(&format!("around.{test}")).await).await.expect("build");
    scores.invalidate_all().await.expect("an earlier run's entries");
    Some(Rig { schema, table, scores })
}

fn stands(player: i32, points: i64, version: i64) -> Score {
    Score { version, ..score(player, points) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_empties_the_key_and_the_next_read_fills_it() {
    for strict in [false, true] {
        let Some(rig) = rig("fills", strict).await else { return };
        assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), None, "cached as missing");
        let note = Some("n".to_owned());
        let written = rig.scores.put(Score { note: note.clone(), ..score(1, 10) }).await.expect("put");
        let first = Score { note, ..stands(1, 10, 1) };
        assert_eq!((written.row.as_ref(), written.cache), (Some(&first), CacheEffect::Invalidated));
        assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), written.row, "loaded");
        rig.schema.run("UPDATE scores SET note = 'behind the cache'").await;
        assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), written.row, "a hit");
        rig.scores.delete(&(1, 1)).await.expect("delete");
        assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), None);
        let changes = Changes::new().put(score(3, 30)).put(score(2, 20)).delete((1, 9)).put(score(3, 31));
        let rows: Vec<_> = rig.scores.write(changes).await.expect("write").into_iter().map(|w| w.row).collect();
        assert_eq!(rows, [Some(stands(2, 20, 1)), Some(stands(3, 31, 1)), None]);
        let found = rig.scores.get_many(&[(1, 3), (1, 9), (1, 2), (1, 3)]).await.expect("get_many");
        assert_eq!(found, [Some(stands(3, 31, 1)), None, Some(stands(2, 20, 1)), Some(stands(3, 31, 1))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_refuses_changes_nothing() {
    for strict in [false, true] {
        let Some(rig) = rig("refused", strict).await else { return };
        rig.scores.put(score(1, 10)).await.expect("put");
        let changes = Changes::new().put(score(1, 11)).put(score(2, -1)).delete((1, 3));
        for refused in [rig.scores.put(score(1, -1)).await.map(drop), rig.scores.write(changes).await.map(drop)] {
            let e = refused.expect_err("a CHECK");
            assert_eq!((e.kind(), e.outcome()), (Kind::Rejected, Outcome::NotApplied), "{e}");
        }
        let found = rig.scores.get_many(&[(1, 1), (1, 2)]).await.expect("get_many");
        assert_eq!(found, [Some(stands(1, 10, 1)), None]);
        rig.scores.put(score(1, 12)).await.expect("no barrier and no lock is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_a_trigger_changes() {
    for strict in [false, true] {
        let Some(rig) = rig("moved", strict).await else { return };
        assert_eq!(rig.scores.get_many(&[(1, 1), (1, 1001)]).await.expect("get_many"), [None, None], "cached as missing");
        let elsewhere = Score { note: Some("elsewhere".into()), ..score(1, 10) };
        let written = rig.scores.put(elsewhere.clone()).await.expect("put");
        assert_eq!(written.cache, CacheEffect::Invalidated);
        let row = Score { player: 1001, version: 1, ..elsewhere };
        assert_eq!(rig.scores.get(&(1, 1001)).await.expect("get"), Some(row), "invariant violated: the returned key is touched");
        assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_ones_own() {
    for strict in [false, true] {
        let Some(rig) = rig("own", strict).await else { return };
        rig.scores.put(score(1, 10)).await.expect("put");
        rig.scores.get(&(1, 1)).await.expect("filled");
        let mut tx = rig.scores.begin().await.expect("begin");
        let raised = writeway_around::diesel::sql_query("UPDATE scores SET points = points + 5 WHERE points = 10");
        assert_eq!(raised.execute(tx.transaction().connection()).await.expect("update"), 1, "compare and set");
        rig.table.apply_in(tx.transaction(), &[Change::Put(score(2, 20))]).await.expect("applied");
        rig.scores.touch(&mut tx, &(1, 1));
        rig.scores.touch(&mut tx, &(1, 2));
        assert_eq!(rig.scores.get(&(1, 1)).await.expect("get"), Some(stands(1, 10, 1)), "hits go on until the commit");
        assert_eq!(tx.commit().await.expect("committed"), CacheEffect::Invalidated);
        let found = rig.scores.get_many(&[(1, 1), (1, 2)]).await.expect("get_many");
        assert_eq!(found, [Some(stands(1, 15, 2)), Some(stands(2, 20, 1))]);
    }
}

/// Callers that give up after 0 to 5 ms, every fifth as soon as it would wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_leave_nothing() {
    for strict in [false, true] {
        let Some(rig) = rig("giveup", strict).await else { return };
        let mut given_up = 0;
        for n in 0..400 {
            let within = Duration::from_micros(u64::try_from(Tokio.random() % 5_000).unwrap_or(0));
            let player = n % 7;
            let call = async {
                match n % 3 {
                    0 => drop(rig.scores.get(&(1, player)).await),
                    _ => drop(rig.scores.put(score(player, n.into())).await),
                }
            };
            // A timer waits for a millisecond at least.
            let given_up_at_once = n % 5 == 0;
            given_up += u32::from(tokio::select! {
                biased;
                () = call => false,
                () = std::future::ready(()), if given_up_at_once => true,
                () = Tokio.sleep(within) => true,
            });
        }
        println!("{given_up} of 400 calls were given up");
        assert!(given_up >= 80, "the harness did too little: {given_up}");
        assert_eq!(rig.scores.clone().shutdown(Duration::from_secs(10)).await, 0, "invariant violated: every write ends");
        let mut conn = rig.schema.connect().await;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND application_name";
        let open = format!("{sessions} = '{}'", rig.schema.name());
        let deadline = Tokio.now() + Duration::from_secs(10);
        while number(&mut conn, &open).await > 0 {
            assert!(Tokio.now() < deadline, "invariant violated: no session is left in a transaction");
        }
    }
}
