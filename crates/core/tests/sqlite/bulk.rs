//! `bulk_upsert!(… in Sqlite)`: any number of rows, keys without values.

use writeway_core::bulk_upsert;
use writeway_core::change::Stored;
use writeway_core::diesel;
use writeway_core::diesel::prelude::*;
use writeway_core::store::Store;

use crate::support::{File, account, put};

#[tokio::test]
async fn more_rows_than_one_statement_takes_are_one_transaction() {
    let file = File::make().await;
    let store = file.accounts();
    // Six parameters each, 32,766 in a statement.
    let changes: Vec<_> = (0..12_000).map(|id| put(account(id, id))).collect();
    let stored = store.apply(&changes).await.expect("applied");
    assert!(stored.into_iter().eq((0..12_000).map(|id| Stored::As(account(id, id)))));
    let mut changes: Vec<_> = (0..12_000).map(|id| put(account(id, id + 1))).collect();
    changes.push(put(account(12_000, -1)));
    store.apply(&changes).await.expect_err("the last row of the last statement is refused");
    assert_eq!(file.number("SELECT sum(balance - id) FROM accounts").await, 0, "all or none");
}

/// A row's type may be called as anything in the macro or in diesel is.
mod names {
    use super::diesel;
    use super::diesel::prelude::*;

    diesel::table! { lines (id) { id -> BigInt, } }

    #[derive(Queryable, Selectable)]
    #[diesel(table_name = lines)]
    pub(super) struct Query {
        pub(super) id: i64,
    }

    super::bulk_upsert!(pub(super) upsert_lines on lines: Query { key [id], set [] } in Sqlite);
}

mod schema {
    writeway_core::diesel::table! { use writeway_core::diesel::sql_types::*; tags (kind, name) { kind -> Integer, name -> Text, } }
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
    upsert_tags on schema::tags: Tag { key [kind, name], set [] } in Sqlite
}

#[tokio::test]
async fn a_table_of_keys_returns_rows_that_were_there() {
    let file = File::make().await;
    file.run("CREATE TABLE tags (name TEXT, kind INT, PRIMARY KEY (kind, name))").await;
    let mut conn = file.pools.writers().get().await.expect("the writer");
    let tags = [Tag { name: "a".into(), kind: 1 }, Tag { name: "b".into(), kind: 2 }];
    for _ in 0..2 {
        assert_eq!(upsert_tags(&tags).load(&mut conn).await.expect("upserted"), tags);
    }
    drop(conn);
    file.run("CREATE TABLE lines (id BIGINT PRIMARY KEY)").await;
    let mut conn = file.pools.writers().get().await.expect("the writer");
    let lines = names::upsert_lines(&[names::Query { id: 1 }]).load(&mut conn).await.expect("upserted");
    assert_eq!(lines.len(), 1);
    assert!(upsert_tags(&[]).load(&mut conn).await.expect("no statement").is_empty());
}
