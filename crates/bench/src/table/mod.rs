//! The one table of the bench, and the statements that all subjects share: what is compared is the caching around them.

mod postgres;
mod sqlite;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use writeway_core::sql::{Bookkeeping, CountTable, SqlTable};

pub(crate) use postgres::PgEntries;
pub(crate) use sqlite::SqliteEntries;

diesel::table! { entries (id) { id -> BigInt, amount -> BigInt, note -> Text, version -> BigInt, } }

/// A row, about as long in JSON as the run says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = entries)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) amount: i64,
    pub(crate) note: String,
    /// Counted up by SQL at each write; what is sent does not matter.
    pub(crate) version: i64,
}

/// What is counted of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = entries)]
pub(crate) struct Amount {
    pub(crate) amount: i64,
}
writeway_core::counts!(Amount { amount });

/// The table as Writeway is told of it, and as those see it who do without.
pub(crate) trait Entries: SqlTable<Key = i64, Row = Row, Connection: Bookkeeping> {
    /// Makes the table. Each row's versions are numbered 1, 2, 3 …, whoever writes it.
    const CREATE: &'static str;

    /// Statements that replace the table's content by rows `1..=keys` in version 1.
    fn load(keys: i64, value_bytes: usize) -> String;

    fn select(conn: &mut Self::Connection, id: i64) -> impl Future<Output = QueryResult<Option<Row>>> + Send;

    /// One upsert in a transaction of its own.
    fn upsert_in_transaction(conn: &mut Self::Connection, row: Row) -> impl Future<Output = QueryResult<Vec<Row>>> + Send;

    /// The table as one of counters.
    type Counted: CountTable<Key = i64, Counts = Amount, Connection = Self::Connection>;

    /// One more of a row, in one statement.
    fn increment(conn: &mut Self::Connection, id: i64) -> impl Future<Output = QueryResult<Vec<Row>>> + Send;

    /// The amounts of all rows together.
    fn total(conn: &mut Self::Connection) -> impl Future<Output = QueryResult<i64>> + Send;

    /// The version of every row.
    fn versions(conn: &mut Self::Connection) -> impl Future<Output = QueryResult<Vec<(i64, i64)>>> + Send;
}

/// The connection to a table.
pub(crate) type Connection<T> = <T as SqlTable>::Connection;

/// Bytes of a row's JSON around the note, for ids and amounts of five digits.
const AROUND_THE_NOTE: usize = 50;

/// How long the note must be for a row of so many bytes.
fn note_bytes(value_bytes: usize) -> usize {
    value_bytes.saturating_sub(AROUND_THE_NOTE).max(1)
}

impl Row {
    /// A row to be written.
    pub(crate) fn new(id: i64, amount: i64, value_bytes: usize) -> Self {
        Row { id, amount, note: "x".repeat(note_bytes(value_bytes)), version: 0 }
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
