//! PostgreSQL 12 or later, through diesel-async's own driver.

mod checked;
mod fence;
mod timeouts;

use std::time::Duration;

use diesel::QueryResult;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use super::connection::{Opening, SqlConnection};

pub use timeouts::ServerTimeouts;

/// - `SAVEPOINT` fails in a transaction in which a statement has failed, where `COMMIT` alone is answered with `ROLLBACK`,
///   a success to the driver; and it fails where no transaction is open, where `COMMIT` alone is answered with a warning.
/// - `SET CONSTRAINTS` runs the deferred checks and triggers now, because `statement_timeout` does not bound what `COMMIT`
///   itself runs: a COMMIT that waits in a trigger would land after the barrier of its keys has lapsed.
/// - What follows a statement that failed is not run.
const COMMIT: &str = "SAVEPOINT writeway; SET CONSTRAINTS ALL IMMEDIATE; COMMIT";

impl SqlConnection for AsyncPgConnection {
    type Manager = AsyncDieselConnectionManager<AsyncPgConnection>;

    const AUTOCOMMIT: bool = true;

    /// `AND CHAIN` is what makes it fail where no transaction is open.
    const ROLLBACK_OPEN: &'static str = "ROLLBACK AND CHAIN; ROLLBACK";

    async fn open(conn: &mut Self, commit_within: Option<Duration>) -> Result<(), Opening> {
        let unchecked = commit_within.filter(|&limit| checked::longest(conn).is_none_or(|longest| longest >= limit));
        let Some(limit) = unchecked else {
            return conn.batch_execute("BEGIN").await.map_err(Opening::Failed);
        };
        // Through a shared reference both are under way at once: the check costs no round trip of its own.
        let (mut first, mut second) = (&*conn, &*conn);
        let (begun, found) = tokio::join!(first.batch_execute("BEGIN"), timeouts::read(&mut second));
        begun.map_err(Opening::Failed)?;
        let longest = found.map_err(Opening::Failed)?.check(limit).map_err(Opening::Refused)?;
        checked::remember(conn, longest);
        Ok(())
    }

    async fn commit(conn: &mut Self) -> QueryResult<()> {
        conn.batch_execute(COMMIT).await
    }
}
