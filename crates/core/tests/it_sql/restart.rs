//! A pool whose server went away heals by itself. Needs a server of its own.

use std::time::Duration;

use writeway_core::bb8;
use writeway_core::change::Change;
use writeway_core::error::Outcome;
use writeway_core::sql::{ServerTimeouts, Sql};
use writeway_core::store::{Store, Transaction};
use writeway_testkit::servers::Postgres;

use crate::support::{Accounts, Schema, account, key, put};

const POOL: u32 = 4;

/// A started server, and a store on a pool whose connections are all open.
async fn started<const ONE: bool>() -> Option<(Postgres, Schema, Sql<Accounts<ONE>>)> {
    let Some(server) = Postgres::from_env().expect("the binaries run") else {
        println!("SKIPPED: needs WRITEWAY_PG_BIN");
        return None;
    };
    let schema = Schema::make_in(&server.url(), "sql_restart").await;
    let pool = bb8::Pool::builder().max_size(POOL).min_idle(POOL).connection_customizer(Box::new(ServerTimeouts::default()));
    let store = Sql::new(pool.build(schema.manager()).await.expect("connects"));
    store.apply(&[put(account(1, 1))]).await.expect("applied");
    Some((server, schema, store))
}

#[tokio::test]
async fn reads_and_transactions_do_not_notice_a_restart() {
    let Some((mut server, schema, store)) = started::<false>().await else { return };
    for _ in 0..2 {
        server.restart().expect("restarted");
        // All of the pool's connections are dead: the first call meets them.
        assert_eq!(store.fetch(&[key(1)]).await.expect("on a new connection").len(), 1);
        server.restart().expect("restarted");
        let mut tx = store.begin(Some(Duration::from_secs(2))).await.expect("on a new connection");
        store.apply_in(&mut tx, &[put(account(1, 2))]).await.expect("applied");
        tx.commit().await.expect("committed");
    }
    assert_eq!(schema.number("SELECT balance FROM accounts").await, 2);
}

#[tokio::test]
async fn a_transaction_that_a_restart_ended_is_not_applied() {
    let Some((mut server, schema, store)) = started::<false>().await else { return };
    let mut tx = store.begin(None).await.expect("begun");
    store.apply_in(&mut tx, &[put(account(1, 2))]).await.expect("applied");
    server.restart().expect("restarted");
    let changes: [Change<_, _>; 1] = [put(account(3, 3))];
    let error = store.apply_in(&mut tx, &changes).await.expect_err("the connection is gone");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    assert!(error.is_retryable(), "{error}");
    tx.rollback().await;
    assert_eq!(schema.number("SELECT balance FROM accounts").await, 1);
}

#[tokio::test]
async fn one_statement_does_not_notice_a_restart_that_was_noticed_before_it() {
    let Some((mut server, schema, store)) = started::<true>().await else { return };
    server.restart().expect("restarted");
    // The driver's task must have had its turn to see that the connections are closed.
    assert_eq!(schema.number("SELECT 1").await, 1);
    store.apply(&[put(account(1, 5))]).await.expect("on a new connection");
}
