//! `bulk_upsert!` and the prepared-statement cache.

use std::time::Duration;

use writeway_core::change::Stored;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel_async::RunQueryDsl;
use writeway_core::error::{Kind, Outcome};
use writeway_core::sql::{Cached, ServerTimeouts, Sql, SqlTable};
use writeway_core::store::Store;
use writeway_core::{bb8, bulk_upsert, diesel};

use crate::support::{Accounts, Schema, account, accounts, key, number, put, stamps};

#[tokio::test]
async fn seventy_thousand_rows_are_one_statement() {
    let Some(schema) = Schema::make("sql_bulk").await else { return };
    let patient = Box::new(ServerTimeouts::default().statement(Duration::from_secs(60)));
    let pool = bb8::Pool::builder().max_size(1).connection_customizer(patient).build(schema.manager()).await.expect("connects");
    let store = Sql::<Accounts<true>>::new(pool);
    let changes: Vec<_> = (0..70_000).map(|id| put(account(id, id))).collect();
    let stored = store.apply(&changes).await.expect("applied");
    assert!(stamps(&stored).into_iter().eq((0..70_000).map(|id| Some(10 * id))));
    let keys: Vec<_> = (0..70_000).map(key).collect();
    assert_eq!(store.fetch(&keys).await.expect("fetched").len(), 70_000);
}

#[tokio::test]
async fn statements_are_prepared_once_whatever_the_number_of_rows() {
    let Some(schema) = Schema::make("sql_prepared").await else { return };
    let pool = schema.pool(1).await;
    let store = Sql::<Accounts<false>>::new(pool.clone());
    let prepared = "SELECT count(*) FROM pg_prepared_statements";
    let mut counts = Vec::new();
    for round in 1..=20 {
        let mut changes: Vec<_> = (0..round).map(|id| put(account(id, id))).collect();
        changes.push(crate::support::delete(1_000));
        store.apply(&changes).await.expect("applied");
        store.fetch(&[key(1), key(round)]).await.expect("fetched");
        counts.push(number(&mut pool.get().await.expect("idle"), prepared).await);
    }
    // The first round's own count is prepared before it counts, diesel's key of the fetch and of the delete is their type.
    assert_eq!(counts, vec![counts[0]; 20]);
    assert!(counts[0] <= 4, "{counts:?}");
}

#[tokio::test]
async fn cached_keeps_what_diesel_would_prepare_anew() {
    let Some(schema) = Schema::make("sql_cached").await else { return };
    let mut conn = schema.connect().await;
    let kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%'";
    let update = || diesel::update(accounts::table).set(accounts::balance.eq(accounts::balance + 1));
    for _ in 0..3 {
        update().execute(&mut conn).await.expect("updated");
    }
    assert_eq!(number(&mut conn, kept).await, 0);
    for _ in 0..3 {
        Cached(update()).execute(&mut conn).await.expect("updated");
    }
    assert_eq!(number(&mut conn, kept).await, 1);
}

#[tokio::test]
async fn more_than_65_535_parameters_are_invalid_and_cost_no_connection() {
    struct Values;
    impl SqlTable for Values {
        const ONE_STATEMENT: bool = true;
        type Connection = writeway_core::diesel_async::AsyncPgConnection;
        type Key = i64;
        type Row = i64;
        fn key(row: &i64) -> i64 {
            *row
        }
        async fn fetch(_: &mut Self::Connection, _: &[i64]) -> QueryResult<Vec<i64>> {
            Ok(vec![])
        }
        async fn upsert(conn: &mut Self::Connection, rows: &[i64]) -> QueryResult<Vec<i64>> {
            let values: Vec<_> = rows.iter().map(|id| plain::id.eq(id)).collect();
            diesel::insert_into(plain::table).values(values).returning(plain::id).load(conn).await
        }
        async fn remove(_: &mut Self::Connection, _: &[i64]) -> QueryResult<usize> {
            Ok(0)
        }
    }
    diesel::table! { plain (id) { id -> BigInt, } }

    let Some(schema) = Schema::make("sql_binds").await else { return };
    schema.run("CREATE TABLE plain (id BIGINT PRIMARY KEY)").await;
    let pool = schema.pool(1).await;
    let changes: Vec<_> = (0..70_000).map(writeway_core::change::Change::Put).collect();
    let error = Sql::<Values>::new(pool.clone()).apply(&changes).await.expect_err("too many");
    assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied), "{error}");
    let few: Vec<_> = (0..10).map(writeway_core::change::Change::Put).collect();
    assert_eq!(Sql::<Values>::new(pool.clone()).apply(&few).await.expect("applied")[9], Stored::As(9));
    assert_eq!(pool.state().statistics.connections_created, 1);
}

mod schema {
    writeway_core::diesel::table! { use writeway_core::diesel::sql_types::*; tags (kind, name) { kind -> Int4, name -> Text, } }
}
use schema::tags;

#[derive(Clone, Debug, PartialEq, Queryable, Selectable)]
#[diesel(table_name = tags)]
struct Tag {
    name: String,
    kind: i32,
}

bulk_upsert! {
    /// Keys only, a path, and fields in another order than the columns.
    upsert_tags on schema::tags: Tag { key [kind, name], set [] }
}

#[tokio::test]
async fn a_table_of_keys_returns_rows_that_were_there() {
    let Some(schema) = Schema::make("sql_tags").await else { return };
    schema.run("CREATE TABLE tags (name TEXT, kind INT, PRIMARY KEY (kind, name))").await;
    let mut conn = schema.connect().await;
    let tags = [Tag { name: "a".into(), kind: 1 }, Tag { name: "b".into(), kind: 2 }];
    for _ in 0..2 {
        let returned: Vec<Tag> = upsert_tags(&tags).load(&mut conn).await.expect("upserted");
        assert_eq!(returned, tags);
    }
    let again: Vec<Tag> = Cached(tags::table.select(Tag::as_select()).order(tags::kind)).load(&mut conn).await.expect("read");
    assert_eq!(again, tags);
}
