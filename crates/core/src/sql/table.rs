//! What an application writes for each table.

use std::future::Future;

use diesel::QueryResult;

use super::connection::SqlConnection;
use crate::codec::Row;
use crate::key::Key;

/// One table, in plain diesel on one concrete connection type.
///
/// The functions are called with at least one key or row, each key at most once, in key order. What panics or is dropped in
/// them costs its connection, nothing else.
///
/// A row may lie in several SQL tables: `upsert` and `remove` may send any statements, which are in effect together or not at all
/// (unless [`ONE_STATEMENT`](SqlTable::ONE_STATEMENT)), and `fetch` joins them. One statement for a fetch is one snapshot.
pub trait SqlTable: Send + Sync + 'static {
    /// The version of the row's meaning, raised by hand; rows cached under another version are a miss. Default 0.
    const SCHEMA: u32 = 0;

    /// The promise that [`upsert`](SqlTable::upsert) and [`remove`](SqlTable::remove) each send exactly one statement and read
    /// its answer to the end (`load`, `get_results`, `execute`; not `get_result` or `first`, which leave before the server has
    /// said whether the commit succeeded). An eventual write is then that one statement, committed by itself: one round trip
    /// instead of three; in SQLite, where there is none to save, every write is a transaction all the same. Default `false`: every write is a transaction, whatever the functions send.
    const ONE_STATEMENT: bool = false;

    /// The connection of the pool.
    type Connection: SqlConnection;
    /// The primary key. Its equality must be SQL's.
    type Key: Key;
    /// The rows.
    type Row: Row;

    /// The key of a row.
    fn key(row: &Self::Row) -> Self::Key;

    /// The rows that exist among `keys`, in any order. Reads only: it is repeated when it meets a dead connection.
    ///
    /// # Errors
    /// diesel's, as they come.
    fn fetch(conn: &mut Self::Connection, keys: &[Self::Key]) -> impl Future<Output = QueryResult<Vec<Self::Row>>> + Send;

    /// Inserts or replaces the rows, and returns them as they now stand (`RETURNING`): triggers, defaults and rounding make
    /// them something else than what was put. A row that is not returned is invalidated in the cache instead of published.
    /// Other rows that go or change with these (`ON DELETE CASCADE`, `REPLACE`) keep their cached copies: that is for a transaction of
    /// your own, which names them.
    ///
    /// # Errors
    /// diesel's, as they come.
    fn upsert(conn: &mut Self::Connection, rows: &[Self::Row]) -> impl Future<Output = QueryResult<Vec<Self::Row>>> + Send;

    /// Removes the rows, and returns how many there were: what `diesel::delete(…).execute(conn)` returns.
    ///
    /// # Errors
    /// diesel's, as they come.
    fn remove(conn: &mut Self::Connection, keys: &[Self::Key]) -> impl Future<Output = QueryResult<usize>> + Send;
}
