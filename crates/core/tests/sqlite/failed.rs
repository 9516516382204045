//! A transaction in which a statement failed, and one that SQLite has ended by itself.

use writeway_core::diesel::QueryResult;
use writeway_core::diesel::result::Error as Diesel;
use writeway_core::diesel_async::{AsyncConnection, SimpleAsyncConnection};
use writeway_core::error::{Error, Kind, Outcome};
use writeway_core::sql::AsyncSqliteConnection;
use writeway_core::store::{Store, Transaction};

use crate::support::{File, account, key, put};

const REFUSED: &str = "INSERT INTO accounts VALUES ('eu', 9, -1, NULL, NULL, NULL)";
const NEXT: &str = "INSERT INTO parents VALUES (1)";

/// A trigger by which SQLite rolls the whole transaction back.
const ENDS: &str = "CREATE TRIGGER ends BEFORE INSERT ON accounts WHEN NEW.id = 13 BEGIN SELECT RAISE(ROLLBACK, 'no 13'); END";
const ENDED: &str = "INSERT INTO accounts VALUES ('eu', 13, 1, NULL, NULL, NULL)";

fn told(error: &Error) -> (Kind, Outcome) {
    (error.kind(), error.outcome())
}

async fn rows(file: &File) -> i64 {
    file.number("SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM parents)").await
}

/// A savepoint around a statement that fails.
async fn in_savepoint(conn: &mut AsyncSqliteConnection, failing: &'static str) -> QueryResult<()> {
    conn.transaction::<_, Diesel, _>(async |conn| conn.batch_execute(failing).await).await
}

#[tokio::test]
async fn nothing_is_sent_after_a_statement_that_failed() {
    for failing in [REFUSED, ENDED] {
        let file = File::make().await;
        file.run(ENDS).await;
        let mut tx = file.accounts().begin(None).await.expect("begun");
        file.accounts().apply_in(&mut tx, &[put(account(1, 1))]).await.expect("applied");
        tx.connection().batch_execute(failing).await.expect_err("refused");
        let next = tx.connection().batch_execute(NEXT).await.map_err(|e| writeway_core::sql::statement_failed(e).kind());
        assert_eq!(next, Err(Kind::Rejected), "invariant violated: nothing is sent after a failure");
        let error = tx.commit().await.expect_err("as PostgreSQL does");
        assert_eq!(told(&error), (Kind::Rejected, Outcome::NotApplied), "{error}");
        assert_eq!(rows(&file).await, 0, "invariant violated: nothing is sent after a failure");
        file.accounts().apply(&[put(account(2, 2))]).await.expect("the pool is healthy");
    }
}

#[tokio::test]
async fn a_rollback_after_a_failure_leaves_nothing() {
    for failing in [REFUSED, ENDED] {
        let file = File::make().await;
        file.run(ENDS).await;
        let mut tx = file.accounts().begin(None).await.expect("begun");
        tx.connection().batch_execute(failing).await.expect_err("refused");
        assert!(tx.connection().batch_execute(NEXT).await.is_err());
        tx.rollback().await;
        assert_eq!(rows(&file).await, 0);
        file.accounts().apply(&[put(account(2, 2))]).await.expect("the pool is healthy");
    }
}

#[tokio::test]
async fn a_savepoint_takes_back_a_failure_and_only_that() {
    let file = File::make().await;
    file.run(ENDS).await;
    let store = file.accounts();
    let mut tx = store.begin(None).await.expect("begun");
    store.apply_in(&mut tx, &[put(account(1, 1))]).await.expect("applied");
    in_savepoint(tx.connection(), REFUSED).await.expect_err("refused");
    tx.connection().batch_execute(NEXT).await.expect("the transaction is whole again");
    tx.commit().await.expect("committed");
    assert_eq!((rows(&file).await, store.fetch(&[key(1)]).await.expect("fetched").len()), (2, 1));

    let mut tx = store.begin(None).await.expect("begun");
    store.apply_in(&mut tx, &[put(account(2, 2))]).await.expect("applied");
    in_savepoint(tx.connection(), ENDED).await.expect_err("the whole transaction is gone");
    assert!(tx.connection().batch_execute(NEXT).await.is_err(), "invariant violated: nothing is sent after a failure");
    let error = tx.commit().await.expect_err("nothing to commit");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    assert_eq!(rows(&file).await, 2, "nothing was added");
    store.apply(&[put(account(2, 2))]).await.expect("the pool is healthy");
}

#[tokio::test]
async fn a_begin_of_ones_own_does_not_stay_in_the_pool() {
    let file = File::make().await;
    file.pools.readers().get().await.expect("a reader").batch_execute("begin; SELECT * FROM accounts").await.expect("read");
    assert_eq!(file.pools.readers().state().statistics.connections_closed_broken, 1, "it would read of yesterday");
    file.pools.writers().get().await.expect("the writer").batch_execute("BEGIN; ROLLBACK").await.expect("nothing is left open");
    file.pools.writers().get().await.expect("the writer").batch_execute("BEGIN; nonsense").await.expect_err("no SQL");
    assert_eq!(file.pools.writers().state().statistics.connections_closed_broken, 1);
    file.accounts().apply(&[put(account(1, 1))]).await.expect("the pool is healthy");
}
