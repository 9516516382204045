//! The audit of cache, journal and SQL. How it is done, and why it raises no false alarm, is said in `writeway_core::audit`.

use writeway_core::audit::Audit;
use writeway_core::cache::{BoxFuture, Bytes};
use writeway_core::error::{Error, Result};
use writeway_core::journal::Status;
use writeway_core::memory::stem_of;
use writeway_core::store::FencedStore;

use crate::handle::WriteBack;

impl<S: FencedStore> WriteBack<S> {
    /// Compares up to `sample` of the keys that the cache holds, 1 to 100,000, with SQL, and changes nothing. It takes them at
    /// random, going on from where the last audit of this handle ended, so that small audits come round to all.
    ///
    /// What it calls [stale](Audit::stale) was seen several times over, half a `call_timeout` apart: a value in the cache, the same
    /// before and after SQL had another row. Nothing was accepted in its shard
    /// meanwhile, by whomever: under a load that never pauses, such keys are [undecided](Audit::undecided).
    ///
    /// # Errors
    /// `Unavailable` if a server did not answer a page within the `call_timeout`; `Invalid` for a sample out of its bounds; `Closed`
    /// after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn audit(&self, sample: usize) -> Result<Audit<S::Key>> {
        let engine = &self.engine;
        engine.gate.check()?;
        let shard_of = |at: &Bytes| -> BoxFuture<'_, Result<Status>> {
            let shard = stem_of(at).and_then(|stem| engine.shards.iter().position(|shard| shard.stem() == stem));
            Box::pin(
                async move { engine.status(shard.ok_or_else(|| Error::invalid("a key of no shard of this namespace"))?).await },
            )
        };
        engine.reads.audit(sample, Some(&shard_of)).await.map_err(|e| engine.told(e, "audit"))
    }
}
