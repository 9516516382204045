//! The handle: reads, and what touches the cache only. Writes are in `write`.

use std::time::Duration;

use writeway_core::audit::Audit;
use writeway_core::error::Result;
use writeway_core::namespace::Namespace;
use writeway_core::stats::Stats;
use writeway_core::store::Store;
use writeway_core::transaction::Tx;

use crate::builder::WriteThroughBuilder;

/// A write-through namespace: one table, its cache, one policy. Cheap to clone, to be shared between tasks.
///
/// Every call ends by the `call_timeout`, except where it says otherwise.
#[derive(Debug)]
pub struct WriteThrough<S: Store> {
    pub(crate) namespace: Namespace<S>,
}

impl<S: Store> Clone for WriteThrough<S> {
    fn clone(&self) -> Self {
        WriteThrough { namespace: self.namespace.clone() }
    }
}

impl<S: Store> WriteThrough<S> {
    /// Starts with the table; strict unless told otherwise.
    pub fn builder(store: S) -> WriteThroughBuilder<S> {
        WriteThroughBuilder::new(store)
    }

    /// The row under `key`. A hit costs one round trip to the cache; concurrent misses of one key share one load from SQL.
    ///
    /// # Errors
    /// `Unavailable` or `Overloaded` if neither the cache nor SQL gave the row in time, `Rejected` or `Invalid` if SQL refused
    /// the statement or the key cannot be encoded, `Closed` after [`shutdown`](Self::shutdown). A cache that is away is no error.
    pub async fn get(&self, key: &S::Key) -> Result<Option<S::Row>> {
        self.namespace.get(key).await
    }

    /// The rows under `keys`, in the order asked: one look into the cache for all, one statement for all that it lacks. More
    /// than 1,000 keys take several rounds.
    ///
    /// # Errors
    /// As [`get`](Self::get), for all keys or none.
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<S::Row>>> {
        self.namespace.get_many(keys).await
    }

    /// Removes the keys' values from the cache: for rows that were changed by somebody who does not take part. SQL is not
    /// touched.
    ///
    /// # Errors
    /// `Unavailable` if the cache did not confirm: the old values may still be there.
    pub async fn invalidate(&self, keys: &[S::Key]) -> Result<()> {
        self.namespace.invalidate(keys).await
    }

    /// Removes every value of the namespace from the cache, page by page, each within the `call_timeout`. Says how many keys it
    /// went through. What is filled meanwhile may stay.
    ///
    /// # Errors
    /// `Unavailable` if the cache did not confirm: repeat it.
    pub async fn invalidate_all(&self) -> Result<u64> {
        self.namespace.invalidate_all().await
    }

    /// A transaction of one's own: run any statements on its `connection()`, name every changed row with
    /// [`touch`](Self::touch) or [`publish`](Self::publish), then [`commit`](Tx::commit). Other namespaces over the same kind of
    /// connection may take part. Dropped, it is rolled back.
    ///
    /// # Errors
    /// `Unavailable` without a connection in time, `Closed` after [`shutdown`](Self::shutdown).
    pub async fn begin(&self) -> Result<Tx<S::Tx>> {
        self.namespace.begin().await
    }

    /// Says that the transaction changed the row under `key`: it will be a miss after the commit.
    pub fn touch(&self, tx: &mut Tx<S::Tx>, key: &S::Key) {
        self.namespace.touch(tx, key);
    }

    /// Says that the transaction left the row so: it will be a hit after the commit, unless another writer overlapped. Pass
    /// only what SQL returned in this very transaction under the row's lock (`RETURNING`).
    pub fn publish(&self, tx: &mut Tx<S::Tx>, row: &S::Row) {
        self.namespace.publish(tx, row);
    }

    /// Compares up to `sample` of the keys that the cache holds, 1 to 100,000, with SQL, and changes nothing. It takes them at
    /// random, going on from where the last audit of this handle ended, so that small audits come round to all.
    ///
    /// What it calls [stale](Audit::stale) was seen several times over, half a `call_timeout` apart: a value in the cache, the same
    /// before and after SQL had another row. A row that is written to and fro all the time and comes back to the
    /// same bytes could be mistaken for it.
    ///
    /// # Errors
    /// `Unavailable` if a server did not answer a page within the `call_timeout`; `Invalid` for a sample out of its bounds; `Closed`
    /// after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn audit(&self, sample: usize) -> Result<Audit<S::Key>> {
        self.namespace.audit(sample).await
    }

    /// What this handle and its clones did so far. Asks nobody, and costs nothing to speak of.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.namespace.stats()
    }

    /// Lets no call in any more and waits for the writes and transactions under way, at most for `within`. Says how many are
    /// still running; they end by themselves.
    pub async fn shutdown(&self, within: Duration) -> usize {
        self.namespace.shutdown(within).await
    }
}
