//! A commit is never wrong about its outcome.

use std::time::Duration;

use writeway_core::diesel_async::{AsyncConnection, SimpleAsyncConnection, TransactionManager};
use writeway_core::error::{Error, Kind, Outcome};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::sql::{AsyncSqliteConnection, SqlTx};
use writeway_core::store::{Store, Transaction};
use writeway_core::tasks::until;

use crate::support::{Account, File, account, put};

const PLENTY: Option<Duration> = Some(Duration::from_secs(60));

/// A transaction in which `account` was put.
async fn with(file: &File, account: Account) -> SqlTx<AsyncSqliteConnection> {
    let store = file.accounts();
    let mut tx = store.begin(PLENTY).await.expect("begun");
    store.apply_in(&mut tx, &[put(account)]).await.expect("applied");
    tx
}

fn told(error: &Error) -> (Kind, Outcome) {
    (error.kind(), error.outcome())
}

async fn rows(file: &File) -> i64 {
    file.number("SELECT count(*) FROM accounts").await
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_the_commit_is_rejected() {
    let file = File::make().await;
    let tx = with(&file, Account { parent: Some(1), ..account(1, 1) }).await;
    let error = tx.commit().await.expect_err("no such parent");
    assert_eq!(told(&error), (Kind::Rejected, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&file).await, 0);
    file.accounts().apply(&[put(account(2, 2))]).await.expect("the same connection is good again");
    assert_eq!(file.pools.writers().state().statistics.connections_created, 1);
}

#[tokio::test]
async fn a_transaction_that_was_ended_otherwise_is_told() {
    let file = File::make().await;
    for (statement, left) in [("COMMIT", 1), ("ROLLBACK", 1)] {
        let mut tx = with(&file, account(left, 1)).await;
        tx.connection().batch_execute(statement).await.expect("ended");
        let error = tx.commit().await.expect_err("there is nothing to commit");
        assert_eq!(told(&error), (Kind::Invalid, Outcome::Unknown), "{statement}: {error}");
        assert_eq!(rows(&file).await, left);
    }
    let mut tx = with(&file, account(2, 1)).await;
    let commit = <AsyncSqliteConnection as AsyncConnection>::TransactionManager::commit_transaction(tx.connection());
    commit.await.expect("diesel's own");
    let error = tx.commit().await.expect_err("there is nothing to commit");
    assert_eq!(told(&error), (Kind::Invalid, Outcome::Unknown), "{error}");
    file.accounts().apply(&[put(account(3, 3))]).await.expect("the pool is healthy");
}

#[tokio::test]
async fn a_nested_transaction_that_was_left_open_is_not_committed() {
    let file = File::make().await;
    let mut tx = with(&file, account(1, 1)).await;
    {
        let never = tx.connection().transaction(async |_| {
            std::future::pending::<()>().await;
            Ok::<_, writeway_core::diesel::result::Error>(())
        });
        assert!(until(&Tokio, Tokio.now() + Duration::from_millis(50), never).await.is_none());
    }
    let error = tx.commit().await.expect_err("half of it was dropped");
    assert_eq!(told(&error), (Kind::Invalid, Outcome::NotApplied), "{error}");
    assert_eq!(rows(&file).await, 0);
    file.accounts().apply(&[put(account(2, 2))]).await.expect("the pool is healthy");
}

#[tokio::test]
async fn a_commit_that_was_held_up_for_too_long_is_refused() {
    let file = File::make().await;
    let store = file.accounts();
    let mut tx = store.begin(Some(Duration::ZERO)).await.expect("begun");
    store.apply_in(&mut tx, &[put(account(1, 1))]).await.expect("applied");
    let late = tx.commit().await.map_err(|error| told(&error));
    assert_eq!(late, Err((Kind::Unavailable, Outcome::NotApplied)), "invariant violated: no late commit");
    assert_eq!(rows(&file).await, 0, "invariant violated: no late commit");
    with(&file, account(2, 2)).await.commit().await.expect("the same connection is good again");
    assert_eq!(file.pools.writers().state().statistics.connections_created, 1);
}
