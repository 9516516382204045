//! A user's application: everything by way of one dependency, on the servers of REDIS_URL and DATABASE_URL.

// diesel's `table!` asks for a crate of this name.
extern crate writeway_through as diesel;

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use writeway_through::diesel::prelude::*;
use writeway_through::diesel_async::pooled_connection::AsyncDieselConnectionManager;
use writeway_through::diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use writeway_through::serde::{Deserialize, Serialize};
use writeway_through::sql::ServerTimeouts;
use writeway_through::store::Store;
use writeway_through::{CacheEffect, Changes, Redis, Sql, SqlTable, WriteThrough, bb8, bulk_upsert, key_among};

diesel::table! {
    outside_seats (hall, number) {
        hall -> Text,
        number -> Int4,
        guest -> Nullable<Text>,
        changes -> BigInt,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = outside_seats)]
#[serde(crate = "writeway_through::serde")]
struct Seat {
    hall: String,
    number: i32,
    guest: Option<String>,
    /// A trigger counts them.
    changes: i64,
}

bulk_upsert!(upsert_seats on outside_seats: Seat { key [hall, number], set [guest] });
key_among!(among on outside_seats: (String, i32) [hall, number]);

struct Seats;

impl SqlTable for Seats {
    type Connection = AsyncPgConnection;
    type Key = (String, i32);
    type Row = Seat;

    fn key(seat: &Seat) -> (String, i32) {
        (seat.hall.clone(), seat.number)
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[(String, i32)]) -> QueryResult<Vec<Seat>> {
        outside_seats::table.filter(among(keys)).select(Seat::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Seat]) -> QueryResult<Vec<Seat>> {
        upsert_seats(rows).load(conn).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[(String, i32)]) -> QueryResult<usize> {
        diesel::delete(outside_seats::table.filter(among(keys))).execute(conn).await
    }
}

const SETUP: &str = "
    DROP TABLE IF EXISTS outside_seats;
    CREATE TABLE outside_seats (
        hall TEXT, number INT, guest TEXT, changes BIGINT NOT NULL, PRIMARY KEY (hall, number));
    CREATE OR REPLACE FUNCTION outside_count() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        NEW.changes := CASE WHEN TG_OP = 'UPDATE' THEN OLD.changes + 1 ELSE 1 END;
        RETURN NEW; END $$;
    CREATE TRIGGER outside_count BEFORE INSERT OR UPDATE ON outside_seats FOR EACH ROW EXECUTE FUNCTION outside_count();";

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

fn seat(number: i32, guest: Option<&str>, changes: i64) -> Seat {
    Seat { hall: "A:1".into(), number, guest: guest.map(Into::into), changes }
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
    let table = Sql::<Seats>::new(pool);
    let cache = Redis::builder(redis).prefix(prefix).connect().await?;
    let seats = WriteThrough::builder(table.clone()).namespace("outside-seats").build(cache).await?;
    seats.invalidate_all().await?;

    let key = |number| ("A:1".to_owned(), number);
    let written = seats.put(seat(1, Some("ada"), 0)).await?;
    check("put", (written.row, written.cache), (Some(seat(1, Some("ada"), 1)), CacheEffect::Published))?;
    check("get", seats.get(&key(1)).await?, Some(seat(1, Some("ada"), 1)))?;
    check("get of none", seats.get(&key(9)).await?, None)?;

    let written = seats.write(Changes::new().put(seat(3, None, 0)).put(seat(2, Some("eve"), 0)).delete(key(1))).await?;
    let rows: Vec<Option<Seat>> = written.into_iter().map(|w| w.row).collect();
    check("write", rows, vec![None, Some(seat(2, Some("eve"), 1)), Some(seat(3, None, 1))])?;
    let found = seats.get_many(&[key(3), key(1), key(2), key(9)]).await?;
    check("get_many", found, vec![Some(seat(3, None, 1)), None, Some(seat(2, Some("eve"), 1)), None])?;

    let mut tx = seats.begin().await?;
    let free = outside_seats::table.find(key(3)).filter(outside_seats::guest.is_null());
    let taken: Option<Seat> = diesel::update(free)
        .set(outside_seats::guest.eq("bob"))
        .returning(Seat::as_returning())
        .get_result(tx.transaction().connection())
        .await
        .optional()?;
    let taken = taken.ok_or("the seat was free")?;
    seats.publish(&mut tx, &taken);
    seats.touch(&mut tx, &key(2));
    check("commit", tx.commit().await?, CacheEffect::Invalidated)?;
    check("get after the transaction", seats.get(&key(3)).await?, Some(seat(3, Some("bob"), 2)))?;

    check("delete", seats.delete(&key(2)).await?.row, None)?;
    check("get after the delete", seats.get(&key(2)).await?, None)?;
    check("in sql", table.fetch(&[key(1), key(2), key(3)]).await?, vec![seat(3, Some("bob"), 2)])?;
    check("left running", seats.shutdown(Duration::from_secs(1)).await, 0)
}
