//! One process at a time: a lock beside the file.
//!
//! It is a lock of SQLite's own, on a database without contents: as portable as SQLite, and gone with the process.

use std::sync::Mutex;

use diesel::connection::{Connection, SimpleConnection};
use diesel::sqlite::SqliteConnection;

use crate::error::{Error, Result};

/// Held for as long as it lives.
pub(super) struct Lock {
    _held: Mutex<SqliteConnection>,
}

impl Lock {
    /// Takes the lock of a file, at once or not at all.
    pub(super) async fn take(path: &str) -> Result<Lock> {
        let lock = format!("{path}-lock");
        let taking = tokio::task::spawn_blocking(move || {
            let mut conn = SqliteConnection::establish(&lock).map_err(|e| Error::unavailable(UNOPENED).with_source(e))?;
            // It is never written to.
            conn.batch_execute("BEGIN EXCLUSIVE").map_err(|e| Error::invalid(TAKEN).with_source(e))?;
            Ok(Lock { _held: Mutex::new(conn) })
        });
        taking.await.unwrap_or_else(|e| Err(Error::unavailable(UNOPENED).with_source(e)))
    }
}

const UNOPENED: &str = "the lock beside the SQLite file could not be opened: may this process write to the directory?";
const TAKEN: &str = "the SQLite file is open already, here or in another process, and a cache in one process does not hear of \
    another's writes. Clone the `Pools` instead of opening it again; several processes need `open_shared`, and Redis as the cache";
