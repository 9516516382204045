//! What the adapter must know of a connection type, and its view of diesel's transaction state.

use std::future::Future;
use std::num::NonZeroU32;
use std::time::Duration;

use diesel::QueryResult;
use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
use diesel_async::pooled_connection::{PoolError, PoolableConnection};
use diesel_async::{AsyncConnection, TransactionManager};

use super::classify::classify_checkout;
use crate::error::{Error, Result};

/// The application's own pool: `bb8::Pool<AsyncDieselConnectionManager<C>>`.
pub type Pool<C> = bb8::Pool<<C as SqlConnection>::Manager>;

pub(super) type Pooled<C> = bb8::PooledConnection<'static, <C as SqlConnection>::Manager>;

/// A connection type that the adapter can be right about: how a commit is asked for and how a stalled one is ended differ
/// between servers. Implemented here for each supported one; applications only name it.
pub trait SqlConnection: PoolableConnection<TransactionManager: TransactionManager<Self>> + 'static {
    /// Its bb8 manager, diesel-async's own.
    type Manager: bb8::ManageConnection<Connection = Self, Error = PoolError>;

    /// Whether one statement that commits by itself is cheaper than a transaction around it.
    const AUTOCOMMIT: bool;

    /// Rolls back in one round trip, and fails where no transaction is open.
    const ROLLBACK_OPEN: &'static str;

    /// Begins a transaction; with `commit_within`, only where the server ends a stalled one sooner than that. Diesel's view says
    /// already that one is open, so that a connection on which this was not answered is closed by the pool.
    ///
    /// # Errors
    /// What keeps the transaction from being opened.
    fn open(conn: &mut Self, commit_within: Option<Duration>) -> impl Future<Output = std::result::Result<(), Opening>> + Send;

    /// Ends the open transaction with a commit, in one round trip.
    ///
    /// # Errors
    /// Whenever the transaction is not committed by it: a statement had failed, no transaction is open, the commit itself fails.
    /// A server may answer `COMMIT` with "rolled back", which drivers take for a success: that must become an error here.
    fn commit(conn: &mut Self) -> impl Future<Output = QueryResult<()>> + Send;
}

/// Why [`SqlConnection::open`] failed.
#[derive(Debug)]
pub enum Opening {
    /// The server, or the connection to it. The connection is not used again.
    Failed(diesel::result::Error),
    /// The server's set-up. The transaction is begun, and will be rolled back.
    Refused(Error),
}

/// A connection that is not known to be dead.
///
/// # Errors
/// `Unavailable` after the pool's own `connection_timeout`, if the caller's deadline did not come first.
pub(super) async fn checkout<C: SqlConnection>(pool: &Pool<C>) -> Result<Pooled<C>> {
    for _ in 1..attempts::<C>(pool) {
        let mut conn = pool.get_owned().await.map_err(classify_checkout)?;
        if !conn.is_broken() {
            return Ok(conn);
        }
        // Dropped broken, it makes room for a new one.
    }
    pool.get_owned().await.map_err(classify_checkout)
}

/// How often something harmless is tried on another connection: each of the pool's may be dead, a new one should not be.
pub(super) fn attempts<C: SqlConnection>(pool: &Pool<C>) -> u32 {
    pool.config().max_size.saturating_add(1)
}

fn status<C: SqlConnection>(conn: &mut C) -> &mut TransactionManagerStatus {
    <C as AsyncConnection>::TransactionManager::transaction_manager_status_mut(conn)
}

/// How many transactions are nested in diesel's view; an error if it knows that something went wrong.
pub(super) fn depth<C: SqlConnection>(conn: &mut C) -> QueryResult<Option<NonZeroU32>> {
    status(conn).transaction_depth()
}

/// Says before `BEGIN` is sent that a transaction is open: from here to [`left`], a connection that is let go is closed.
pub(super) fn entered<C: SqlConnection>(conn: &mut C) -> QueryResult<()> {
    match status(conn) {
        TransactionManagerStatus::Valid(valid) if valid.transaction_depth().is_some() => {
            Err(diesel::result::Error::AlreadyInTransaction)
        }
        TransactionManagerStatus::Valid(valid) => valid.change_transaction_depth(TransactionDepthChange::IncreaseDepth),
        TransactionManagerStatus::InError => Err(diesel::result::Error::BrokenTransactionManager),
    }
}

/// Says after the server's answer that no transaction is open.
pub(super) fn left<C: SqlConnection>(conn: &mut C) {
    *status(conn) = TransactionManagerStatus::default();
}

/// Makes the pool close the connection when it is let go.
pub(super) fn condemn<C: SqlConnection>(conn: &mut C) {
    status(conn).set_in_error();
}
