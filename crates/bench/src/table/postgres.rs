//! The table in PostgreSQL.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::upsert::excluded;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use writeway_core::sql::{Cached, CountTable, SqlTable};
use writeway_core::{bulk_add, bulk_upsert};

use super::{Amount, Entries, Row, entries, note_bytes};

pub(crate) struct PgEntries;

bulk_upsert!(upsert_many on entries: Row { key [id], set [amount, note] });

impl SqlTable for PgEntries {
    const ONE_STATEMENT: bool = true;
    type Connection = AsyncPgConnection;
    type Key = i64;
    type Row = Row;

    fn key(row: &Row) -> i64 {
        row.id
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<Row>> {
        entries::table.filter(entries::id.eq_any(keys)).select(Row::as_select()).load(conn).await
    }

    /// Prepared once per connection for one row, and once for any other number.
    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Row]) -> QueryResult<Vec<Row>> {
        if rows.len() > 1 {
            return upsert_many(rows).load(conn).await;
        }
        let insert = diesel::insert_into(entries::table)
            .values(rows)
            .on_conflict(entries::id)
            .do_update()
            .set((entries::amount.eq(excluded(entries::amount)), entries::note.eq(excluded(entries::note))))
            .returning(Row::as_returning());
        Cached(insert).load(conn).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(entries::table.filter(entries::id.eq_any(keys))).execute(conn).await
    }
}

impl Entries for PgEntries {
    const CREATE: &'static str = "
        CREATE TABLE entries (id bigint PRIMARY KEY, amount bigint NOT NULL, note text NOT NULL, version bigint NOT NULL);
        CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := CASE TG_OP WHEN 'UPDATE' THEN OLD.version + 1 ELSE 1 END;
            RETURN NEW;
        END $$;
        CREATE TRIGGER next_version BEFORE INSERT OR UPDATE ON entries FOR EACH ROW EXECUTE FUNCTION next_version();
    ";

    fn load(keys: i64, value_bytes: usize) -> String {
        let note = note_bytes(value_bytes);
        format!(
            "TRUNCATE entries; INSERT INTO entries SELECT n, n * 10, repeat('x', {note}), 1 FROM generate_series(1, {keys}) n"
        )
    }

    async fn select(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<Option<Row>> {
        entries::table.find(id).select(Row::as_select()).first(conn).await.optional()
    }

    async fn upsert_in_transaction(conn: &mut AsyncPgConnection, row: Row) -> QueryResult<Vec<Row>> {
        conn.transaction(async |conn| Self::upsert(conn, &[row]).await).await
    }

    type Counted = PgCounted;

    async fn increment(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<Vec<Row>> {
        let one_more = diesel::update(entries::table.find(id)).set(entries::amount.eq(entries::amount + 1));
        Cached(one_more.returning(Row::as_returning())).load(conn).await
    }

    async fn total(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
        diesel::select(sql::<BigInt>("(SELECT coalesce(sum(amount), 0)::bigint FROM entries)")).get_result(conn).await
    }

    async fn versions(conn: &mut AsyncPgConnection) -> QueryResult<Vec<(i64, i64)>> {
        entries::table.select((entries::id, entries::version)).load(conn).await
    }
}

// An upsert would need the other columns.
bulk_add!(add_amounts on entries: (i64, Amount) { key [id], add [amount], existing only });

pub(crate) struct PgCounted;

impl CountTable for PgCounted {
    type Connection = AsyncPgConnection;
    type Key = i64;
    type Counts = Amount;

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<(i64, Amount)>> {
        let rows = entries::table.filter(entries::id.eq_any(keys)).select((entries::id, Amount::as_select()));
        rows.load(conn).await
    }

    async fn add(conn: &mut AsyncPgConnection, increments: &[(i64, Amount)]) -> QueryResult<Vec<(i64, Amount)>> {
        add_amounts(conn, increments).await
    }
}
