//! What is read, what is written, and what is said of it.

use std::time::Duration;

use tokio::task::JoinSet;
use writeway_core::change::Stored;
use writeway_core::error::{Kind, Outcome};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::sql::{Sql, SqlTable};
use writeway_core::store::{Store, Transaction};
use writeway_core::tasks::until;

use crate::support::{Account, Accounts, File, PANIC, account, delete, key, put};

#[tokio::test]
async fn what_was_put_is_what_is_returned_and_read() {
    let file = File::make().await;
    let store = file.accounts();
    let with_option = Account { code: Some("x".into()), ..account(2, 6) };
    let stored = store.apply(&[put(account(1, 5)), put(with_option.clone())]).await.expect("applied");
    assert_eq!(stored, [Stored::As(account(1, 5)), Stored::As(with_option.clone())]);
    assert_eq!(store.apply(&[put(account(1, 7))]).await.expect("applied"), [Stored::As(account(1, 7))]);
    let mut found = store.fetch(&[key(1), key(2), key(3)]).await.expect("fetched");
    found.sort_by_key(|account| account.id);
    assert_eq!(found, [account(1, 7), with_option]);
    assert!(store.fetch(&[]).await.expect("no statement").is_empty());
    assert!(store.apply(&[]).await.expect("no statement").is_empty());
    assert_eq!(store.apply(&[delete(1), put(account(3, 3))]).await.expect("applied")[0], Stored::Gone);
    assert_eq!(store.apply(&[delete(1), delete(2)]).await.expect("applied"), [Stored::Unread, Stored::Unread]);
    assert_eq!(file.number("SELECT count(*) FROM accounts").await, 1);
}

#[tokio::test]
async fn violated_constraints_are_rejected_and_nothing_is_applied() {
    let file = File::make().await;
    let store = file.accounts();
    store.apply(&[put(Account { code: Some("taken".into()), ..account(1, 1) })]).await.expect("applied");
    let changes: [fn(&mut Account); 4] =
        [|a| a.balance = -1, |a| a.code = Some("taken".into()), |a| a.owner = Some(1), |a| a.parent = Some(1)];
    for change in changes {
        let mut bad = account(2, 2);
        change(&mut bad);
        let error = store.apply(&[put(account(3, 3)), put(bad)]).await.expect_err("a constraint");
        assert_eq!((error.kind(), error.outcome()), (Kind::Rejected, Outcome::NotApplied), "{error}");
    }
    assert_eq!(file.number("SELECT count(*) FROM accounts").await, 1);
    assert_eq!(file.pools.writers().state().statistics.connections_created, 1, "no connection was thrown away");
}

#[tokio::test]
async fn more_parameters_than_sqlite_takes_are_invalid() {
    let file = File::make().await;
    let changes: Vec<_> = (0..20_000).map(delete).collect();
    let error = file.accounts().apply(&changes).await.expect_err("40,000 parameters");
    assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied), "{error}");
    assert!(error.to_string().contains("32,766"), "{error}");
}

#[tokio::test]
async fn a_second_writer_waits_for_the_first_and_a_reader_does_not() {
    let file = File::make().await;
    let store = file.accounts();
    let mut first = store.begin(None).await.expect("begun");
    store.apply_in(&mut first, &[put(account(1, 1))]).await.expect("applied");
    let soon = Tokio.now() + Duration::from_millis(20);
    assert!(until(&Tokio, soon, store.begin(None)).await.is_none(), "there is one writer");
    assert!(store.fetch(&[key(1)]).await.expect("a reader does not wait").is_empty());
    first.commit().await.expect("committed");
    store.begin(None).await.expect("the next writer").rollback().await;
    assert_eq!(store.fetch(&[key(1)]).await.expect("fetched"), [account(1, 1)]);
}

#[tokio::test]
async fn writers_wait_in_order() {
    let file = File::make().await;
    let (busy, patient) = (file.accounts(), file.accounts());
    let mut tasks = JoinSet::new();
    let greedy = tasks.spawn(async move {
        loop {
            busy.apply(&[put(account(0, 1))]).await.expect("applied");
        }
    });
    // Until it is at work.
    while file.number("SELECT count(*) FROM accounts").await == 0 {}
    for id in 1..=5 {
        let deadline = Tokio.now() + Duration::from_secs(2);
        let changes = [put(account(id, 1))];
        let put = until(&Tokio, deadline, patient.apply(&changes)).await;
        put.expect("invariant violated: writers wait in order").expect("applied");
    }
    greedy.abort();
}

#[tokio::test]
async fn readers_do_not_write() {
    struct Careless;
    impl SqlTable for Careless {
        type Connection = writeway_core::sql::AsyncSqliteConnection;
        type Key = (String, i64);
        type Row = Account;
        fn key(row: &Account) -> (String, i64) {
            Accounts::key(row)
        }
        async fn fetch(conn: &mut Self::Connection, keys: &[Self::Key]) -> writeway_core::diesel::QueryResult<Vec<Account>> {
            Accounts::remove(conn, keys).await.map(|_| Vec::new())
        }
        async fn upsert(conn: &mut Self::Connection, rows: &[Account]) -> writeway_core::diesel::QueryResult<Vec<Account>> {
            Accounts::upsert(conn, rows).await
        }
        async fn remove(conn: &mut Self::Connection, keys: &[Self::Key]) -> writeway_core::diesel::QueryResult<usize> {
            Accounts::remove(conn, keys).await
        }
    }
    let file = File::make().await;
    let error = Sql::<Careless>::new(file.pools.clone()).fetch(&[key(1)]).await.expect_err("query_only");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[tokio::test]
async fn a_panic_in_the_applications_code_costs_one_connection() {
    let file = File::make().await;
    let store = file.accounts();
    let mut tasks = JoinSet::new();
    let doomed = store.clone();
    tasks.spawn(async move { doomed.apply(&[put(account(1, PANIC))]).await });
    assert!(tasks.join_next().await.expect("one task").expect_err("it panicked").is_panic());
    store.apply(&[put(account(3, 3))]).await.expect("the pool has a good connection");
    assert_eq!(file.pools.writers().state().statistics.connections_closed_broken, 1);
    assert_eq!(file.number("SELECT count(*) FROM accounts").await, 1);
}
