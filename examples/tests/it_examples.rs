//! The examples on Redis and PostgreSQL.

#[path = "checks/ledger.rs"]
mod checks;
#[path = "../event_log.rs"]
#[expect(dead_code, reason = "its `main` and SQLite")]
mod event_log;
#[path = "checks/http.rs"]
mod http;
#[path = "../ledger.rs"]
#[expect(dead_code, reason = "its `main` and SQLite")]
mod ledger;
#[path = "../likes.rs"]
#[expect(dead_code, reason = "its `main` and SQLite")]
mod likes;

use std::env::var;
use std::time::Duration;

use axum::http::StatusCode;
use event_log::PostgresEvents;
use http::call;
use ledger::{Bank, PostgresAccounts, postgres};
use likes::PostgresCounts;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use writeway_back::CountTable as _;
use writeway_through::Redis;
use writeway_through::diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use writeway_through::sql::Pools;

/// A key prefix and a schema of the test's own, on the servers that the environment names: the cache, and the URL.
async fn given(test: &str) -> Option<(Redis, String)> {
    let get = |name: &str| var(name).ok().filter(|value| !value.is_empty());
    let (Some(redis), Some(database)) = (get("REDIS_URL"), get("DATABASE_URL")) else {
        println!("SKIPPED: needs REDIS_URL and DATABASE_URL");
        return None;
    };
    let schema = format!("it_examples_{test}");
    let mut conn = AsyncPgConnection::establish(&database).await.expect("the database lets us in");
    let made = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
    conn.batch_execute(&made).await.expect("a schema");
    let separator = if database.contains('?') { '&' } else { '?' };
    let prefix = get("WRITEWAY_PREFIX").unwrap_or_else(|| format!("writeway-test-{}", std::process::id()));
    let cache = Redis::builder(&redis).prefix(format!("{prefix}.examples.{test}")).connect().await.expect("redis lets us in");
    Some((cache, format!("{database}{separator}options=-csearch_path%3D{schema}")))
}

/// For the ledger, with its four accounts.
async fn opened(test: &str) -> Option<(Pools<AsyncPgConnection>, Redis)> {
    let (cache, database) = given(test).await?;
    let pools = postgres(&database).await.expect("a pool");
    let bank = Bank::<PostgresAccounts>::new(pools.clone(), cache.clone()).await.expect("built");
    bank.accounts.invalidate_all().await.expect("an earlier run's entries");
    Some((pools, cache))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers() {
    let Some((pools, cache)) = opened("answers").await else { return };
    checks::answers::<PostgresAccounts>(pools, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cent_is_lost() {
    let Some((pools, cache)) = opened("lost").await else { return };
    checks::no_cent_is_lost::<PostgresAccounts>(pools, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_moves_once() {
    let Some((pools, cache)) = opened("once").await else { return };
    checks::one_id_moves_once::<PostgresAccounts>(pools, cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_likes_are_in_sql_after_a_shutdown() {
    let Some((cache, database)) = given("likes").await else { return };
    let app = likes::servers(cache, &database).await.expect("built");
    let (http, mut clients) = (likes::router(app.clone()), JoinSet::new());
    for post in 0..3 {
        assert_eq!(
            call(&http, "PUT", &format!("/posts/{post}"), Some(json!({ "title": "Hello" }))).await.0,
            StatusCode::NO_CONTENT
        );
    }
    for client in 0..9 {
        let http = http.clone();
        clients.spawn(async move {
            for _ in 0..100 {
                let path = format!("/posts/{}/likes", client % 3);
                assert_eq!(call(&http, "POST", &path, None).await.0, StatusCode::ACCEPTED);
            }
        });
    }
    clients.join_all().await;
    assert_eq!(call(&http, "DELETE", "/posts/1/likes", None).await.0, StatusCode::ACCEPTED);
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1["likes"], json!(299));
    assert_eq!(app.counts.shutdown(Duration::from_secs(30)).await.expect("drained").left, 0);
    let pools = postgres(&database).await.expect("a pool");
    let mut conn = pools.readers().get().await.expect("a connection");
    let mut rows = PostgresCounts::fetch(&mut conn, &[0, 1, 2]).await.expect("read");
    rows.sort_by_key(|(post, _)| *post);
    let likes: Vec<i64> = rows.into_iter().map(|(_, counts)| counts.likes).collect();
    assert_eq!(likes, [300, 299, 300], "invariant violated: an acknowledged like is in sql, once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_read_as_they_were_sent_last() {
    let Some((cache, database)) = given("events").await else { return };
    let log = event_log::open::<PostgresEvents>(postgres(&database).await.expect("a pool"), cache).await.expect("built");
    log.invalidate_all().await.expect("an earlier run's entries");
    let (app, event) = (event_log::router(log), |n: usize, text: &str| json!({ "id": n.to_string(), "at_ms": n, "text": text }));
    let batch: Vec<Value> = (0..1_000).map(|n| event(n, "first")).collect();
    for _ in 0..2 {
        let sent = call(&app, "POST", "/events", Some(json!(batch))).await;
        assert_eq!(sent, (StatusCode::OK, json!({ "committed": 1_000 })));
    }
    assert_eq!(call(&app, "GET", "/events/77", None).await.1, event(77, "first"), "and now it is cached");
    call(&app, "POST", "/events", Some(json!([event(77, "second")]))).await;
    assert_eq!(call(&app, "GET", "/events/77", None).await.1, event(77, "second"));
    assert_eq!(call(&app, "GET", "/events/1000", None).await.0, StatusCode::NOT_FOUND);
}
