//! Writes: committed to SQL, never to the cache; what the cache holds of the row is removed.
//!
//! 1. The statements, in eventual mode committed at once.
//! 2. One invalidation, which also voids the fill leases of readers who loaded before the commit.
//!
//! A crash between 1 and 2, or a cache that is away, leaves the old value for its time-to-live. Strict mode closes that gap
//! with a barrier before the commit, as write-through does; the steps are in `writeway_core::commit`.

use writeway_core::change::{Change, Changes, Written};
use writeway_core::error::Result;
use writeway_core::store::Store;

use crate::handle::WriteAround;

impl<S: Store> WriteAround<S> {
    /// Inserts the row or replaces it. `Ok` means committed; [`Written::cache`] says whether the old value is gone from the cache.
    ///
    /// # Errors
    /// [`outcome`](writeway_core::error::Error::outcome) says whether it is committed. `Invalid` if the row cannot be cached (it does not survive
    /// serialising, or is longer than `max_value_bytes`): found before any I/O. `Rejected` if SQL refuses it. `Unavailable` if a
    /// server did not do its part, in strict mode also while the cache is away.
    ///
    /// # Cancel safety
    /// Once polled it runs to its end, whether or not anybody waits.
    pub async fn put(&self, row: S::Row) -> Result<Written<S::Row>> {
        self.namespace.write_one("put", Change::Put(row)).await
    }

    /// Removes the row, if there is one. `Ok` means committed.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: &S::Key) -> Result<Written<S::Row>> {
        self.namespace.write_one("delete", Change::Delete(key.clone())).await
    }

    /// Commits all changes in one transaction, or none. One answer per key, in key order; of several changes of one key the
    /// last counts.
    ///
    /// # Errors
    /// As [`put`](Self::put), for all changes together.
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn write(&self, changes: Changes<S::Key, S::Row>) -> Result<Vec<Written<S::Row>>> {
        self.namespace.write("write", changes).await
    }
}
