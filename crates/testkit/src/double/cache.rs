//! A cache whose calls follow a script.

use std::sync::Arc;

use writeway_core::cache::{
    Ask, Barriers, BeginBy, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_core::error::Result;

use super::script::Script;

// The in-process cache acts when it is called, not when its future is polled: hence the blocks around the calls.

/// Any cache, with a [`Script`] in front of it. The calls have the names of the ports' methods.
#[derive(Clone)]
pub struct ScriptedCache {
    cache: Arc<dyn Barriers>,
    script: Script,
}

impl ScriptedCache {
    /// In front of `cache`.
    #[must_use]
    pub fn new(cache: impl Barriers, script: &Script) -> Self {
        ScriptedCache { cache: Arc::new(cache), script: script.clone() }
    }
}

impl Entries for ScriptedCache {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.script.play("declare", 1, async { self.cache.declare(declaration).await }))
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(self.script.play("get", keys.len(), async { self.cache.get(keys).await }))
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        Box::pin(self.script.play("lease", asks.len(), async move { self.cache.lease(asks, hold).await }))
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.script.play("fill", fills.len(), async { self.cache.fill(fills).await }))
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.script.play("invalidate", keys.len(), async { self.cache.invalidate(keys).await }))
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        Box::pin(self.script.play("scan", 1, async move { self.cache.scan(stem, cursor).await }))
    }
}

impl Barriers for ScriptedCache {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.script.play("begin", keys.len(), async move { self.cache.begin(keys, token, by).await }))
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        Box::pin(self.script.play("finish", ends.len(), async move { self.cache.finish(ends, token).await }))
    }
}
