//! **Write-through**: SQL and cache together, always in step.
//!
//! A [`put`](WriteThrough::put) commits to SQL and publishes to the cache the row that SQL returned. Reads are look-aside: from
//! the cache, else from SQL, which fills the cache.
//!
//! # What is promised
//!
//! | | strict (default) | eventual |
//! |---|---|---|
//! | `Ok` of a write | committed | committed |
//! | a hit | the committed row now: linearizable per key | may be older, until the invalidation or the time-to-live |
//! | writes while the cache is away | refused: `Unavailable`, `NotApplied` | committed; old hits until the time-to-live |
//! | reads while the cache is away | from SQL, under a cap | from SQL, under a cap |
//!
//! Nothing that was acknowledged can be lost by the cache: SQL has it. An error says by its
//! [`outcome`](error::Error::outcome) whether the change is committed; where nobody can know, it says `Unknown`, and the cache
//! stays right in both cases.
//!
//! Strict holds as long as all writers of the table take part, the cache server does not lose single keys or go back in time,
//! its clock does not jump, and SQL ends stalled commits in time (checked when connecting). It does not hold across a failover
//! of Redis to a replica.
//!
//! # Cancel safety
//!
//! Dropping the future of a write, once polled, changes nothing but that nobody hears the answer. Dropping a read is harmless.

mod builder;
mod handle;
mod write;

pub use builder::WriteThroughBuilder;
pub use handle::WriteThrough;

// One dependency line is enough: what an application must name besides.
// `diesel::table!` and its derives ask for a crate named `diesel`: an application that does not depend on it by name says
// `extern crate writeway_through as diesel;` at its root.
#[doc(hidden)]
pub use writeway_core::diesel::*;
#[doc(inline)]
pub use writeway_core::{
    audit::Audit,
    change::{CacheEffect, Change, Changes, Written},
    error::{Error, Kind, Outcome, Result},
    key::Key,
    memory::{MemoryCache, MemoryStore},
    redis::Redis,
    sql::{Sql, SqlTable},
    stats::Stats,
    transaction::Tx,
};
pub use writeway_core::{bb8, diesel, diesel_async, serde};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use writeway_core::{bulk_upsert, key_among};
#[doc(inline)]
pub use writeway_core::{cache, change, codec, error, key, metrics, redis, runtime, sql, stats, store};
