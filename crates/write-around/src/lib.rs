//! **Write-around**: SQL only; the cache fills on reads.
//!
//! A [`put`](WriteAround::put) commits to SQL and removes what the cache holds of the row. Reads are look-aside: from the
//! cache, else from SQL, which fills the cache. For rows that are written often and read seldom.
//!
//! # What is promised
//!
//! | | eventual (default) | strict |
//! |---|---|---|
//! | `Ok` of a write | committed | committed |
//! | a hit | may be older than the row, until the invalidation that follows the commit | the committed row now: linearizable per key |
//! | the process dies, or the cache is away, right after a commit | old hits until the time-to-live | reads go to SQL until the barrier lapses |
//! | writes while the cache is away | committed; old hits until the time-to-live | refused: `Unavailable`, `NotApplied` |
//! | reads while the cache is away | from SQL, under a cap | from SQL, under a cap |
//!
//! In both modes a reader that loaded before a write cannot put its value back after the write's invalidation. Nothing that
//! was acknowledged can be lost by the cache: SQL has it. An error says by its [`outcome`](error::Error::outcome) whether the
//! change is committed; where nobody can know, it says `Unknown`.
//!
//! Eventual mode makes its user name the `time_to_live`: it is the bound on what a lost invalidation costs. What strict mode
//! stands on is said in the documentation of `writeway-through`.
//!
//! # Cancel safety
//!
//! Dropping the future of a write, once polled, changes nothing but that nobody hears the answer. Dropping a read is harmless.

mod builder;
mod handle;
mod write;

pub use builder::WriteAroundBuilder;
pub use handle::WriteAround;

// One dependency line is enough: what an application must name besides.
// `diesel::table!` and its derives ask for a crate named `diesel`: an application that does not depend on it by name says
// `extern crate writeway_around as diesel;` at its root.
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
