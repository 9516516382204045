//! The ledger on Redis and PostgreSQL: what holds embedded holds there.

#[path = "checks/ledger.rs"]
mod checks;
#[path = "checks/http.rs"]
mod http;
#[path = "../ledger.rs"]
#[expect(dead_code, reason = "its `main` and SQLite")]
mod ledger;

use std::env::var;

use ledger::{Bank, PostgresAccounts, postgres};
use writeway_through::Redis;
use writeway_through::diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use writeway_through::sql::Pools;

/// A schema and a key prefix of the test's own, on the servers that the environment names.
async fn opened(test: &str) -> Option<(Pools<AsyncPgConnection>, Redis)> {
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
    let pools = postgres(&format!("{database}{separator}options=-csearch_path%3D{schema}")).await.expect("a pool");

    let prefix = get("WRITEWAY_PREFIX").unwrap_or_else(|| format!("writeway-test-{}", std::process::id()));
    let cache = Redis::builder(&redis).prefix(format!("{prefix}.examples.{test}")).connect().await.expect("redis lets us in");
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
