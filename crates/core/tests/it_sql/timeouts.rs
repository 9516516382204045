//! Strict writes refuse a server that would let a stalled transaction live longer than its barriers.

use std::sync::mpsc;
use std::time::Duration;

use writeway_core::bb8;
use writeway_core::diesel::connection::InstrumentationEvent;
use writeway_core::diesel_async::{AsyncConnection, SimpleAsyncConnection};
use writeway_core::error::{Kind, Outcome};
use writeway_core::sql::{ServerTimeouts, Sql};
use writeway_core::store::{Store, Transaction};

use crate::support::{Accounts, Schema, account, number, put};

const LIMIT: Option<Duration> = Some(Duration::from_secs(2));

#[tokio::test]
async fn a_server_without_timeouts_is_refused_with_what_to_do() {
    let Some(schema) = Schema::make("sql_no_timeouts").await else { return };
    let zero = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
    let pool = bb8::Pool::builder().max_size(1).build(schema.manager()).await.expect("connects");
    pool.get().await.expect("idle").batch_execute(zero).await.expect("set");
    let store = Sql::<Accounts<false>>::new(pool.clone());
    let error = store.begin(LIMIT).await.expect_err("must be refused");
    assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied));
    for part in ["statement_timeout is 0", "ALTER ROLE CURRENT_USER SET lock_timeout = 1500;", "ServerTimeouts::default()"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    store.apply(&[put(account(1, 1))]).await.expect("an eventual write needs none, on the same connection");
    assert_eq!(pool.state().statistics.connections_created, 1);
    let text = error.to_string();
    let (_, what_to_run) = text.split_once("or run: ").expect("SQL to run");
    schema.run(&format!("BEGIN; {what_to_run} ROLLBACK")).await;
}

/// What the pool's one connection sent last.
fn last(schema: &str, query: &str) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{schema}' AND query LIKE '{query}%' AND state <> 'active'"
    )
}

#[tokio::test]
async fn the_timeouts_are_read_once_per_connection() {
    let Some(schema) = Schema::make("sql_once").await else { return };
    let (begin, check) = (last("sql_once", "BEGIN"), last("sql_once", "SELECT current_setting"));
    let pool = schema.pool(1).await;
    let store = Sql::<Accounts<false>>::new(pool.clone());
    for expected in [1, 0, 0] {
        let tx = store.begin(LIMIT).await.expect("good");
        assert_eq!((schema.number(&check).await, schema.number(&begin).await), (expected, 1 - expected));
        tx.commit().await.expect("committed");
    }
    // What was found is too long for shorter barriers, so they look again.
    assert!(store.begin(Some(Duration::from_millis(1_500))).await.is_err(), "as long as the barrier is too long");
    pool.get().await.expect("idle").batch_execute("SET lock_timeout = '1s'; SET statement_timeout = '1s'").await.expect("set");
    let error = store.begin(Some(Duration::from_millis(1_500))).await.expect_err("the third is as before");
    assert!(error.to_string().contains("lock_timeout is 1s, idle_in_transaction_session_timeout is 1500ms"), "{error}");
    drop(store.begin(LIMIT).await.expect("good"));
    let tx = store.begin(LIMIT).await.expect("good");
    assert_eq!(schema.number(&check).await, 1, "a new connection is read");
    tx.rollback().await;
}

#[tokio::test]
async fn an_applications_instrumentation_stays_and_is_read_every_time() {
    let Some(schema) = Schema::make("sql_instrumented").await else { return };
    let pool = schema.pool(1).await;
    let (events, seen) = mpsc::channel();
    let count = move |_: InstrumentationEvent<'_>| events.send(()).expect("the test listens");
    pool.get().await.expect("idle").set_instrumentation(count);
    let store = Sql::<Accounts<false>>::new(pool.clone());
    for _ in 0..3 {
        let tx = store.begin(LIMIT).await.expect("good");
        assert_eq!(schema.number(&last("sql_instrumented", "SELECT current_setting")).await, 1);
        tx.commit().await.expect("committed");
        assert!(seen.try_iter().count() >= 4, "BEGIN and the check, at least");
    }
    pool.get().await.expect("idle").batch_execute("SET lock_timeout = '1min'").await.expect("set");
    let error = store.begin(LIMIT).await.expect_err("must be refused");
    assert!(error.to_string().contains("lock_timeout is 1min"), "{error}");
    assert!(store.begin(Some(Duration::from_secs(61))).await.is_ok(), "longer barriers are fine with it");
}

#[tokio::test]
async fn the_customizer_sets_what_it_is_told() {
    let Some(schema) = Schema::make("sql_customizer").await else { return };
    let timeouts = ServerTimeouts::default().statement(Duration::from_millis(700)).lock(Duration::from_millis(300));
    let pool = bb8::Pool::builder().connection_customizer(Box::new(timeouts)).build(schema.manager()).await.expect("connects");
    let mut conn = pool.get().await.expect("idle");
    for (name, ms) in [("statement_timeout", 700), ("lock_timeout", 300), ("idle_in_transaction_session_timeout", 1_500)] {
        let query = format!("SELECT setting::bigint FROM pg_settings WHERE name = '{name}'");
        assert_eq!(number(&mut conn, &query).await, ms, "{name}");
    }
}

#[tokio::test]
async fn a_transaction_without_its_client_is_ended_by_the_server() {
    let Some(schema) = Schema::make("sql_idle").await else { return };
    let timeouts = Box::new(ServerTimeouts::default().idle_in_transaction(Duration::from_millis(100)));
    let pool = bb8::Pool::builder().max_size(1).connection_customizer(timeouts).build(schema.manager()).await.expect("connects");
    let store = Sql::<Accounts<false>>::new(pool);
    let mut tx = store.begin(LIMIT).await.expect("begun");
    store.apply_in(&mut tx, &[put(account(1, 1))]).await.expect("applied");
    schema.until("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sql_idle'", 1).await;
    let error = tx.commit().await.expect_err("the server has rolled back");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    store.apply(&[put(account(1, 1))]).await.expect("on a new connection");
}
