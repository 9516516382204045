//! The pools of one file.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};

use super::connection::AsyncSqliteConnection;
use super::lock::Lock;
use crate::error::{Error, Result};
use crate::sql::classify::classify_checkout;
use crate::sql::connection::Pool;
use crate::sql::pools::Pools;

/// Connections that only read. A read is short and takes a core.
const READERS: u32 = 4;

/// Opens files of SQLite.
///
/// What SQLite is not: there is one writer at a time for the whole file, so a transaction that is left open keeps all others
/// waiting, also those of other tables; a write that is made while one's own transaction is open waits for it in vain. A statement
/// that failed does not keep the rest of its transaction from being committed, as PostgreSQL does. There is no server to end a
/// stalled COMMIT: a strict write that meets a disk that stalls for longer than `commit_within` may let an old row be cached.
#[derive(Clone, Copy, Debug)]
pub struct Sqlite;

impl Sqlite {
    /// The file at `path`, made if it is not there, for this process alone: while the pools live, nobody else can open it in this
    /// way. That is what the in-process cache needs, which does not hear of other processes' writes. Beside the file there will be
    /// `<path>-wal`, `<path>-shm` and `<path>-lock`.
    ///
    /// # Errors
    /// `Invalid` if the path is no path of a file, or the file is open already. `Unavailable` if it cannot be opened.
    pub async fn open(path: impl AsRef<Path> + Send) -> Result<Pools<AsyncSqliteConnection>> {
        let path = checked(path.as_ref())?;
        let lock = Lock::take(&path).await?;
        pools(&path, Some(Arc::new(lock))).await
    }

    /// The file at `path` for several processes on one machine, which then must use Redis as the cache and
    /// [`open_shared`](Sqlite::open_shared), all of them. Nothing checks that.
    ///
    /// # Errors
    /// As [`open`](Sqlite::open).
    pub async fn open_shared(path: impl AsRef<Path> + Send) -> Result<Pools<AsyncSqliteConnection>> {
        pools(&checked(path.as_ref())?, None).await
    }
}

/// As SQLite wants it: no URI, nothing in memory.
fn checked(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.is_empty() && !text.starts_with(':') && !text.starts_with("file:"));
    text.map(str::to_owned).ok_or_else(|| Error::invalid("SQLite needs the path of a file, in UTF-8"))
}

async fn pools(path: &str, kept: Option<Arc<dyn Any + Send + Sync>>) -> Result<Pools<AsyncSqliteConnection>> {
    // Makes the file, or says at once what is wrong with it: a pool would try again for a while.
    let unopened = |e| Error::unavailable("the SQLite file could not be opened").with_source(e);
    drop(AsyncSqliteConnection::establish(path).await.map_err(unopened)?);
    let (readers, writers) = (pool(path, READERS, true).await?, pool(path, 1, false).await?);
    Ok(Pools::keeping(readers, writers, kept))
}

async fn pool(path: &str, size: u32, reads_only: bool) -> Result<Pool<AsyncSqliteConnection>> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |path| {
        let path = path.to_owned();
        Box::pin(async move {
            let mut conn = AsyncSqliteConnection::establish(&path).await?;
            if reads_only {
                let failed = diesel::ConnectionError::CouldntSetupConfiguration;
                conn.batch_execute("PRAGMA query_only = ON").await.map_err(failed)?;
            }
            Ok(conn)
        })
    });
    let manager = AsyncDieselConnectionManager::new_with_config(path, config);
    let built = bb8::Pool::builder().max_size(size).build(manager).await;
    built.map_err(|e| classify_checkout(bb8::RunError::User(e)))
}
