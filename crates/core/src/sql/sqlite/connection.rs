//! An asynchronous connection to SQLite: each call runs on a thread that may block.
//!
//! diesel-async's own wrapper makes the dropping of a future wait for its statement, which blocks the thread that drops it, and
//! panics on a runtime of one thread. Here a call that was dropped goes on in its thread, the connection is of no more use from then
//! on, and the pool closes it: the thread that ends last rolls back what is open.
//!
//! **A transaction in which a call has failed only rolls back.** SQLite ends a transaction by itself for some failures (a full disk,
//! `ON CONFLICT ROLLBACK`), and what is sent after that commits on its own. So, as in PostgreSQL, nothing more is sent until a
//! `ROLLBACK` or `ROLLBACK TO` has succeeded, which it does not where the transaction is gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use diesel::connection::{CacheSize, DynInstrumentation, Instrumentation, SimpleConnection, TransactionManagerStatus};
use diesel::dsl::sql;
use diesel::query_builder::{AsQuery, QueryFragment, QueryId};
use diesel::result::{ConnectionError, DatabaseErrorKind, Error as Diesel};
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite as Backend, SqliteConnection};
use diesel::{Connection, ConnectionResult, QueryResult};
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use diesel_async::{AnsiTransactionManager, AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection, TransactionManager};

use tokio::runtime::Handle;

use super::threads::{Shared, Threads};
use crate::runtime::{Runtime, Tokio};

/// For each connection: an acknowledged commit is on the disk (on Apple's systems only with `fullfsync`), writers are waited for,
/// foreign keys are checked, and the triggers of rows that a `REPLACE` removes are run.
const SETTINGS: &str = "
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA foreign_keys = ON;
    PRAGMA recursive_triggers = ON;";

type Wrapper = SyncConnectionWrapper<SqliteConnection, Threads>;
/// Has the same rows, and no private type in its name.
type Plain = SyncConnectionWrapper<SqliteConnection>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection to a file of SQLite, with write-ahead log, `synchronous = FULL`, `foreign_keys = ON` and a `busy_timeout` of 5 s.
///
/// It is used as any connection of diesel-async. [`Sqlite::open`](super::Sqlite::open) makes pools of it. The URL is the path of a
/// file; a database in memory is refused, since each connection of a pool would have another one. A transaction is begun by diesel
/// or by a [`Store`](crate::store::Store), not by a `BEGIN` of one's own: a connection on which one is left open is closed.
///
/// As in PostgreSQL, a transaction in which a statement failed can only be rolled back, as a whole or to a savepoint.
///
/// # Cancel safety
/// A call that was dropped goes on in its thread, and the connection answers no further one.
pub struct AsyncSqliteConnection {
    inner: Wrapper,
    transactions: AnsiTransactionManager,
    state: Arc<State>,
    commit_within: Option<Duration>,
    /// In the place of the inner one's while that cannot be had.
    silent: DynInstrumentation,
}

#[derive(Default)]
struct State {
    /// Calls that were begun, less those that ended while somebody waited for them.
    under_way: AtomicU64,
    /// Of the last call, in microseconds of the process' clock.
    ended: AtomicU64,
    /// A call has failed in the open transaction.
    failed: AtomicBool,
    /// A transaction is open of which diesel does not know.
    stray: AtomicBool,
}

impl AsyncSqliteConnection {
    pub(super) async fn connect(path: &str, shared: Option<Shared>) -> ConnectionResult<Self> {
        let no_runtime = |_| ConnectionError::BadConnection("SQLite needs a tokio runtime to run on".to_owned());
        let mut threads = Threads::of(Handle::try_current().map_err(no_runtime)?, shared);
        let path = path.to_owned();
        let opening = threads.spawn_blocking(move || SqliteConnection::establish(&path));
        let inner = opening.await.unwrap_or_else(|e| Err(ConnectionError::BadConnection(e.to_string())))?;
        let mut conn = AsyncSqliteConnection {
            inner: Wrapper::with_runtime(inner, threads),
            transactions: AnsiTransactionManager::default(),
            state: Arc::default(),
            commit_within: None,
            silent: DynInstrumentation::none(),
        };
        conn.batch_execute(SETTINGS).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
        let mode = diesel::select(sql::<Text>("(SELECT journal_mode FROM pragma_journal_mode)"));
        let mode = diesel_async::RunQueryDsl::get_result::<String>(mode, &mut conn).await;
        if mode.map_err(ConnectionError::CouldntSetupConfiguration)? != "wal" {
            let why = "SQLite needs a file that it may write to: a database in memory would be another one for each connection";
            return Err(ConnectionError::BadConnection(why.to_owned()));
        }
        Ok(conn)
    }

    pub(super) fn commit_within(&mut self, within: Option<Duration>) {
        self.commit_within = within;
    }

    /// COMMIT, unless three quarters of the time are over, counted from the end of the last call: the rest is for the disk. The
    /// thread that is about to run it looks, so that whatever held the process up until then counts.
    pub(super) async fn commit_in_time(&mut self) -> QueryResult<()> {
        self.admits(false)?;
        let ended = Duration::from_micros(self.state.ended.load(SeqCst));
        let latest = self.commit_within.map(|within| ended.saturating_add(within.saturating_mul(3) / 4));
        let commit = self.inner.spawn_blocking(move |conn| {
            if latest.is_some_and(|latest| Tokio.now() >= latest) {
                return Err(refusal(DatabaseErrorKind::Unknown, "writeway: too late"));
            }
            conn.batch_execute("COMMIT")
        });
        self.call(commit).await
    }

    fn is_free(&self) -> bool {
        self.state.under_way.load(SeqCst) == 0
    }

    fn is_in_transaction(&mut self) -> bool {
        match AnsiTransactionManager::transaction_manager_status_mut(self) {
            TransactionManagerStatus::Valid(valid) => valid.transaction_depth().is_some(),
            TransactionManagerStatus::InError => true,
        }
    }

    /// # Errors
    /// Why nothing may be sent, or nothing but a rollback.
    fn admits(&mut self, rolls_back: bool) -> QueryResult<()> {
        if !self.is_free() {
            let text = "an earlier call on this connection was dropped before it ended";
            return Err(refusal(DatabaseErrorKind::ClosedConnection, text));
        }
        if self.state.failed.load(SeqCst) && self.is_in_transaction() && !rolls_back {
            return Err(refusal(DatabaseErrorKind::Unknown, "writeway: aborted"));
        }
        Ok(())
    }

    /// Runs a call, and notes that it ended unless it is dropped before.
    fn call<'a, T>(&mut self, call: impl Future<Output = QueryResult<T>> + Send + 'a) -> BoxFuture<'a, QueryResult<T>> {
        let (state, in_transaction) = (self.state.clone(), self.is_in_transaction());
        state.under_way.fetch_add(1, SeqCst);
        Box::pin(async move {
            let done = call.await;
            state.ended.store(u64::try_from(Tokio.now().as_micros()).unwrap_or(u64::MAX), SeqCst);
            state.failed.fetch_or(done.is_err() && in_transaction, SeqCst);
            state.under_way.fetch_sub(1, SeqCst);
            done
        })
    }
}

fn refusal(kind: DatabaseErrorKind, text: &str) -> Diesel {
    Diesel::DatabaseError(kind, Box::new(text.to_owned()))
}

/// Whether a text starts with a word.
fn starts_with(text: &str, word: &str) -> bool {
    text.trim_start().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Whether a transaction is open: only then another one cannot be begun.
fn is_open(conn: &mut SqliteConnection) -> bool {
    conn.batch_execute("BEGIN").is_err() || conn.batch_execute("ROLLBACK").is_err()
}

impl SimpleAsyncConnection for AsyncSqliteConnection {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        let rolls_back = starts_with(query, "ROLLBACK");
        self.admits(rolls_back)?;
        let (query, state) = (query.to_owned(), self.state.clone());
        let looks = !self.is_in_transaction() && (starts_with(&query, "BEGIN") || starts_with(&query, "SAVEPOINT"));
        let batch = self.inner.spawn_blocking(move |conn| {
            let done = conn.batch_execute(&query);
            if looks || state.stray.load(SeqCst) {
                state.stray.store(is_open(conn), SeqCst);
            }
            done
        });
        let done = self.call(batch).await;
        if rolls_back && done.is_ok() {
            self.state.failed.store(false, SeqCst);
        }
        done
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
        if let Err(refused) = self.admits(false) {
            return Box::pin(async { Err(refused) });
        }
        let load = AsyncConnectionCore::load(&mut self.inner, source);
        self.call(load)
    }

    fn execute_returning_count<'conn, 'query, T>(&'conn mut self, source: T) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Backend> + QueryId + 'query,
    {
        if let Err(refused) = self.admits(false) {
            return Box::pin(async { Err(refused) });
        }
        let execute = AsyncConnectionCore::execute_returning_count(&mut self.inner, source);
        self.call(execute)
    }
}

impl AsyncConnection for AsyncSqliteConnection {
    type TransactionManager = AnsiTransactionManager;

    async fn establish(path: &str) -> ConnectionResult<Self> {
        Self::connect(path, None).await
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.transactions
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        if self.is_free() { self.inner.instrumentation() } else { &mut *self.silent }
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        if self.is_free() {
            self.inner.set_instrumentation(instrumentation);
        }
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        if self.is_free() {
            self.inner.set_prepared_statement_cache_size(size);
        }
    }
}

impl PoolableConnection for AsyncSqliteConnection {
    fn is_broken(&mut self) -> bool {
        !self.is_free() || self.state.stray.load(SeqCst) || AnsiTransactionManager::is_broken_transaction_manager(self)
    }
}

impl std::fmt::Debug for AsyncSqliteConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AsyncSqliteConnection")
    }
}
