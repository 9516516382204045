//! Writes: committed to SQL, then published.
//!
//! 1. `BEGIN` and the statements, which return the rows as they now stand.
//! 2. Right before COMMIT, a barrier in the cache on every row's key: from here on no reader fills it.
//! 3. COMMIT.
//! 4. What SQL returned is published, unless another writer of the key overlapped: then it is removed.
//!
//! The steps and what each crash leaves are in `writeway_core::commit`; in eventual mode 2 is left out and 4 removes.

use writeway_core::change::{Change, Changes, Written};
use writeway_core::error::Result;
use writeway_core::store::Store;

use crate::handle::WriteThrough;

impl<S: Store> WriteThrough<S> {
    /// Inserts the row or replaces it. `Ok` means committed; [`Written::cache`] says what the cache made of it.
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
