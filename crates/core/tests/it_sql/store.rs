//! The SQL adapter on a real PostgreSQL: what is read, what is written, and what is said of it.

use std::time::Duration;

use tokio::task::JoinSet;
use writeway_core::change::Stored;
use writeway_core::diesel::QueryResult;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel_async::{AsyncPgConnection, RunQueryDsl};
use writeway_core::error::{Kind, Outcome};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::sql::{Sql, SqlTable};
use writeway_core::store::{Store, Transaction};
use writeway_core::tasks::until;
use writeway_core::{change::Change, diesel};

use crate::support::{Account, Accounts, PANIC, Schema, account, accounts, delete, key, put, stamps, waiting};

#[tokio::test]
async fn what_a_trigger_made_of_the_row_is_what_is_returned() {
    let Some(schema) = Schema::make("sql_returned").await else { return };
    let store = schema.accounts().await;
    let changes = [put(account(1, 5)), put(account(2, 6))];
    assert_eq!(stamps(&store.apply(&changes).await.expect("applied")), [Some(50), Some(60)]);
    let mut with_option = account(1, 7);
    with_option.code = Some("x".into());
    store.apply(&[put(with_option)]).await.expect("applied");
    let found = store.fetch(&[key(1), key(2), key(3)]).await.expect("fetched");
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|a| a.id == 1 && a.stamp == 70 && a.code.as_deref() == Some("x")));
    assert!(store.fetch(&[]).await.expect("no statement").is_empty());
    assert!(store.apply(&[]).await.expect("no statement").is_empty());
}

#[tokio::test]
async fn a_delete_is_known_to_be_gone_only_if_every_row_was_there() {
    let Some(schema) = Schema::make("sql_deleted").await else { return };
    let store = schema.accounts().await;
    store.apply(&[put(account(1, 1)), put(account(2, 2))]).await.expect("applied");
    assert_eq!(store.apply(&[delete(1), put(account(3, 3))]).await.expect("applied")[0], Stored::Gone);
    assert_eq!(store.apply(&[delete(1), delete(2)]).await.expect("applied"), [Stored::Unread, Stored::Unread]);
    assert_eq!(store.apply(&[delete(9)]).await.expect("applied"), [Stored::Unread]);
    assert_eq!(schema.number("SELECT count(*) FROM accounts").await, 1);
}

#[tokio::test]
async fn a_key_that_a_trigger_changed_is_told() {
    let Some(schema) = Schema::make("sql_moved").await else { return };
    schema
        .run(
            "CREATE FUNCTION move() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + 100; RETURN NEW; END $$;
             CREATE TRIGGER move BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION move();",
        )
        .await;
    let stored = schema.accounts().await.apply(&[put(account(1, 5))]).await.expect("applied");
    assert!(matches!(&stored[..], [Stored::As(row)] if row.id == 101));
}

#[tokio::test]
async fn a_row_that_nobody_asked_for_is_refused() {
    struct Sloppy;
    impl SqlTable for Sloppy {
        type Connection = AsyncPgConnection;
        type Key = (String, i64);
        type Row = Account;
        fn key(row: &Account) -> (String, i64) {
            (row.region.clone(), row.id)
        }
        async fn fetch(conn: &mut AsyncPgConnection, keys: &[(String, i64)]) -> QueryResult<Vec<Account>> {
            let regions: Vec<&str> = keys.iter().map(|k| k.0.as_str()).collect();
            accounts::table.filter(accounts::region.eq_any(regions)).select(Account::as_select()).load(conn).await
        }
        async fn upsert(_: &mut AsyncPgConnection, _: &[Account]) -> QueryResult<Vec<Account>> {
            Err(diesel::result::Error::RollbackTransaction)
        }
        async fn remove(_: &mut AsyncPgConnection, keys: &[(String, i64)]) -> QueryResult<usize> {
            Ok(keys.len() + 1)
        }
    }
    let Some(schema) = Schema::make("sql_sloppy").await else { return };
    schema.accounts().await.apply(&[put(account(1, 1)), put(account(2, 2))]).await.expect("applied");
    let store = Sql::<Sloppy>::new(schema.pool(1).await);
    let error = store.fetch(&[key(1)]).await.expect_err("two rows for one key");
    assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied));
    let error = store.apply(&[put(account(1, 1))]).await.expect_err("asked for");
    assert_eq!((error.kind(), error.outcome()), (Kind::Rejected, Outcome::NotApplied));
    let error = store.apply(&[delete(1)]).await.expect_err("removed more than asked");
    assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied));
}

/// Both forms of an eventual write answer a violated constraint alike, and the connection stays good.
async fn violations<const ONE: bool>(schema: &Schema) {
    let pool = schema.pool(1).await;
    let store = Sql::<Accounts<ONE>>::new(pool.clone());
    let changes: [fn(&mut Account); 4] =
        [|a| a.balance = -1, |a| a.code = Some("taken".into()), |a| a.owner = Some(1), |a| a.parent = Some(1)];
    let mut taken = account(1, 1);
    taken.code = Some("taken".into());
    store.apply(&[put(taken)]).await.expect("applied");
    for change in changes {
        let mut bad = account(2, 2);
        change(&mut bad);
        let error = store.apply(&[put(account(3, 3)), put(bad)]).await.expect_err("a constraint");
        assert_eq!((error.kind(), error.outcome()), (Kind::Rejected, Outcome::NotApplied), "{error}");
    }
    assert_eq!(schema.number("SELECT count(*) FROM accounts").await, 1);
    assert_eq!(pool.state().statistics.connections_created, 1, "no connection was thrown away");
}

#[tokio::test]
async fn violated_constraints_are_rejected_in_a_transaction() {
    let Some(schema) = Schema::make("sql_violated").await else { return };
    violations::<false>(&schema).await;
}

#[tokio::test]
async fn violated_constraints_are_rejected_in_one_statement() {
    let Some(schema) = Schema::make("sql_violated_one").await else { return };
    violations::<true>(&schema).await;
}

#[tokio::test]
async fn one_statement_is_one_statement() {
    let Some(schema) = Schema::make("sql_one").await else { return };
    let pool = schema.pool(1).await;
    // The last statement of a transaction is its commit's.
    let last =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO \"accounts\"%' AND application_name = 'sql_one'";
    Sql::<Accounts<true>>::new(pool.clone()).apply(&[put(account(1, 2))]).await.expect("applied");
    assert_eq!(schema.number(last).await, 1);
    Sql::<Accounts<false>>::new(pool).apply(&[put(account(1, 3))]).await.expect("applied");
    assert_eq!(schema.number(last).await, 0);
}

#[tokio::test]
async fn a_second_transaction_waits_for_the_row() {
    let Some(schema) = Schema::make("sql_waits").await else { return };
    let store = schema.accounts().await;
    let limit = Some(Duration::from_secs(2));
    store.apply(&[put(account(1, 0))]).await.expect("applied");
    let mut first = store.begin(limit).await.expect("begun");
    store.apply_in(&mut first, &[put(account(1, 1))]).await.expect("applied");
    let mut tasks = JoinSet::new();
    let other = store.clone();
    tasks.spawn(async move {
        let mut second = other.begin(limit).await?;
        let stored = other.apply_in(&mut second, &[delete(1)]).await?;
        second.commit().await.map(|()| stored)
    });
    schema.until(&waiting("sql_waits"), 1).await;
    first.commit().await.expect("committed");
    let stored = tasks.join_next().await.expect("one task").expect("no panic").expect("committed");
    assert_eq!(stored, [Stored::Gone], "the second saw what the first wrote");
}

#[tokio::test]
async fn a_panic_in_the_applications_code_costs_one_connection() {
    let Some(schema) = Schema::make("sql_panic").await else { return };
    let pool = schema.pool(1).await;
    let store = Sql::<Accounts<false>>::new(pool.clone());
    let mut tasks = JoinSet::new();
    let doomed = store.clone();
    tasks.spawn(async move { doomed.apply(&[put(account(1, 1)), Change::Put(account(2, PANIC))]).await });
    assert!(tasks.join_next().await.expect("one task").expect_err("it panicked").is_panic());
    store.apply(&[put(account(3, 3))]).await.expect("the pool has a good connection");
    assert_eq!(pool.state().statistics.connections_closed_broken, 1);
    assert_eq!(schema.number("SELECT count(*) FROM accounts").await, 1);
}

#[tokio::test]
async fn futures_dropped_anywhere_leave_no_open_transaction() {
    let Some(schema) = Schema::make("sql_dropped").await else { return };
    let pool = schema.pool(2).await;
    let store = Sql::<Accounts<false>>::new(pool.clone());
    for micros in 0..300_u64 {
        let write = async {
            let mut tx = store.begin(Some(Duration::from_secs(2))).await?;
            store.apply_in(&mut tx, &[put(account(1, 1)), delete(2)]).await?;
            tx.commit().await
        };
        let deadline = Tokio.now() + Duration::from_micros(micros * 10);
        if let Some(done) = until(&Tokio, deadline, write).await {
            done.expect("what was not dropped is committed");
        }
    }
    let idle =
        "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND application_name = 'sql_dropped'";
    schema.until(idle, 0).await;
    let closed = pool.state().statistics.connections_closed_broken;
    assert!(closed > 10, "only {closed} were dropped half-way");
    store.apply(&[put(account(1, 2))]).await.expect("the pool is healthy");
}
