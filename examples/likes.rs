//! Likes and views over HTTP: counters of write-back, beside a title in the same table that is written through. Everybody presses the
//! button under the same few posts at once; each press is answered as soon as the journal has it, and SQL gets the sums.
//!
//! ```text
//! cargo run --example likes
//! curl -X PUT localhost:3000/posts/1 -H 'content-type: application/json' -d '{"title":"Hello"}'
//! curl -X POST localhost:3000/posts/1/likes
//! curl -X POST localhost:3000/posts/1/views
//! curl -X DELETE localhost:3000/posts/1/likes      # not any more
//! curl localhost:3000/posts/1
//! curl localhost:3000/stats
//! curl localhost:3000/metrics                      # for Prometheus
//! ```
//!
//! **One table, two namespaces.** `posts` are rows without the columns of the counters, `post_counts` are these columns. Each
//! caches what it writes, and neither overwrites what is the other's.
//!
//! **A press is not idempotent**: sent again because its answer was lost, it may count twice. Where that matters, the row is one
//! user's like of one post, which may be put twice, and how many there are is a question to SQL.
//!
//! **When it is killed** (`kill -9`, a crash, a power cut), what was accepted and not yet flushed is lost if it runs embedded: as a
//! rule the last `max_delay`. After SIGTERM or Ctrl-C nothing is: the rest is flushed. On servers the increments are in Redis;
//! whichever process runs next brings them to SQL, and lost is only what Redis itself loses.
//!
//! Embedded, unless REDIS_URL and DATABASE_URL are set: `cargo run --features writeway-examples/postgres --example likes`.
//! Embedded, `cargo run --example likes -- likes.db` has a file that stays. LISTEN is another address than 127.0.0.1:3000, RUST_LOG
//! another level of the log than `warn`.

use std::env::args;
use std::sync::Arc;
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
use writeway_back::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_back::sql::{AsyncSqliteConnection, Bookkeeping, Pools, Sqlite};
use writeway_back::{CountTable, Counters, Error, Kind, MemoryJournal, Outcome, SqlCounts, bulk_add, counts};
use writeway_examples::serving;
use writeway_through::{MemoryCache, Sql, SqlTable, WriteThrough, bulk_upsert};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS posts (
        id BIGINT PRIMARY KEY, title TEXT NOT NULL, likes BIGINT NOT NULL DEFAULT 0, views BIGINT NOT NULL DEFAULT 0);";

mod schema {
    diesel::table! { posts (id) { id -> BigInt, title -> Text, likes -> BigInt, views -> BigInt, } }
}
use schema::posts;

/// What is written by authors: without the counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = posts)]
pub(crate) struct Post {
    pub(crate) id: i64,
    pub(crate) title: String,
}

/// What readers add to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = posts)]
pub(crate) struct PostCounts {
    pub(crate) likes: i64,
    pub(crate) views: i64,
}
counts!(PostCounts { likes, views });

const LIKE: PostCounts = PostCounts { likes: 1, views: 0 };
const UNLIKE: PostCounts = PostCounts { likes: -1, views: 0 };
const VIEW: PostCounts = PostCounts { likes: 0, views: 1 };

// One text for both databases, which differ in the type of the connection and in the form of the two macros. With one database
// you write the `impl`s as they stand, without this macro.
macro_rules! tables {
    ($Posts:ident, $Counts:ident over $Connection:ty $(, $($form:tt)+)?) => {
        pub(crate) struct $Posts;

        impl SqlTable for $Posts {
            type Connection = $Connection;
            type Key = i64;
            type Row = Post;
            fn key(post: &Post) -> i64 {
                post.id
            }
            async fn fetch(conn: &mut $Connection, keys: &[i64]) -> QueryResult<Vec<Post>> {
                posts::table.filter(posts::id.eq_any(keys)).select(Post::as_select()).load(conn).await
            }
            async fn upsert(conn: &mut $Connection, rows: &[Post]) -> QueryResult<Vec<Post>> {
                bulk_upsert!(upsert_posts on posts: Post { key [id], set [title] } $($($form)+)?);
                upsert_posts(rows).load(conn).await
            }
            async fn remove(conn: &mut $Connection, keys: &[i64]) -> QueryResult<usize> {
                diesel::delete(posts::table.filter(posts::id.eq_any(keys))).execute(conn).await
            }
        }

        pub(crate) struct $Counts;

        impl CountTable for $Counts {
            type Connection = $Connection;
            type Key = i64;
            type Counts = PostCounts;
            async fn fetch(conn: &mut $Connection, keys: &[i64]) -> QueryResult<Vec<(i64, PostCounts)>> {
                posts::table.filter(posts::id.eq_any(keys)).select((posts::id, PostCounts::as_select())).load(conn).await
            }
            // Of a post that is gone nothing is returned: its increments are refused.
            async fn add(conn: &mut $Connection, increments: &[(i64, PostCounts)]) -> QueryResult<Vec<(i64, PostCounts)>> {
                bulk_add!(add_counts on posts: (i64, PostCounts) { key [id], add [likes, views], existing only } $($($form)+)?);
                add_counts(conn, increments).await
            }
        }
    };
}
tables!(SqlitePosts, SqliteCounts over AsyncSqliteConnection, in Sqlite);

/// The two namespaces over one table.
pub(crate) trait Tables: Send + Sync + 'static {
    type Posts: SqlTable<Key = i64, Row = Post>;
    type Counts: CountTable<Connection: Bookkeeping, Key = i64, Counts = PostCounts>;
}

pub(crate) struct OnSqlite;
impl Tables for OnSqlite {
    type Posts = SqlitePosts;
    type Counts = SqliteCounts;
}

pub(crate) struct App<T: Tables> {
    pub(crate) posts: WriteThrough<Sql<T::Posts>>,
    pub(crate) counts: Counters<SqlCounts<T::Counts>>,
}

/// In this process and in a file, which it makes if it is not there.
pub(crate) async fn embedded(file: &std::path::Path, max_delay: Duration) -> anyhow::Result<Arc<App<OnSqlite>>> {
    let pools = Sqlite::open(file).await?;
    pools.writers().get().await.context("no connection to the database")?.batch_execute(TABLES).await?;
    let posts =
        WriteThrough::builder(Sql::<SqlitePosts>::new(pools.clone())).namespace("posts").build(MemoryCache::new()).await?;
    let builder = Counters::builder(SqlCounts::<SqliteCounts>::new(pools)).namespace("post_counts").max_delay(max_delay);
    // A journal in the process dies with it: that has to be accepted by name.
    let counts = builder.migrate().allow_volatile_changes().build(MemoryJournal::new()).await?;
    Ok(Arc::new(App { posts, counts }))
}

pub(crate) fn router<T: Tables>(app: Arc<App<T>>) -> Router {
    Router::new()
        .route("/posts/{post}", get(read::<T>).put(write::<T>))
        .route("/posts/{post}/likes", post(like::<T>).delete(unlike::<T>))
        .route("/posts/{post}/views", post(view::<T>))
        .route("/stats", get(stats::<T>))
        .with_state(app)
}

#[derive(Deserialize)]
struct Title {
    title: String,
}

/// Committed: the title is in SQL, and the counters of the row are what they were.
async fn write<T: Tables>(
    State(app): State<Arc<App<T>>>,
    Path(id): Path<i64>,
    Json(Title { title }): Json<Title>,
) -> Result<StatusCode, Failure> {
    app.posts.put(Post { id, title }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accepted, not yet in SQL: hence 202. Who has to know that it is there asks the ticket: `ticket.durable().await`.
async fn add<T: Tables>(app: &App<T>, post: i64, by: PostCounts) -> Result<StatusCode, Failure> {
    // SQL would refuse it, too, but nobody would be told: it would become a dead letter.
    if app.posts.get(&post).await?.is_none() {
        return Ok(StatusCode::NOT_FOUND);
    }
    let _ticket = app.counts.add(&post, by).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn like<T: Tables>(State(app): State<Arc<App<T>>>, Path(post): Path<i64>) -> Result<StatusCode, Failure> {
    add(&app, post, LIKE).await
}

async fn unlike<T: Tables>(State(app): State<Arc<App<T>>>, Path(post): Path<i64>) -> Result<StatusCode, Failure> {
    add(&app, post, UNLIKE).await
}

async fn view<T: Tables>(State(app): State<Arc<App<T>>>, Path(post): Path<i64>) -> Result<StatusCode, Failure> {
    add(&app, post, VIEW).await
}

/// With every press that was answered by now: users see what they did.
async fn read<T: Tables>(State(app): State<Arc<App<T>>>, Path(id): Path<i64>) -> Result<Response, Failure> {
    let Some(Post { title, .. }) = app.posts.get(&id).await? else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let PostCounts { likes, views } = app.counts.get(&id).await?.unwrap_or_default();
    Ok(Json(json!({ "post": id, "title": title, "likes": likes, "views": views })).into_response())
}

async fn stats<T: Tables>(State(app): State<Arc<App<T>>>) -> Result<Json<Value>, Failure> {
    let stats = app.counts.stats().await?;
    Ok(Json(json!({
        "accepted": stats.accepted,
        "rows_written_to_sql": stats.flushed,
        "transactions": stats.batches,
        "on_their_way": stats.dirty,
        "waiting_for_ms": stats.oldest.map(|waited| waited.as_millis()),
    })))
}

pub(crate) struct Failure(Error);

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure(e)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = serving::logged(answer(&self.0), &self.0);
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn answer(e: &Error) -> (StatusCode, &'static str) {
    match (e.outcome(), e.kind()) {
        // Redis did not answer. Clients and proxies repeat a 504 by themselves, and a press would count twice: hence 500.
        (Outcome::Unknown, _) => (StatusCode::INTERNAL_SERVER_ERROR, "counted or not: look before you press again"),
        // More is on its way than was allowed: SQL does not keep up.
        (_, Kind::Overloaded) => (StatusCode::SERVICE_UNAVAILABLE, "too much at once: try again later"),
        (_, Kind::Unavailable | Kind::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "try again"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "a mistake of ours"),
    }
}

async fn serve<T: Tables>(app: Arc<App<T>>) -> anyhow::Result<()> {
    let listener = serving::listen().await?;
    println!("Likes at http://{}; Ctrl-C or SIGTERM ends it.", listener.local_addr()?);
    axum::serve(listener, router(app.clone()).route("/metrics", get(serving::metrics)))
        .with_graceful_shutdown(serving::told_to_end())
        .await?;
    // No request is left. Now the rest goes to SQL: forgotten here, it would be lost with this process if embedded.
    let drained = app.counts.shutdown(Duration::from_secs(10)).await?;
    println!("the counts of {} posts flushed at the end, {} left", drained.flushed, drained.left);
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
tables!(PostgresPosts, PostgresCounts over AsyncPgConnection);

#[cfg(feature = "postgres")]
pub(crate) struct OnPostgres;
#[cfg(feature = "postgres")]
impl Tables for OnPostgres {
    type Posts = PostgresPosts;
    type Counts = PostgresCounts;
}

#[cfg(feature = "postgres")]
async fn on_servers(redis: &str, database: &str) -> anyhow::Result<()> {
    println!("On servers: the table posts in DATABASE_URL, the cache and the journal in REDIS_URL.");
    serve(servers(writeway_back::Redis::connect(redis).await?, database).await?).await
}

#[cfg(feature = "postgres")]
pub(crate) async fn servers(redis: writeway_back::Redis, database: &str) -> anyhow::Result<Arc<App<OnPostgres>>> {
    use writeway_back::diesel_async::pooled_connection::AsyncDieselConnectionManager;
    // A flush that stalls is to be ended by the server, so that it holds up nobody else.
    let timeouts = Box::new(writeway_back::sql::ServerTimeouts::default());
    let pool = writeway_back::bb8::Pool::builder().connection_customizer(timeouts);
    // Whoever waits for a connection waits so long. Unless it is said, that is 30 s, and a dead server looks like a hang.
    let pool = pool.connection_timeout(Duration::from_secs(2));
    let pools: Pools<AsyncPgConnection> = pool.build(AsyncDieselConnectionManager::new(database)).await?.into();
    pools.writers().get().await.context("no connection to the database")?.batch_execute(TABLES).await?;
    let posts = WriteThrough::builder(Sql::<PostgresPosts>::new(pools.clone())).namespace("posts").build(redis.clone()).await?;
    let builder = Counters::builder(SqlCounts::<PostgresCounts>::new(pools)).namespace("post_counts");
    // Refused by a Redis without an append-only file.
    let counts = builder.migrate().build(redis).await?;
    Ok(Arc::new(App { posts, counts }))
}
