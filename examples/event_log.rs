//! An event log over HTTP: write-around, eventual. Events come in all the time and in batches, and few of them are ever looked at:
//! a write leaves nothing in the cache, and a read that comes late fills it for those that follow.
//!
//! ```text
//! cargo run --example event_log
//! curl localhost:3000/events -H 'content-type: application/json' \
//!     -d '[{"id": "door-1:77", "at_ms": 1767225600000, "text": "opened"}, {"id": "door-1:78", "at_ms": 1767225601500, "text": "shut"}]'
//! curl localhost:3000/events/door-1:77
//! ```
//!
//! Embedded, unless REDIS_URL and DATABASE_URL are set: `cargo run --features writeway-examples/postgres --example event_log`.
//! LISTEN is another address than 127.0.0.1:3000, RUST_LOG another level of the log than `warn`.

use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use writeway_around::cache::Barriers;
use writeway_around::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_around::sql::{AsyncSqliteConnection, Pools, Sqlite};
use writeway_around::store::Store;
use writeway_around::{Change, Error, Kind, MemoryCache, Outcome, Sql, SqlTable, WriteAround, bulk_upsert};
use writeway_examples::serving;

/// So many at once are one statement in either database.
const MAX_BATCH: usize = 1_000;
/// In bytes. A key of the cache may have 1,024, and what is special in an id takes up three there.
const MAX_ID: usize = 256;
/// In bytes. A row may have 1 MiB in the cache (`max_value_bytes`), and a character that JSON escapes takes up six there.
const MAX_TEXT: usize = 64 << 10;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS event_log (id TEXT PRIMARY KEY NOT NULL, at_ms BIGINT NOT NULL, text TEXT NOT NULL)";

mod schema {
    diesel::table! { event_log (id) { id -> Text, at_ms -> BigInt, text -> Text, } }
}
use schema::event_log;

/// Whoever sends it makes up the id, so that a batch that is sent twice is the same events, not twice as many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = event_log)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) at_ms: i64,
    pub(crate) text: String,
}

impl Event {
    /// What a client is to hear of its own mistakes is asked before the call: of the call it would be `Invalid`, as our own are.
    fn check(&self) -> Result<(), Failure> {
        check_id(&self.id)?;
        match self.text.len() {
            // PostgreSQL has no NUL in a text.
            _ if self.text.contains('\0') => Err(Failure::Text),
            0..=MAX_TEXT => Ok(()),
            _ => Err(Failure::TooLong),
        }
    }
}

fn check_id(id: &str) -> Result<(), Failure> {
    if (1..=MAX_ID).contains(&id.len()) && !id.contains('\0') { Ok(()) } else { Err(Failure::Id) }
}

// One text for both databases, which differ in the type of the connection and in the form of `bulk_upsert!`. With one database
// you write the `impl` as it stands, without the macro.
macro_rules! events {
    ($Events:ident over $Connection:ty $(, $($form:tt)+)?) => {
        pub(crate) struct $Events;

        impl SqlTable for $Events {
            // A batch is one statement, so it needs no transaction around it: one round trip to PostgreSQL in place of three.
            const ONE_STATEMENT: bool = true;
            type Connection = $Connection;
            type Key = String;
            type Row = Event;
            fn key(event: &Event) -> String {
                event.id.clone()
            }
            async fn fetch(conn: &mut $Connection, keys: &[String]) -> QueryResult<Vec<Event>> {
                event_log::table.filter(event_log::id.eq_any(keys)).select(Event::as_select()).load(conn).await
            }
            async fn upsert(conn: &mut $Connection, rows: &[Event]) -> QueryResult<Vec<Event>> {
                bulk_upsert!(upsert_events on event_log: Event { key [id], set [at_ms, text] } $($($form)+)?);
                upsert_events(rows).load(conn).await
            }
            async fn remove(conn: &mut $Connection, keys: &[String]) -> QueryResult<usize> {
                diesel::delete(event_log::table.filter(event_log::id.eq_any(keys))).execute(conn).await
            }
        }
    };
}
events!(SqliteEvents over AsyncSqliteConnection, in Sqlite);

pub(crate) async fn open<T>(pools: Pools<T::Connection>, cache: impl Barriers) -> anyhow::Result<WriteAround<Sql<T>>>
where
    T: SqlTable<Key = String, Row = Event>,
{
    pools.writers().get().await.context("no connection to the database")?.batch_execute(TABLE).await?;
    let builder = WriteAround::builder(Sql::<T>::new(pools)).namespace("event_log");
    // An event hardly ever changes. Where it does and the invalidation is lost, the old one may be served for so long.
    Ok(builder.time_to_live(Duration::from_secs(300)).build(cache).await?)
}

/// The handle is cheap to clone, and all that the handlers need: any store of events will do.
pub(crate) fn router<S: Store<Key = String, Row = Event>>(log: WriteAround<S>) -> Router {
    Router::new().route("/events", post(ingest::<S>)).route("/events/{id}", get(event::<S>)).with_state(log)
}

/// All of the batch is committed, or nothing of it.
async fn ingest<S>(State(log): State<WriteAround<S>>, Json(batch): Json<Vec<Event>>) -> Result<Json<Value>, Failure>
where
    S: Store<Key = String, Row = Event>,
{
    if batch.len() > MAX_BATCH {
        return Err(Failure::TooMany);
    }
    for event in &batch {
        event.check()?;
    }
    let written = log.write(batch.into_iter().map(Change::Put).collect()).await?;
    Ok(Json(json!({ "committed": written.len() })))
}

async fn event<S>(State(log): State<WriteAround<S>>, Path(id): Path<String>) -> Result<Json<Event>, Failure>
where
    S: Store<Key = String, Row = Event>,
{
    check_id(&id)?;
    log.get(&id).await?.map(Json).ok_or(Failure::NoEvent)
}

pub(crate) enum Failure {
    NoEvent,
    TooMany,
    TooLong,
    Id,
    Text,
    Writeway(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Writeway(e)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Failure::NoEvent => (StatusCode::NOT_FOUND, "no such event"),
            Failure::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "at most 1,000 events at once"),
            Failure::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "a text has at most 65,536 bytes"),
            Failure::Id => (StatusCode::UNPROCESSABLE_ENTITY, "an id has 1 to 256 bytes, and none of them is zero"),
            Failure::Text => (StatusCode::UNPROCESSABLE_ENTITY, "no byte of a text is zero"),
            Failure::Writeway(e) => serving::logged(answer(&e), &e),
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn answer(e: &Error) -> (StatusCode, &'static str) {
    match (e.outcome(), e.kind()) {
        // Clients and proxies repeat a 504, and may: the same events are the same rows.
        (Outcome::Unknown | Outcome::Applied, _) => (StatusCode::GATEWAY_TIMEOUT, "committed or not: send it again"),
        (_, Kind::Unavailable | Kind::Overloaded | Kind::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "try again"),
        (_, Kind::Rejected) => (StatusCode::UNPROCESSABLE_ENTITY, "refused by the database"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "a mistake of ours"),
    }
}

async fn serve<S: Store<Key = String, Row = Event>>(log: WriteAround<S>) -> anyhow::Result<()> {
    let listener = serving::listen().await?;
    println!("Events at http://{}; Ctrl-C or SIGTERM ends it.", listener.local_addr()?);
    axum::serve(listener, router(log.clone()).route("/metrics", get(serving::metrics)))
        .with_graceful_shutdown(serving::told_to_end())
        .await?;
    println!("{} writes left running", log.shutdown(Duration::from_secs(5)).await);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    serving::log_to_stderr();
    serving::record_metrics()?;
    if let Some((redis, database)) = serving::servers()? {
        return on_servers(&redis, &database).await;
    }
    println!("Embedded: SQLite in a temporary directory, the cache in this process. Both are gone at the end.");
    let directory = tempfile::tempdir()?;
    let pools = Sqlite::open(directory.path().join("events.db")).await?;
    serve(open::<SqliteEvents>(pools, MemoryCache::new()).await?).await
}

#[cfg(not(feature = "postgres"))]
async fn on_servers(_: &str, _: &str) -> anyhow::Result<()> {
    anyhow::bail!(
        "servers need a feature: cargo run --features writeway-examples/postgres --example event_log; or unset both URLs"
    )
}

#[cfg(feature = "postgres")]
events!(PostgresEvents over writeway_around::diesel_async::AsyncPgConnection);

#[cfg(feature = "postgres")]
async fn on_servers(redis: &str, database: &str) -> anyhow::Result<()> {
    use writeway_around::diesel_async::pooled_connection::AsyncDieselConnectionManager;
    println!("On servers: the table event_log in DATABASE_URL, the cache in REDIS_URL.");
    // A dead server is to be heard of soon, at the start, too: unless it is said, a connection is waited for 30 s.
    let pool = writeway_around::bb8::Pool::builder().connection_timeout(Duration::from_secs(2));
    let pool = pool.build(AsyncDieselConnectionManager::new(database)).await?;
    serve(open::<PostgresEvents>(pool.into(), writeway_around::Redis::connect(redis).await?).await?).await
}
