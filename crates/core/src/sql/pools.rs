//! Where statements go: reads to one pool, all that may write to another.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::connection::{Pool, SqlConnection};

/// The pools of one database. For most it is one and the same, made from the application's own pool by [`Sql::new`](super::Sql::new).
/// Cheap to clone.
pub struct Pools<C: SqlConnection> {
    readers: Pool<C>,
    writers: Pool<C>,
    /// What must live as long as the pools do.
    kept: Option<Arc<dyn Any + Send + Sync>>,
}

impl<C: SqlConnection> Pools<C> {
    #[cfg(feature = "sqlite")]
    pub(super) fn keeping(readers: Pool<C>, writers: Pool<C>, kept: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Pools { readers, writers, kept }
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
}

impl<C: SqlConnection> From<Pool<C>> for Pools<C> {
    fn from(pool: Pool<C>) -> Self {
        Pools { readers: pool.clone(), writers: pool, kept: None }
    }
}

impl<C: SqlConnection> Clone for Pools<C> {
    fn clone(&self) -> Self {
        Pools { readers: self.readers.clone(), writers: self.writers.clone(), kept: self.kept.clone() }
    }
}

impl<C: SqlConnection> fmt::Debug for Pools<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}
