//! A user's application: everything by way of one dependency, with a file of SQLite and the cache in the process.

// diesel's `table!` asks for a crate of this name.
extern crate writeway_around as diesel;

use std::time::Duration;

use writeway_around::diesel::prelude::*;
use writeway_around::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_around::serde::{Deserialize, Serialize};
use writeway_around::sql::{AsyncSqliteConnection, Sqlite};
use writeway_around::{bulk_upsert, key_among, MemoryCache, Sql, SqlTable, WriteAround};

diesel::table! {
    seats (hall, number) {
        hall -> Text,
        number -> Integer,
        guest -> Nullable<Text>,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = seats)]
#[serde(crate = "writeway_around::serde")]
struct Seat {
    hall: String,
    number: i32,
    guest: Option<String>,
}

bulk_upsert!(upsert_seats on seats: Seat { key [hall, number], set [guest] } in Sqlite);
key_among!(among on seats: (String, i32) [hall, number] in Sqlite);

struct Seats;

impl SqlTable for Seats {
    type Connection = AsyncSqliteConnection;
    type Key = (String, i32);
    type Row = Seat;

    fn key(seat: &Seat) -> (String, i32) {
        (seat.hall.clone(), seat.number)
    }

    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[(String, i32)]) -> QueryResult<Vec<Seat>> {
        seats::table.filter(among(keys)).select(Seat::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Seat]) -> QueryResult<Vec<Seat>> {
        upsert_seats(rows).load(conn).await
    }

    async fn remove(conn: &mut AsyncSqliteConnection, keys: &[(String, i32)]) -> QueryResult<usize> {
        diesel::delete(seats::table.filter(among(keys))).execute(conn).await
    }
}

type Failure = Box<dyn std::error::Error>;

/// One thread: what blocks must not block it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let path = std::env::temp_dir().join(format!("writeway-outside-{}.db", std::process::id()));
    let ran = run(&path).await;
    for end in ["", "-wal", "-shm", "-lock"] {
        // Some are gone with the last connection.
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    match ran {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("FAILED: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn seat(number: i32, guest: Option<&str>) -> Seat {
    Seat { hall: "A:1".into(), number, guest: guest.map(Into::into) }
}

fn check<T: std::fmt::Debug + PartialEq>(what: &str, saw: T, expected: T) -> Result<(), Failure> {
    println!("{what}: {saw:?}");
    if saw == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}").into()) }
}

async fn run(path: &std::path::Path) -> Result<(), Failure> {
    let sqlite = Sqlite::open(path).await?;
    let create = "
        CREATE TABLE IF NOT EXISTS seats (
            hall TEXT NOT NULL, number INTEGER NOT NULL, guest TEXT, PRIMARY KEY (hall, number))";
    sqlite.writers().get().await?.batch_execute(create).await?;
    let builder = WriteAround::builder(Sql::<Seats>::new(sqlite)).namespace("seats").time_to_live(Duration::from_secs(60));
    let seats = builder.build(MemoryCache::new()).await?;

    let key = |number| ("A:1".to_owned(), number);
    check("put", seats.put(seat(1, Some("ada"))).await?.row, Some(seat(1, Some("ada"))))?;
    check("get", seats.get(&key(1)).await?, Some(seat(1, Some("ada"))))?;
    let changes = writeway_around::Changes::new().put(seat(3, None)).put(seat(2, Some("eve"))).delete(key(1));
    let written = seats.write(changes).await?;
    check("write", written.len(), 3)?;
    let found = seats.get_many(&[key(3), key(1), key(2), key(9)]).await?;
    check("get_many", found, vec![Some(seat(3, None)), None, Some(seat(2, Some("eve"))), None])?;

    let mut tx = seats.begin().await?;
    let free = seats::table.find(key(3)).filter(seats::guest.is_null());
    let taken: Option<Seat> = diesel::update(free)
        .set(seats::guest.eq("bob"))
        .returning(Seat::as_returning())
        .get_result(tx.transaction().connection())
        .await
        .optional()?;
    seats.touch(&mut tx, &key(3));
    check("taken in a transaction", taken, Some(seat(3, Some("bob"))))?;
    tx.commit().await?;
    check("get after the transaction", seats.get(&key(3)).await?, Some(seat(3, Some("bob"))))?;
    check("left running", seats.shutdown(Duration::from_secs(1)).await, 0)
}
