//! Strict writes refuse a server that would let a stalled transaction live longer than its barriers.

use std::time::Duration;

use writeway_core::bb8;
use writeway_core::diesel_async::SimpleAsyncConnection;
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

#[tokio::test]
async fn a_setting_that_leaked_into_the_session_is_noticed() {
    let Some(schema) = Schema::make("sql_leaked").await else { return };
    let pool = schema.pool(1).await;
    let store = Sql::<Accounts<false>>::new(pool.clone());
    store.begin(LIMIT).await.expect("good").commit().await.expect("committed");
    pool.get().await.expect("idle").batch_execute("SET lock_timeout = '1min'").await.expect("set");
    let error = store.begin(LIMIT).await.expect_err("must be refused");
    assert!(error.to_string().contains("lock_timeout is 1min"), "{error}");
    assert!(store.begin(Some(Duration::from_secs(61))).await.is_ok(), "longer barriers are fine with it");
    assert!(store.begin(Some(Duration::from_millis(1_500))).await.is_err(), "as long as the barrier is too long");
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
