//! Writeway's cache with a counter in front: how many looks found a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use writeway_core::cache::{
    Ask, Barriers, BeginBy, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_core::error::Result;

/// Looks into a cache and how many of them found a value.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    all: AtomicU64,
    hits: AtomicU64,
}

impl Looks {
    pub(super) fn note(&self, all: usize, hits: usize) {
        self.all.fetch_add(all as u64, Ordering::Relaxed);
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
    }

    /// All and hits since the last call.
    pub(crate) fn take(&self) -> (u64, u64) {
        (self.all.swap(0, Ordering::Relaxed), self.hits.swap(0, Ordering::Relaxed))
    }
}

/// The port, passed through.
pub(super) struct Watched<C> {
    pub(super) cache: C,
    pub(super) looks: Arc<Looks>,
}

impl<C: Barriers> Entries for Watched<C> {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        self.cache.declare(declaration)
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let found = self.cache.get(keys).await?;
            self.looks.note(found.len(), found.iter().filter(|look| matches!(look, Lookup::Hit(_))).count());
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        self.cache.lease(asks, hold)
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        self.cache.fill(fills)
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        self.cache.invalidate(keys)
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        self.cache.scan(stem, cursor)
    }
}

impl<C: Barriers> Barriers for Watched<C> {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        self.cache.begin(keys, token, by)
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        self.cache.finish(ends, token)
    }
}
