//! Where statements go: reads to one pool, all that may write to another.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Pool, SqlConnection};

/// The pools of one database. For most it is one and the same, made from the application's own pool by [`Sql::new`](super::Sql::new).
/// Cheap to clone.
pub struct Pools<C: SqlConnection> {
    readers: Pool<C>,
    writers: Pool<C>,
    /// Where there is one writer: who waits for it waits in order, which bb8 does not see to.
    turns: Option<Arc<Semaphore>>,
}

impl<C: SqlConnection> Pools<C> {
    /// One transaction at a time.
    #[cfg(feature = "sqlite")]
    pub(super) fn in_turn(readers: Pool<C>, writers: Pool<C>) -> Self {
        Pools { readers, writers, turns: Some(Arc::new(Semaphore::new(1))) }
    }

    /// For statements that only read.
    #[must_use]
    pub fn readers(&self) -> &Pool<C> {
        &self.readers
    }

    /// For transactions and whatever writes.
    #[must_use]
    pub fn writers(&self) -> &Pool<C> {
        &self.writers
    }

    /// Held from before a transaction has its connection until after it has given it back.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        match &self.turns {
            // Never closed.
            Some(turns) => turns.clone().acquire_owned().await.ok(),
            None => None,
        }
    }
}

impl<C: SqlConnection> From<Pool<C>> for Pools<C> {
    fn from(pool: Pool<C>) -> Self {
        Pools { readers: pool.clone(), writers: pool, turns: None }
    }
}

impl<C: SqlConnection> Clone for Pools<C> {
    fn clone(&self) -> Self {
        Pools { readers: self.readers.clone(), writers: self.writers.clone(), turns: self.turns.clone() }
    }
}

impl<C: SqlConnection> fmt::Debug for Pools<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}
