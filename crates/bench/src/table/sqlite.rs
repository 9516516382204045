//! The table in SQLite, where `RETURNING` does not see what a trigger does: the upsert itself counts the versions.

use diesel::dsl::{AsSelect, SqlTypeOf, sql};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel_async::{AsyncConnection, RunQueryDsl};
use writeway_core::bulk_add;
use writeway_core::sql::{AsyncSqliteConnection, CountTable, SqlTable};

use super::{Amount, Entries, Row, entries, note_bytes};

pub(crate) struct SqliteEntries;

/// Up to the 10,922 rows for which a statement has parameters, more than a batch of write-back has.
struct Upsert<'r>(&'r [Row]);

impl QueryId for Upsert<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Upsert<'_> {
    type SqlType = SqlTypeOf<AsSelect<Row, Sqlite>>;
}

impl QueryFragment<Sqlite> for Upsert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        if self.0.len() > 1 {
            // A text for each number of rows would fill the cache of statements.
            out.unsafe_to_cache_prepared();
        }
        let mut before = "INSERT INTO entries (id, amount, note, version) VALUES (";
        for row in self.0 {
            out.push_sql(std::mem::replace(&mut before, ", 1), ("));
            out.push_bind_param::<BigInt, _>(&row.id)?;
            out.push_sql(", ");
            out.push_bind_param::<BigInt, _>(&row.amount)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, _>(&row.note)?;
        }
        out.push_sql(", 1) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, note = excluded.note, ");
        out.push_sql("version = entries.version + 1 RETURNING id, amount, note, version");
        Ok(())
    }
}

impl SqlTable for SqliteEntries {
    const ONE_STATEMENT: bool = true;
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Row = Row;

    fn key(row: &Row) -> i64 {
        row.id
    }

    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<Vec<Row>> {
        entries::table.filter(entries::id.eq_any(keys)).select(Row::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Row]) -> QueryResult<Vec<Row>> {
        Upsert(rows).load(conn).await
    }

    async fn remove(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(entries::table.filter(entries::id.eq_any(keys))).execute(conn).await
    }
}

impl Entries for SqliteEntries {
    const CREATE: &'static str = "
        CREATE TABLE entries (id INTEGER PRIMARY KEY, amount BIGINT NOT NULL, note TEXT NOT NULL, version BIGINT NOT NULL)";

    fn load(keys: i64, value_bytes: usize) -> String {
        let note = "x".repeat(note_bytes(value_bytes));
        // The log starts empty, too.
        format!(
            "BEGIN IMMEDIATE; DELETE FROM entries;
            WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {keys})
            INSERT INTO entries SELECT n, n * 10, '{note}', 1 FROM series WHERE n <= {keys};
            COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
        )
    }

    async fn select(conn: &mut AsyncSqliteConnection, id: i64) -> QueryResult<Option<Row>> {
        entries::table.find(id).select(Row::as_select()).first(conn).await.optional()
    }

    async fn upsert_in_transaction(conn: &mut AsyncSqliteConnection, row: Row) -> QueryResult<Vec<Row>> {
        conn.transaction(async |conn| Self::upsert(conn, &[row]).await).await
    }

    type Counted = SqliteCounted;

    async fn increment(conn: &mut AsyncSqliteConnection, id: i64) -> QueryResult<Vec<Row>> {
        let one_more = (entries::amount.eq(entries::amount + 1), entries::version.eq(entries::version + 1));
        diesel::update(entries::table.find(id)).set(one_more).returning(Row::as_returning()).load(conn).await
    }

    async fn total(conn: &mut AsyncSqliteConnection) -> QueryResult<i64> {
        diesel::select(sql::<BigInt>("(SELECT coalesce(sum(amount), 0) FROM entries)")).get_result(conn).await
    }

    async fn versions(conn: &mut AsyncSqliteConnection) -> QueryResult<Vec<(i64, i64)>> {
        entries::table.select((entries::id, entries::version)).load(conn).await
    }
}

// An upsert would need the other columns.
bulk_add!(add_amounts on entries: (i64, Amount) { key [id], add [amount], existing only } in Sqlite);

pub(crate) struct SqliteCounted;

impl CountTable for SqliteCounted {
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Counts = Amount;

    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<Vec<(i64, Amount)>> {
        let rows = entries::table.filter(entries::id.eq_any(keys)).select((entries::id, Amount::as_select()));
        rows.load(conn).await
    }

    async fn add(conn: &mut AsyncSqliteConnection, increments: &[(i64, Amount)]) -> QueryResult<Vec<(i64, Amount)>> {
        add_amounts(conn, increments).await
    }
}
