//! The one table of the bench, and the statements that all subjects share: what is compared is the caching around them.

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use writeway_core::bulk_upsert;
use writeway_core::sql::{Cached, SqlTable};

diesel::table! { entries (id) { id -> BigInt, amount -> BigInt, note -> Text, version -> BigInt, } }

/// Made in a schema of the run's own. The trigger numbers the versions of each row, whoever writes it.
pub(crate) const CREATE: &str = "
    CREATE TABLE entries (id bigint PRIMARY KEY, amount bigint NOT NULL, note text NOT NULL, version bigint NOT NULL);
    CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version := CASE TG_OP WHEN 'UPDATE' THEN OLD.version + 1 ELSE 1 END;
        RETURN NEW;
    END $$;
    CREATE TRIGGER next_version BEFORE INSERT OR UPDATE ON entries FOR EACH ROW EXECUTE FUNCTION next_version();
";

/// A row, about as long in JSON as the run says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = entries)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) amount: i64,
    pub(crate) note: String,
    /// Given by the trigger; what is sent does not matter.
    pub(crate) version: i64,
}

/// Bytes of a row's JSON around the note, for ids and amounts of five digits.
const AROUND_THE_NOTE: usize = 50;

/// How long the note must be for a row of so many bytes.
pub(crate) fn note_bytes(value_bytes: usize) -> usize {
    value_bytes.saturating_sub(AROUND_THE_NOTE).max(1)
}

impl Row {
    /// A row to be written.
    pub(crate) fn new(id: i64, amount: i64, value_bytes: usize) -> Self {
        Row { id, amount, note: "x".repeat(note_bytes(value_bytes)), version: 0 }
    }
}

/// One statement that replaces the table's content by rows `1..=keys` in version 1.
pub(crate) fn load(keys: i64, value_bytes: usize) -> String {
    let note = note_bytes(value_bytes);
    format!("TRUNCATE entries; INSERT INTO entries SELECT n, n * 10, repeat('x', {note}), 1 FROM generate_series(1, {keys}) n")
}

pub(crate) async fn select(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<Option<Row>> {
    entries::table.find(id).select(Row::as_select()).first(conn).await.optional()
}

bulk_upsert!(upsert_many on entries: Row { key [id], set [amount, note] });

/// Insert or replace, and the rows as they now stand; prepared once per connection for one row, and once for any other number.
pub(crate) async fn upsert(conn: &mut AsyncPgConnection, rows: &[Row]) -> QueryResult<Vec<Row>> {
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

/// The version of every row.
pub(crate) async fn versions(conn: &mut AsyncPgConnection) -> QueryResult<Vec<(i64, i64)>> {
    entries::table.select((entries::id, entries::version)).load(conn).await
}

/// The table as Writeway is told of it.
pub(crate) struct Entries;

impl SqlTable for Entries {
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

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Row]) -> QueryResult<Vec<Row>> {
        upsert(conn, rows).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(entries::table.filter(entries::id.eq_any(keys))).execute(conn).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_about_as_long_as_asked() {
        for bytes in [100, 1_024] {
            let row = Row { version: 1, ..Row::new(12_345, 123_456, bytes) };
            let length = serde_json::to_vec(&row).expect("plain fields").len();
            assert!(length.abs_diff(bytes) < 12, "{length} for {bytes}");
        }
    }
}
