//! Who may have the file open: one process alone, or several that know of each other.
//!
//! It is a lock of SQLite's own, on a database beside the file that never has contents: as portable as SQLite, and gone with the
//! process.

use std::sync::Mutex;

use diesel::connection::{Connection, SimpleConnection};
use diesel::sqlite::SqliteConnection;

use crate::error::{Error, Result};

/// Alone: written to, so that a lock file that may only be read is no lock; and never committed.
const ALONE: &str = "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE; CREATE TABLE held (x)";
/// With others: a read that does not end.
const TOGETHER: &str = "BEGIN; SELECT count(*) FROM sqlite_schema";

/// Held for as long as it lives.
pub(super) struct Lock {
    _held: Mutex<SqliteConnection>,
}

impl Lock {
    /// Takes the lock of a file for this process alone, at once or not at all.
    pub(super) fn alone(path: &str) -> Result<Lock> {
        take(path, ALONE, TAKEN)
    }

    /// Takes the lock of a file together with others that do so.
    pub(super) fn together(path: &str) -> Result<Lock> {
        take(path, TOGETHER, TAKEN_ALONE)
    }
}

fn take(path: &str, how: &str, taken: &'static str) -> Result<Lock> {
    let mut conn = SqliteConnection::establish(&format!("{path}-lock")).map_err(|e| unopened().with_source(e))?;
    conn.batch_execute(how).map_err(|cause| {
        let is_taken = cause.to_string().starts_with("database is locked");
        if is_taken { Error::invalid(taken) } else { unopened() }.with_source(cause)
    })?;
    Ok(Lock { _held: Mutex::new(conn) })
}

fn unopened() -> Error {
    Error::unavailable("the lock beside the SQLite file could not be taken: may this process write to the directory?")
}

const TAKEN: &str = "the SQLite file is open already, here or in another process, and a cache in one process does not hear of \
    another's writes. Clone the `Pools` instead of opening it again; several processes need `open_shared`, and Redis as the cache";
const TAKEN_ALONE: &str = "another process, or this one, has opened the SQLite file for itself alone: all must use `open_shared`";
