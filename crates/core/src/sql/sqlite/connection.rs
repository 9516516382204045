//! An asynchronous connection to SQLite: each call runs on a thread that may block.
//!
//! diesel-async's own wrapper makes the dropping of a future wait for its statement, which blocks the thread that drops it, and
//! panics on a runtime of one thread. Here a call that was dropped goes on in its thread, the connection is of no more use from then
//! on, and the pool closes it: the thread that ends last rolls back what is open.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use diesel::connection::{CacheSize, Instrumentation};
use diesel::dsl::sql;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::{ConnectionError, DatabaseErrorKind, Error as Diesel};
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite as Backend, SqliteConnection};
use diesel::{ConnectionResult, QueryResult};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use diesel_async::{AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection, TransactionManager};
use tokio::runtime::Handle;

use crate::runtime::{Runtime, Tokio};

/// For each connection: an acknowledged commit is on the disk, writers are waited for, foreign keys are checked.
const SETTINGS: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;";

type Wrapper = SyncConnectionWrapper<SqliteConnection, Threads>;
/// Has the same rows, and no private type in its name.
type Plain = SyncConnectionWrapper<SqliteConnection>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection to a file of SQLite, with write-ahead log, `synchronous = FULL`, `foreign_keys = ON` and a `busy_timeout` of 5 s.
///
/// It is used as any connection of diesel-async. [`Sqlite::open`](super::Sqlite::open) makes pools of it. The URL is the path of a
/// file; a database in memory is refused, since each connection of a pool would have another one.
///
/// # Cancel safety
/// A call that was dropped goes on in its thread, and the connection answers no further one.
pub struct AsyncSqliteConnection {
    inner: Wrapper,
    transactions: AnsiTransactionManager,
    /// Calls that were begun, less those that ended while somebody waited for them.
    under_way: Arc<AtomicU64>,
    /// In microseconds of the process' clock.
    last_end: Arc<AtomicU64>,
    commit_within: Option<Duration>,
}

impl AsyncSqliteConnection {
    pub(super) fn commit_within(&mut self, within: Option<Duration>) {
        self.commit_within = within;
    }

    /// COMMIT, unless three quarters of the time are over, counted from the end of the last call: the rest is for the disk.
    pub(super) async fn commit_in_time(&mut self, too_late: impl FnOnce() -> Diesel + Send + 'static) -> QueryResult<()> {
        use diesel::connection::SimpleConnection;
        let last_end = Duration::from_micros(self.last_end.load(SeqCst));
        let latest = self.commit_within.map(|within| last_end + within * 3 / 4);
        let inner = self.ready()?;
        let commit = inner.spawn_blocking(move |conn| {
            if latest.is_some_and(|latest| Tokio.now() >= latest) { Err(too_late()) } else { conn.batch_execute("COMMIT") }
        });
        self.call(commit).await
    }

    /// The connection, where no dropped call still runs on it.
    fn ready(&mut self) -> QueryResult<&mut Wrapper> {
        if self.is_free() { Ok(&mut self.inner) } else { Err(given_up()) }
    }

    fn is_free(&self) -> bool {
        self.under_way.load(SeqCst) == 0
    }

    /// Runs a call, and notes that it ended unless it is dropped before.
    fn call<'a, T>(&self, call: impl Future<Output = QueryResult<T>> + Send + 'a) -> BoxFuture<'a, QueryResult<T>> {
        let (under_way, last_end) = (self.under_way.clone(), self.last_end.clone());
        under_way.fetch_add(1, SeqCst);
        Box::pin(async move {
            let done = call.await;
            under_way.fetch_sub(1, SeqCst);
            last_end.store(u64::try_from(Tokio.now().as_micros()).unwrap_or(u64::MAX), SeqCst);
            done
        })
    }

    fn refused<'a, T: Send + 'a>() -> BoxFuture<'a, QueryResult<T>> {
        Box::pin(async { Err(given_up()) })
    }
}

fn given_up() -> Diesel {
    let text = "an earlier call on this connection was dropped before it ended";
    Diesel::DatabaseError(DatabaseErrorKind::ClosedConnection, Box::new(text.to_owned()))
}

impl SimpleAsyncConnection for AsyncSqliteConnection {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        use diesel::connection::SimpleConnection;
        let query = query.to_owned();
        let batch = self.ready()?.spawn_blocking(move |conn| conn.batch_execute(&query));
        self.call(batch).await
    }
}

impl AsyncConnectionCore for AsyncSqliteConnection {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'query, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'query, QueryResult<Self::Stream<'conn, 'query>>>;
    type Stream<'conn, 'query> = <Plain as AsyncConnectionCore>::Stream<'conn, 'query>;
    type Row<'conn, 'query> = <Plain as AsyncConnectionCore>::Row<'conn, 'query>;
    type Backend = Backend;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Backend> + QueryId + 'query,
    {
        if !self.is_free() {
            return Self::refused();
        }
        let load = AsyncConnectionCore::load(&mut self.inner, source);
        self.call(load)
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Backend> + QueryId + 'query,
    {
        if !self.is_free() {
            return Self::refused();
        }
        let execute = AsyncConnectionCore::execute_returning_count(&mut self.inner, source);
        self.call(execute)
    }
}

impl AsyncConnection for AsyncSqliteConnection {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(path: &str) -> ConnectionResult<Self> {
        let mut conn = AsyncSqliteConnection {
            inner: Wrapper::establish(path).await?,
            transactions: AnsiTransactionManager::default(),
            under_way: Arc::default(),
            last_end: Arc::default(),
            commit_within: None,
        };
        conn.batch_execute(SETTINGS).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        let mode = diesel::select(sql::<Text>("(SELECT journal_mode FROM pragma_journal_mode)"));
        let mode: String =
            diesel_async::RunQueryDsl::get_result(mode, &mut conn).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        if mode != "wal" {
            let why = "SQLite needs a file that it may write to: a database in memory would be another one for each connection";
            return Err(ConnectionError::BadConnection(why.to_owned()));
        }
        Ok(conn)
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transactions
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.inner.instrumentation()
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.inner.set_instrumentation(instrumentation);
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.inner.set_prepared_statement_cache_size(size);
    }
}

impl PoolableConnection for AsyncSqliteConnection {
    fn is_broken(&mut self) -> bool {
        !self.is_free() || AnsiTransactionManager::is_broken_transaction_manager(self)
    }
}

impl std::fmt::Debug for AsyncSqliteConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AsyncSqliteConnection")
    }
}

/// The threads of the tokio runtime that may block. A call that nobody waits for any more runs to its end.
#[derive(Debug)]
struct Threads(Handle);

impl SpawnBlocking for Threads {
    fn spawn_blocking<'a, R: Send + 'static>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn StdError + Send + Sync + 'static>>> {
        let task = self.0.spawn_blocking(task);
        Box::pin(async { task.await.map_err(Into::into) })
    }

    fn get_runtime() -> Self {
        Threads(Handle::current())
    }
}
