//! A transaction of the user's own: partial updates, compare-and-set, serial ids, several tables and namespaces.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cache::{Barriers, Bytes};
use crate::change::CacheEffect;
use crate::commit::{Touched, commit};
use crate::error::{Error, Result};
use crate::options::{Mode, Options};
use crate::sql::{SqlConnection, SqlTx};
use crate::stats::WriteCounts;
use crate::store::Transaction;
use crate::tasks::{Pass, until};

/// An open transaction and the cache keys it has touched so far. Dropped without [`commit`](Tx::commit), it is rolled back and
/// no cache has heard of it.
///
/// Every row that the transaction changes in a cached table must be named, by `touch` or `publish` of its namespace's handle,
/// also one that a savepoint rolled back or a trigger changed. Naming one too many costs a miss, nothing else.
pub struct Tx<T: Transaction> {
    tx: T,
    /// By handle, in the order in which they were first named: two of one name may stand over different caches.
    touched: Vec<Touched>,
    refused: Option<Error>,
    checked: Option<Duration>,
    begun_on: Arc<str>,
    options: Arc<Options>,
    counts: Arc<WriteCounts>,
    pass: Pass,
}

impl<T: Transaction> Tx<T> {
    pub(crate) fn new(
        tx: T,
        pass: Pass,
        begun_on: Arc<str>,
        options: Arc<Options>,
        counts: Arc<WriteCounts>,
        checked: Option<Duration>,
    ) -> Self {
        Tx { tx, touched: Vec::new(), refused: None, checked, begun_on, options, counts, pass }
    }

    /// The store's transaction, for a [`Store`](crate::store::Store)'s `apply_in`.
    pub fn transaction(&mut self) -> &mut T {
        &mut self.tx
    }

    /// Barriers on all touched keys, COMMIT, then publish or invalidate: in a task of its own, so that dropping this future
    /// changes nothing any more. Says the least that was done to any touched key.
    ///
    /// # Errors
    /// `NotApplied`: rolled back, also where a `touch` or `publish` could not be noted. `Unknown`: the cache stays right.
    pub async fn commit(self) -> Result<CacheEffect> {
        let (begun_on, runtime, counts) = (self.begun_on.clone(), self.options.runtime.clone(), self.counts.clone());
        let (clock, started, ends) = (runtime.clone(), runtime.now(), counts.clone());
        let (answer, answered) = oneshot::channel();
        let task = async move {
            let committed = self.run().await;
            ends.ends.answered(&*clock, started, &committed);
            // Nobody may be waiting any more.
            drop(answer.send(committed));
        };
        runtime.spawn("commit", Box::pin(task));
        let died = |_| {
            let died = Err(Error::unknown("the commit's task died"));
            counts.ends.answered(&*runtime, started, &died);
            died
        };
        answered.await.unwrap_or_else(died).map_err(|e| e.during("commit", &begun_on))
    }

    async fn run(self) -> Result<CacheEffect> {
        let runtime = &self.options.runtime;
        let deadline = runtime.now() + self.options.call_timeout;
        if let Some(e) = self.refused {
            until(&**runtime, deadline, self.tx.rollback()).await;
            return Err(e);
        }
        let effects = commit(self.tx, &self.touched, runtime, deadline).await?;
        drop(self.pass);
        let least = effects.iter().flat_map(BTreeMap::values).max();
        Ok(least.copied().unwrap_or(CacheEffect::Invalidated))
    }

    /// Rolls back at once, and gives the connection back to the pool. What SQL does not confirm within the `call_timeout`, it
    /// rolls back by itself.
    pub async fn rollback(self) {
        let runtime = &self.options.runtime;
        until(&**runtime, runtime.now() + self.options.call_timeout, self.tx.rollback()).await;
    }

    /// Notes a touched key; what cannot be noted makes the commit fail.
    pub(crate) fn note(
        &mut self,
        namespace: &Arc<str>,
        cache: &Arc<dyn Barriers>,
        key: Result<(Bytes, Option<(Bytes, Duration)>)>,
        touched: impl FnOnce() -> Touched,
    ) {
        let noted = key.and_then(|(at, publish)| {
            // Each handle has a cache of its own, and what is noted here keeps it from being freed: no other takes its place.
            let noted =
                self.touched.iter().position(|touched| std::ptr::addr_eq(Arc::as_ptr(&touched.cache), Arc::as_ptr(cache)));
            let nth = noted.unwrap_or_else(|| {
                self.touched.push(touched());
                self.touched.len() - 1
            });
            let touched = &mut self.touched[nth];
            if touched.mode == Mode::Strict && self.checked.is_none_or(|checked| checked > touched.within) {
                return Err(Error::invalid("begin the transaction on the strict namespace with the shortest commit_within"));
            }
            // Later than a publish, a touch means that the row changed again.
            touched.keys.insert(at, publish);
            Ok(())
        });
        if let Err(e) = noted {
            self.refused.get_or_insert(e.during("touch", namespace));
        }
    }
}

impl<C: SqlConnection> Tx<SqlTx<C>> {
    /// The connection, for statements of one's own; nested transactions are diesel's. The transaction itself is ended by
    /// [`commit`](Tx::commit) alone, never with SQL of one's own.
    pub fn connection(&mut self) -> &mut C {
        self.tx.connection()
    }
}

impl<T: Transaction> fmt::Debug for Tx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("begun_on", &self.begun_on).finish_non_exhaustive()
    }
}
