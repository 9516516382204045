//! The pools of one file.

use std::path::Path;
use std::sync::Arc;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection::AsyncSqliteConnection;
use super::lock::Lock;
use super::threads::Shared;
use crate::error::{Error, Result};
use crate::sql::classify::classify_checkout;
use crate::sql::connection::Pool;
use crate::sql::pools::Pools;

/// Connections that only read. A read is short and takes a core.
const READERS: u32 = 4;

/// Opens files of SQLite.
///
/// The pools belong to the tokio runtime in which the file was opened, and use it up to its end: a statement that nobody waits for
/// any more still runs, and the end of the runtime waits for it.
///
/// What SQLite is not: there is one writer at a time for the whole file, so a transaction that is left open keeps all others
/// waiting, also those of other tables; a write that is made while one's own transaction is open waits for it in vain. There is no
/// server to end a stalled COMMIT: it is refused if it comes later than three quarters of `commit_within` after the transaction's
/// last statement, and a disk that stalls after that, or a process that is frozen in that moment, may let an old row be cached.
#[derive(Clone, Copy, Debug)]
pub struct Sqlite;

impl Sqlite {
    /// The file at `path`, made if it is not there, for this process alone: while the pools or anything of them lives, nobody else
    /// can open it. That is what the in-process cache needs, which does not hear of other processes' writes. Beside the file there
    /// will be `<path>-wal`, `<path>-shm` and `<path>-lock`. Two hard links to one file are two files to the lock.
    ///
    /// # Errors
    /// `Invalid` if the path is not that of a file of SQLite in a directory that is there and writable, or the file is open already.
    /// `Unavailable` if it cannot be opened for another reason.
    pub async fn open(path: impl AsRef<Path> + Send) -> Result<Pools<AsyncSqliteConnection>> {
        pools(path.as_ref(), Lock::alone).await
    }

    /// The file at `path` for several processes on one machine, which then must use Redis as the cache: nothing checks that.
    ///
    /// # Errors
    /// As [`open`](Sqlite::open); also `Invalid` while somebody has it open alone.
    pub async fn open_shared(path: impl AsRef<Path> + Send) -> Result<Pools<AsyncSqliteConnection>> {
        pools(path.as_ref(), Lock::together).await
    }
}

async fn pools(path: &Path, lock: fn(&str) -> Result<Lock>) -> Result<Pools<AsyncSqliteConnection>> {
    let named = text(path).filter(|text| !text.starts_with(':') && !text.starts_with("file:") && !text.starts_with("sqlite:"));
    let named = named.filter(|_| !path.is_dir()).ok_or_else(no_file)?;
    // Makes the file, or says at once what is wrong with it: a pool would try again for a while.
    drop(AsyncSqliteConnection::establish(&named).await.map_err(refused)?);
    let unopened = || Error::unavailable("the SQLite file could not be opened");
    // Whatever the directory will be, and by whatever name somebody else opens it.
    let path = std::fs::canonicalize(path).map_err(|e| unopened().with_source(e))?;
    let path = text(&path).ok_or_else(no_file)?;
    let beside = path.clone();
    let lock = spawn_blocking(move || lock(&beside)).await.map_err(|e| unopened().with_source(e))??;
    let lock = Some(Arc::new(lock));
    let (readers, writers) = (pool(&path, READERS, true, lock.clone()).await?, pool(&path, 1, false, lock).await?);
    Ok(Pools::in_turn(readers, writers))
}

/// A path as SQLite takes it.
fn text(path: &Path) -> Option<String> {
    path.to_str().filter(|text| !text.is_empty() && !text.contains('\0')).map(str::to_owned)
}

fn no_file() -> Error {
    Error::invalid("SQLite needs the path of a file, in UTF-8: no directory, no URL, nothing in memory")
}

/// Why the file cannot be opened.
fn refused(cause: ConnectionError) -> Error {
    let text = cause.to_string();
    let error = if text.contains("file is not a database") {
        Error::invalid("the SQLite file is no database, or a damaged one")
    } else if text.contains("unable to open database file") {
        Error::invalid("the SQLite file cannot be opened: is there such a directory, and may this process write to it?")
    } else {
        Error::unavailable("the SQLite file could not be opened")
    };
    error.with_source(cause)
}

async fn pool(path: &str, size: u32, reads_only: bool, lock: Option<Arc<Lock>>) -> Result<Pool<AsyncSqliteConnection>> {
    // As many again as have been given up.
    let calls = Semaphore::new(usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(2));
    let shared = Shared { _lock: lock, calls: Arc::new(calls) };
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |path| Box::pin(connect(path.to_owned(), shared.clone(), reads_only)));
    let manager = AsyncDieselConnectionManager::new_with_config(path, config);
    // What lies in a file does not age.
    let builder = bb8::Pool::builder().max_size(size).idle_timeout(None).max_lifetime(None);
    builder.build(manager).await.map_err(|e| classify_checkout(bb8::RunError::User(e)))
}

async fn connect(path: String, shared: Shared, reads_only: bool) -> ConnectionResult<AsyncSqliteConnection> {
    let mut conn = AsyncSqliteConnection::connect(&path, Some(shared)).await?;
    if reads_only {
        conn.batch_execute("PRAGMA query_only = ON").await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    }
    Ok(conn)
}
