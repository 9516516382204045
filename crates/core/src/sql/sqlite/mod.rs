//! SQLite, bundled, in a file: for one process with the in-process cache, or for several with Redis.
//!
//! [`Sqlite::open`] makes the pools: some connections that only read, and one that writes, because SQLite has one writer at a
//! time: the others would poll for their turn, here they queue for the connection.

mod connection;
mod fence;
mod lock;
mod open;
mod threads;

use std::time::Duration;

use diesel::QueryResult;
use diesel_async::SimpleAsyncConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;

use super::connection::{Opening, SqlConnection};

pub use connection::AsyncSqliteConnection;
pub use open::Sqlite;

impl SqlConnection for AsyncSqliteConnection {
    type Manager = AsyncDieselConnectionManager<AsyncSqliteConnection>;

    /// There is no round trip to save.
    const AUTOCOMMIT: bool = false;

    /// SQLite itself refuses it where no transaction is open.
    const ROLLBACK_OPEN: &'static str = "ROLLBACK";

    /// There is no server to end a stalled transaction: [`commit`](Self::commit) looks at the time itself.
    async fn open(conn: &mut Self, commit_within: Option<Duration>) -> Result<(), Opening> {
        conn.commit_within(commit_within);
        conn.batch_execute("BEGIN IMMEDIATE").await.map_err(Opening::Failed)
    }

    async fn commit(conn: &mut Self) -> QueryResult<()> {
        conn.commit_in_time().await
    }
}
