//! A commit is never wrong about its outcome.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use writeway_core::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use writeway_core::error::{Error, Kind, Outcome};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::sql::{Pool, Sql, SqlTx};
use writeway_core::store::{Store, Transaction};
use writeway_core::tasks::until;

use crate::support::{Account, Accounts, Schema, account, key, number, put, waiting};

type Accs = Sql<Accounts<false>>;

/// A schema, and a pool of one connection in it.
async fn start(name: &str) -> Option<(Schema, Pool<AsyncPgConnection>, Accs)> {
    let schema = Schema::make(name).await?;
    let pool = schema.pool(1).await;
    Some((schema, pool.clone(), Sql::new(pool)))
}

/// A transaction in which `account` was put.
async fn with(store: &Accs, account: Account) -> SqlTx<AsyncPgConnection> {
    let mut tx = store.begin(Some(Duration::from_secs(2))).await.expect("begun");
    store.apply_in(&mut tx, &[put(account)]).await.expect("applied");
    tx
}

fn told(error: &Error) -> (Kind, Outcome) {
    (error.kind(), error.outcome())
}

async fn rows(schema: &Schema) -> i64 {
    schema.number("SELECT count(*) FROM accounts").await
}

#[tokio::test]
async fn a_commit_after_an_ignored_error_is_refused() {
    let Some((schema, pool, store)) = start("sql_ignored").await else { return };
    let mut tx = with(&store, account(1, 1)).await;
    assert!(tx.connection().batch_execute("SELECT 1 / 0").await.is_err());
    let error = tx.commit().await.expect_err("PostgreSQL rolls this back");
    assert_eq!(told(&error), (Kind::Rejected, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&schema).await, 0);
    store.apply(&[put(account(2, 2))]).await.expect("the same connection is good again");
    assert_eq!(pool.state().statistics.connections_created, 1);
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_the_commit_is_rejected() {
    let Some((schema, pool, store)) = start("sql_deferred").await else { return };
    let mut orphan = account(1, 1);
    orphan.parent = Some(1);
    let error = with(&store, orphan).await.commit().await.expect_err("no such parent");
    assert_eq!(told(&error), (Kind::Rejected, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&schema).await, 0);
    store.apply(&[put(account(2, 2))]).await.expect("the same connection is good again");
    assert_eq!(pool.state().statistics.connections_created, 1);
}

#[tokio::test]
async fn a_transaction_that_was_ended_otherwise_is_told() {
    let Some((schema, _, store)) = start("sql_ended").await else { return };
    for (statement, left) in [("COMMIT", 1), ("ROLLBACK", 1)] {
        let mut tx = with(&store, account(left, 1)).await;
        tx.connection().batch_execute(statement).await.expect("ended");
        let error = tx.commit().await.expect_err("there is nothing to commit");
        assert_eq!(told(&error), (Kind::Invalid, Outcome::Unknown), "{statement}: {error}");
        assert_eq!(rows(&schema).await, left);
    }
    let mut tx = with(&store, account(2, 1)).await;
    use writeway_core::diesel_async::TransactionManager;
    <AsyncPgConnection as AsyncConnection>::TransactionManager::commit_transaction(tx.connection()).await.expect("diesel's own");
    let error = tx.commit().await.expect_err("there is nothing to commit");
    assert_eq!(told(&error), (Kind::Invalid, Outcome::Unknown), "{error}");
    store.apply(&[put(account(3, 3))]).await.expect("the pool is healthy");
}

#[tokio::test]
async fn a_nested_transaction_that_was_left_open_is_not_committed() {
    let Some((schema, pool, store)) = start("sql_nested").await else { return };
    let mut tx = with(&store, account(1, 1)).await;
    {
        let never = tx.connection().transaction(async |_| {
            std::future::pending::<()>().await;
            Ok::<_, writeway_core::diesel::result::Error>(())
        });
        assert!(until(&Tokio, Tokio.now() + Duration::from_millis(50), never).await.is_none());
    }
    let error = tx.commit().await.expect_err("half of it was dropped");
    assert_eq!(told(&error), (Kind::Invalid, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&schema).await, 0);
    store.apply(&[put(account(2, 2))]).await.expect("the pool is healthy");
    assert_eq!(pool.state().statistics.connections_created, 1);
}

/// Makes COMMIT wait for the advisory lock 1, which the returned connection holds.
async fn commit_waits(schema: &Schema) -> AsyncPgConnection {
    schema
        .run(
            "CREATE FUNCTION wait() RETURNS TRIGGER LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext(current_schema())); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON accounts DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION wait();",
        )
        .await;
    let mut holder = schema.connect().await;
    number(&mut holder, "SELECT count(*) FROM pg_advisory_lock(hashtext(current_schema()))").await;
    holder
}

#[tokio::test]
async fn a_connection_that_is_lost_during_the_commit_leaves_it_unknown() {
    let Some((schema, _, store)) = start("sql_killed").await else { return };
    let _holder = commit_waits(&schema).await;
    let tx = with(&store, account(1, 1)).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(tx.commit());
    schema.until(&waiting("sql_killed"), 1).await;
    schema
        .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sql_killed' AND wait_event_type = 'Lock'")
        .await;
    let error = tasks.join_next().await.expect("one task").expect("no panic").expect_err("killed");
    assert_eq!(told(&error), (Kind::Unavailable, Outcome::Unknown), "{error}");
    schema.run("DROP TRIGGER wait ON accounts").await;
    store.apply(&[put(account(2, 2))]).await.expect("the pool is healthy");
}

#[tokio::test]
async fn a_commit_that_is_stuck_in_a_trigger_ends_by_the_servers_own_timeout() {
    let Some((schema, pool, store)) = start("sql_stuck").await else { return };
    let _holder = commit_waits(&schema).await;
    let mut tx = with(&store, account(1, 1)).await;
    tx.connection().batch_execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 100").await.expect("set");
    let ended = until(&Tokio, Tokio.now() + Duration::from_secs(10), tx.commit()).await;
    let error = ended.expect("COMMIT alone would wait for ever").expect_err("the server's time-out");
    assert_eq!(told(&error), (Kind::Unavailable, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&schema).await, 0);
    assert!(store.fetch(&[key(1)]).await.expect("the same connection is good again").is_empty());
    assert_eq!(pool.state().statistics.connections_created, 1);
}

#[tokio::test]
async fn a_commit_that_is_dropped_takes_its_connection_with_it() {
    let Some((schema, pool, store)) = start("sql_commit_dropped").await else { return };
    let holder = commit_waits(&schema).await;
    let tx = with(&store, account(1, 1)).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(tx.commit());
    schema.until(&waiting("sql_commit_dropped"), 1).await;
    tasks.abort_all();
    assert!(tasks.join_next().await.expect("one task").expect_err("aborted").is_cancelled());
    assert_eq!(pool.state().statistics.connections_closed_broken, 1);
    drop(holder);
    schema
        .until(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sql_commit_dropped' AND state LIKE '%transaction%'",
            0,
        )
        .await;
    assert!(store.fetch(&[key(9)]).await.expect("the pool is healthy").is_empty());
}

#[tokio::test]
async fn a_begin_that_is_dropped_takes_its_connection_with_it() {
    let Some((_schema, pool, store)) = start("sql_begin_dropped").await else { return };
    for (dropped, limit) in [(1, None), (2, Some(Duration::from_secs(2)))] {
        assert!(store.fetch(&[key(1)]).await.expect("an idle connection").is_empty());
        {
            let mut begin = pin!(store.begin(limit));
            // The first poll takes the connection and sends BEGIN.
            assert!(poll_fn(|cx| Poll::Ready(begin.as_mut().poll(cx).is_pending())).await);
        }
        assert_eq!(pool.state().statistics.connections_closed_broken, dropped);
    }
}

#[tokio::test]
async fn a_serialisation_failure_may_be_tried_again_on_the_same_connection() {
    let Some((schema, _, _)) = start("sql_serialisable").await else { return };
    let pool = schema.pool(2).await;
    let store = Accs::new(pool.clone());
    let mut both = Vec::new();
    for id in [1, 2] {
        let mut tx = store.begin(None).await.expect("begun");
        tx.connection().batch_execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.expect("set");
        assert_eq!(number(tx.connection(), "SELECT count(*) FROM accounts").await, 0);
        store.apply_in(&mut tx, &[put(account(id, 1))]).await.expect("applied");
        both.push(tx);
    }
    let second = both.pop().expect("two");
    both.pop().expect("two").commit().await.expect("the first one wins");
    let error = second.commit().await.expect_err("each saw a table without the other");
    assert_eq!(told(&error), (Kind::Unavailable, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&schema).await, 1);
    assert_eq!(pool.state().statistics.connections_closed_broken, 0);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back() {
    let Some((schema, pool, store)) = start("sql_tx_dropped").await else { return };
    drop(with(&store, account(1, 1)).await);
    assert_eq!(pool.state().statistics.connections_closed_broken, 1);
    schema
        .until(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sql_tx_dropped' AND state LIKE '%transaction%'",
            0,
        )
        .await;
    assert_eq!(rows(&schema).await, 0);
    with(&store, account(1, 1)).await.rollback().await;
    assert_eq!(rows(&schema).await, 0);
    assert_eq!(pool.state().statistics.connections_closed_broken, 1, "a rollback keeps its connection");
}

#[tokio::test]
async fn one_statement_whose_connection_is_lost_is_unknown() {
    let Some((schema, pool, _)) = start("sql_one_killed").await else { return };
    let _holder = commit_waits(&schema).await;
    let store = Sql::<Accounts<true>>::new(pool);
    let mut tasks = JoinSet::new();
    let writer = store.clone();
    tasks.spawn(async move { writer.apply(&[put(account(1, 1))]).await });
    schema.until(&waiting("sql_one_killed"), 1).await;
    schema
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'sql_one_killed' AND wait_event_type = 'Lock'",
        )
        .await;
    let error = tasks.join_next().await.expect("one task").expect("no panic").expect_err("killed");
    assert_eq!(told(&error), (Kind::Unavailable, Outcome::Unknown), "{error}");
    assert!(store.fetch(&[key(1)]).await.expect("the pool is healthy").is_empty());
}
