//! A user's application: everything by way of one dependency, on the servers of REDIS_URL and DATABASE_URL.

// diesel's `table!` asks for a crate of this name.
extern crate writeway_back as diesel;

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use writeway_back::diesel::prelude::*;
use writeway_back::diesel_async::pooled_connection::AsyncDieselConnectionManager;
use writeway_back::diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use writeway_back::serde::{Deserialize, Serialize};
use writeway_back::sql::ServerTimeouts;
use writeway_back::store::Store;
use writeway_back::{Changes, Drained, Redis, Sql, SqlTable, WriteBack, bb8, bulk_upsert, key_among};

diesel::table! {
    outside_scores (game, player) {
        game -> Text,
        player -> Int4,
        points -> BigInt,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = outside_scores)]
#[serde(crate = "writeway_back::serde")]
struct Score {
    game: String,
    player: i32,
    points: i64,
}

bulk_upsert!(upsert_scores on outside_scores: Score { key [game, player], set [points] });
key_among!(among on outside_scores: (String, i32) [game, player]);

struct Scores;

impl SqlTable for Scores {
    type Connection = AsyncPgConnection;
    type Key = (String, i32);
    type Row = Score;

    fn key(score: &Score) -> (String, i32) {
        (score.game.clone(), score.player)
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[(String, i32)]) -> QueryResult<Vec<Score>> {
        outside_scores::table.filter(among(keys)).select(Score::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Score]) -> QueryResult<Vec<Score>> {
        upsert_scores(rows).load(conn).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[(String, i32)]) -> QueryResult<usize> {
        diesel::delete(outside_scores::table.filter(among(keys))).execute(conn).await
    }
}

const SETUP: &str = "
    DROP TABLE IF EXISTS outside_scores;
    CREATE TABLE outside_scores (game TEXT, player INT, points BIGINT NOT NULL, PRIMARY KEY (game, player));";

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn score(player: i32, points: i64) -> Score {
    Score { game: "go:1".into(), player, points }
}

fn check<T: Debug + PartialEq>(what: &str, saw: T, expected: T) -> Result<(), Failure> {
    println!("{what}: {saw:?}");
    if saw == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}").into()) }
}

async fn run() -> Result<(), Failure> {
    let (Ok(redis), Ok(database)) = (std::env::var("REDIS_URL"), std::env::var("DATABASE_URL")) else {
        println!("SKIPPED: needs REDIS_URL and DATABASE_URL");
        return Ok(());
    };
    let prefix = std::env::var("WRITEWAY_PREFIX").unwrap_or_else(|_| "writeway-outside".into());
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database);
    let timeouts = Box::new(ServerTimeouts::default());
    let pool = bb8::Pool::builder().max_size(4).connection_customizer(timeouts).build(manager).await?;
    pool.get().await?.batch_execute(SETUP).await?;
    let table = Sql::<Scores>::new(pool);
    let cache = Redis::builder(redis).prefix(prefix).connect().await?;
    // A server that was given may have no append-only file.
    let open = || WriteBack::builder(table.clone()).namespace("outside-scores").migrate().allow_volatile_changes();
    let scores = open().build(cache.clone()).await?;

    let key = |player| ("go:1".to_owned(), player);
    let ticket = scores.put(score(1, 10)).await?;
    check("get at once", scores.get(&key(1)).await?, Some(score(1, 10)))?;
    ticket.durable().await?;
    check("in sql", table.fetch(&[key(1)]).await?, vec![score(1, 10)])?;
    check("get of none", scores.get(&key(9)).await?, None)?;

    let ticket = scores.write(Changes::new().put(score(2, 20)).put(score(3, 30)).put(score(3, 31)).delete(key(1))).await?;
    let found = scores.get_many(&[key(3), key(1), key(2)]).await?;
    check("get_many", found, vec![Some(score(3, 31)), None, Some(score(2, 20))])?;
    scores.durable(&ticket.receipt()).await?;
    let mut rows = table.fetch(&[key(1), key(2), key(3)]).await?;
    rows.sort_by_key(|row| row.player);
    check("in sql", rows, vec![score(2, 20), score(3, 31)])?;

    let _ = scores.delete(&key(2)).await?;
    scores.flush().await?;
    check("in sql after the flush", table.fetch(&[key(2)]).await?, vec![])?;
    let _ = scores.put(score(4, 40)).await?;
    check("shutdown", scores.shutdown(Duration::from_secs(5)).await?.left, 0)?;
    let successor = open().build(cache).await?;
    check("get from a successor", successor.get(&key(4)).await?, Some(score(4, 40)))?;
    check("nothing left", successor.shutdown(Duration::from_secs(5)).await?, Drained { flushed: 0, left: 0 })
}
