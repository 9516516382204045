//! The in-process forms of both ports: a cache and a store for one process, and for users' own tests. They keep the same
//! contract as Redis and PostgreSQL; one contract suite runs on all.

mod cache;
mod counts;
mod fence;
mod journal;
mod store;

pub use cache::MemoryCache;
pub use counts::MemoryCounts;
pub use journal::{MemoryJournal, stem_of};
pub use store::{MemoryStore, MemoryTx};
