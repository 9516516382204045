//! Likes over HTTP: write-back. Everybody presses the button under the same few posts, at once and more than once; each press is
//! answered as soon as the journal has it, and SQL gets them many at a time.
//!
//! ```text
//! cargo run --example likes
//! curl -X PUT localhost:3000/posts/1/likes/7       # user 7 likes post 1
//! curl localhost:3000/posts/1/likes/7
//! curl -X DELETE localhost:3000/posts/1/likes/7    # and does not any more
//! curl localhost:3000/posts/1
//! curl localhost:3000/stats
//! curl localhost:3000/metrics                      # for Prometheus
//! ```
//!
//! **The row is one user's like of one post**, and not the post with a number in it. In write-back a row is put as a whole: two
//! that read 41 and put 42 would lose a like, and a request that is repeated because its answer was lost would count twice. A like
//! that is put twice is one like, whichever process it reaches, and how many there are is a question to SQL.
//!
//! **When it is killed** (`kill -9`, a crash, a power cut), what was accepted and not yet flushed is lost if it runs embedded: as a
//! rule the last `max_delay`. After SIGTERM or Ctrl-C nothing is: the rest is flushed. On servers the changes are in Redis; whichever
//! process runs next brings them to SQL, and lost is only what Redis itself loses.
//!
//! Embedded, unless REDIS_URL and DATABASE_URL are set: `cargo run --features writeway-examples/postgres --example likes`.
//! Embedded, `cargo run --example likes -- likes.db` has a file that stays. LISTEN is another address than 127.0.0.1:3000, RUST_LOG
//! another level of the log than `warn`.

use std::env::args;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use writeway_back::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_back::sql::{AsyncSqliteConnection, Bookkeeping, Pools, Sqlite, statement_failed};
use writeway_back::{Error, Kind, MemoryJournal, Outcome, Sql, SqlTable, WriteBack, bulk_upsert, key_among};
use writeway_examples::serving;

/// There is no foreign key to a table of posts on purpose: a change that SQL refuses would hold up the others of its shard. What
/// may be liked is to be checked before a change is accepted.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS post_likes (post_id BIGINT NOT NULL, user_id BIGINT NOT NULL, PRIMARY KEY (post_id, user_id));";

mod schema {
    diesel::table! { post_likes (post_id, user_id) { post_id -> BigInt, user_id -> BigInt, } }
}
use schema::post_likes;

/// It is there, or it is not: there is nothing else to say of a like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = post_likes)]
pub(crate) struct Like {
    pub(crate) post_id: i64,
    pub(crate) user_id: i64,
}

/// What else is asked of the table.
pub(crate) trait LikesTable: SqlTable<Connection: Bookkeeping, Key = (i64, i64), Row = Like> {
    fn count(conn: &mut Self::Connection, post: i64) -> impl Future<Output = QueryResult<i64>> + Send;
}

// One text for both databases, which differ in the type of the connection and in the form of the two macros. With one database
// you write the two `impl`s as they stand, without this macro.
macro_rules! likes {
    ($Likes:ident over $Connection:ty $(, $($form:tt)+)?) => {
        pub(crate) struct $Likes;

        impl SqlTable for $Likes {
            type Connection = $Connection;
            type Key = (i64, i64);
            type Row = Like;
            fn key(like: &Like) -> (i64, i64) {
                (like.post_id, like.user_id)
            }
            async fn fetch(conn: &mut $Connection, keys: &[(i64, i64)]) -> QueryResult<Vec<Like>> {
                key_among!(among on post_likes: (i64, i64) [post_id, user_id] $($($form)+)?);
                post_likes::table.filter(among(keys)).select(Like::as_select()).load(conn).await
            }
            async fn upsert(conn: &mut $Connection, rows: &[Like]) -> QueryResult<Vec<Like>> {
                bulk_upsert!(upsert_likes on post_likes: Like { key [post_id, user_id], set [] } $($($form)+)?);
                upsert_likes(rows).load(conn).await
            }
            async fn remove(conn: &mut $Connection, keys: &[(i64, i64)]) -> QueryResult<usize> {
                key_among!(among on post_likes: (i64, i64) [post_id, user_id] $($($form)+)?);
                diesel::delete(post_likes::table.filter(among(keys))).execute(conn).await
            }
        }

        impl LikesTable for $Likes {
            async fn count(conn: &mut $Connection, post: i64) -> QueryResult<i64> {
                post_likes::table.filter(post_likes::post_id.eq(post)).count().get_result(conn).await
            }
        }
    };
}
likes!(SqliteLikes over AsyncSqliteConnection, in Sqlite);

pub(crate) struct App<T: LikesTable> {
    pub(crate) likes: WriteBack<Sql<T>>,
    pub(crate) pools: Pools<T::Connection>,
}

/// In this process and in a file, which it makes if it is not there.
pub(crate) async fn embedded(file: &std::path::Path, max_delay: Duration) -> anyhow::Result<Arc<App<SqliteLikes>>> {
    let pools = Sqlite::open(file).await?;
    pools.writers().get().await.context("no connection to the database")?.batch_execute(TABLES).await?;
    let builder = WriteBack::builder(Sql::<SqliteLikes>::new(pools.clone())).namespace("post_likes").max_delay(max_delay);
    // A journal in the process dies with it: that has to be accepted by name.
    let likes = builder.migrate().allow_volatile_changes().build(MemoryJournal::new()).await?;
    Ok(Arc::new(App { likes, pools }))
}

pub(crate) fn router<T: LikesTable>(app: Arc<App<T>>) -> Router {
    Router::new()
        .route("/posts/{post}/likes/{user}", put(like::<T>).delete(unlike::<T>).get(is_liked::<T>))
        .route("/posts/{post}", get(post::<T>))
        .route("/stats", get(stats::<T>))
        .with_state(app)
}

/// Accepted, not yet in SQL: hence 202. Who has to know that it is there asks the ticket: `ticket.durable().await`.
async fn like<T: LikesTable>(
    State(app): State<Arc<App<T>>>,
    Path((post, user)): Path<(i64, i64)>,
) -> Result<StatusCode, Failure> {
    let _ticket = app.likes.put(Like { post_id: post, user_id: user }).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn unlike<T: LikesTable>(State(app): State<Arc<App<T>>>, Path(key): Path<(i64, i64)>) -> Result<StatusCode, Failure> {
    let _ticket = app.likes.delete(&key).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The last accepted change, at once: users see what they did.
async fn is_liked<T: LikesTable>(State(app): State<Arc<App<T>>>, Path(key): Path<(i64, i64)>) -> Result<Json<Value>, Failure> {
    Ok(Json(json!({ "liked": app.likes.get(&key).await?.is_some() })))
}

/// The number is SQL's, and behind by what is on its way: about `max_delay`.
async fn post<T: LikesTable>(State(app): State<Arc<App<T>>>, Path(post): Path<i64>) -> Result<Json<Value>, Failure> {
    let mut conn =
        app.pools.readers().get().await.map_err(|e| Error::unavailable("no connection to the database").with_source(e))?;
    let likes = T::count(&mut conn, post).await.map_err(statement_failed)?;
    Ok(Json(json!({ "post": post, "likes": likes })))
}

async fn stats<T: LikesTable>(State(app): State<Arc<App<T>>>) -> Result<Json<Value>, Failure> {
    let stats = app.likes.stats().await?;
    Ok(Json(json!({
        "accepted": stats.accepted,
        "rows_written_to_sql": stats.flushed,
        "transactions": stats.batches,
        "on_their_way": stats.dirty,
        "waiting_for_ms": stats.oldest.map(|waited| waited.as_millis()),
    })))
}

pub(crate) enum Failure {
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
            Failure::Writeway(e) => serving::logged(answer(&e), &e),
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn answer(e: &Error) -> (StatusCode, &'static str) {
    match (e.outcome(), e.kind()) {
        // Redis did not answer. Clients and proxies repeat a 504, and may: a like that is put twice is one.
        (Outcome::Unknown, _) => (StatusCode::GATEWAY_TIMEOUT, "accepted or not: send it again"),
        // More is on its way than was allowed: SQL does not keep up.
        (_, Kind::Overloaded) => (StatusCode::SERVICE_UNAVAILABLE, "too much at once: try again later"),
        (_, Kind::Unavailable | Kind::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "try again"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "a mistake of ours"),
    }
}

async fn serve<T: LikesTable>(app: Arc<App<T>>) -> anyhow::Result<()> {
    let listener = serving::listen().await?;
    println!("Likes at http://{}; Ctrl-C or SIGTERM ends it.", listener.local_addr()?);
    axum::serve(listener, router(app.clone()).route("/metrics", get(serving::metrics)))
        .with_graceful_shutdown(serving::told_to_end())
        .await?;
    // No request is left. Now the rest goes to SQL: forgotten here, it would be lost with this process if embedded.
    let drained = app.likes.shutdown(Duration::from_secs(10)).await?;
    println!("{} likes flushed at the end, {} left", drained.flushed, drained.left);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    serving::log_to_stderr();
    serving::record_metrics()?;
    if let Some((redis, database)) = serving::servers()? {
        return on_servers(&redis, &database).await;
    }
    let max_delay = Duration::from_millis(200);
    if let Some(file) = args().nth(1) {
        println!("Embedded: SQLite in {file}, the journal in this process.");
        return serve(embedded(std::path::Path::new(&file), max_delay).await?).await;
    }
    println!("Embedded: SQLite in a temporary directory, the journal in this process. Both are gone at the end.");
    let directory = tempfile::tempdir()?;
    serve(embedded(&directory.path().join("likes.db"), max_delay).await?).await
}

#[cfg(not(feature = "postgres"))]
async fn on_servers(_: &str, _: &str) -> anyhow::Result<()> {
    anyhow::bail!("servers need a feature: cargo run --features writeway-examples/postgres --example likes; or unset both URLs")
}

#[cfg(feature = "postgres")]
use writeway_back::diesel_async::AsyncPgConnection;
#[cfg(feature = "postgres")]
likes!(PostgresLikes over AsyncPgConnection);

#[cfg(feature = "postgres")]
async fn on_servers(redis: &str, database: &str) -> anyhow::Result<()> {
    println!("On servers: the table post_likes in DATABASE_URL, the journal in REDIS_URL.");
    serve(servers(writeway_back::Redis::connect(redis).await?, database).await?).await
}

#[cfg(feature = "postgres")]
pub(crate) async fn servers(redis: writeway_back::Redis, database: &str) -> anyhow::Result<Arc<App<PostgresLikes>>> {
    use writeway_back::diesel_async::pooled_connection::AsyncDieselConnectionManager;
    // A flush that stalls is to be ended by the server, so that it holds up nobody else.
    let timeouts = Box::new(writeway_back::sql::ServerTimeouts::default());
    let pool = writeway_back::bb8::Pool::builder().connection_customizer(timeouts);
    // A statement of one's own waits so long for a connection. Unless it is said, that is 30 s, and a dead server looks like a hang.
    let pool = pool.connection_timeout(Duration::from_secs(2));
    let pools: Pools<AsyncPgConnection> = pool.build(AsyncDieselConnectionManager::new(database)).await?.into();
    pools.writers().get().await.context("no connection to the database")?.batch_execute(TABLES).await?;
    let builder = WriteBack::builder(Sql::<PostgresLikes>::new(pools.clone())).namespace("post_likes");
    // Refused by a Redis without an append-only file.
    let likes = builder.migrate().build(redis).await?;
    Ok(Arc::new(App { likes, pools }))
}
