//! The store contract over PostgreSQL.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use writeway_core::diesel::QueryResult;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel_async::pooled_connection::AsyncDieselConnectionManager;
use writeway_core::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use writeway_core::runtime::Tokio;
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::{Pool, ServerTimeouts, Sql, SqlTable};
use writeway_core::{bb8, bulk_upsert};
use writeway_testkit::contract::{self, StoreSubject};

diesel::table! {
    cells (id) {
        id -> BigInt,
        value -> BigInt,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = cells)]
#[serde(crate = "writeway_core::serde")]
struct Row {
    id: i64,
    value: i64,
}

bulk_upsert!(upsert_cells on cells: Row { key [id], set [value] });

struct Cells<const ONE: bool>;

impl<const ONE: bool> SqlTable for Cells<ONE> {
    const ONE_STATEMENT: bool = ONE;
    type Connection = AsyncPgConnection;
    type Key = i64;
    type Row = Row;

    fn key(row: &Row) -> i64 {
        row.id
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<Row>> {
        cells::table.filter(cells::id.eq_any(keys)).select(Row::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Row]) -> QueryResult<Vec<Row>> {
        upsert_cells(rows).load(conn).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(cells::table.filter(cells::id.eq_any(keys))).execute(conn).await
    }
}

async fn run<const ONE: bool>(implementation: &str, first_key: u32) {
    let Ok(url) = env::var("DATABASE_URL") else {
        return contract::not_run(&format!("store contract over {implementation}"), "needs DATABASE_URL");
    };
    let schema = format!("contract_{first_key}");
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}options=-csearch_path%3D{schema}");
    let mut connection = AsyncPgConnection::establish(&url).await.expect("the server is there");
    let setup = format!(
        "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema};
         CREATE TABLE cells (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)"
    );
    connection.batch_execute(&setup).await.expect("the statements are right");
    let manager = AsyncDieselConnectionManager::new(&url);
    let pool = bb8::Pool::builder().max_size(4).connection_customizer(Box::new(ServerTimeouts::default()));
    let pool: Pool<AsyncPgConnection> = pool.build(manager).await.expect("the server is there");
    let subject = StoreSubject {
        store: Sql::<Cells<ONE>>::new(pool),
        runtime: Arc::new(Tokio),
        key: i64::from,
        row: |key, value| Row { id: key.into(), value: value.try_into().expect("small") },
        value: |row| row.value.try_into().expect("not negative"),
        first_key,
        patience: Duration::from_millis(200),
        commit_within: Some(Duration::from_secs(2)),
        one_writer: false,
    };
    let ran = contract::store(implementation, &subject).await;
    ran.assert_held();
    assert!(ran.left_out.is_empty(), "{ran}");
}

#[tokio::test]
async fn keeps_the_contract_in_transactions() {
    run::<false>("PostgreSQL", 1_000).await;
}

#[tokio::test]
async fn keeps_the_contract_by_one_statement() {
    run::<true>("PostgreSQL, one statement a write", 2_000).await;
}
