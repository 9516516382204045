//! Writeway's Redis with a counter in front: how many looks found a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use writeway_core::cache::{
    Ask, Barriers, BeginBy, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_core::error::Result;
use writeway_core::redis::Redis;

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
pub(super) struct Watched {
    pub(super) redis: Redis,
    pub(super) looks: Arc<Looks>,
}

impl Entries for Watched {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        self.redis.declare(declaration)
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let found = self.redis.get(keys).await?;
            self.looks.note(found.len(), found.iter().filter(|look| matches!(look, Lookup::Hit(_))).count());
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        self.redis.lease(asks, hold)
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        self.redis.fill(fills)
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        self.redis.invalidate(keys)
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        self.redis.scan(stem, cursor)
    }
}

impl Barriers for Watched {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        self.redis.begin(keys, token, by)
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        self.redis.finish(ends, token)
    }
}
