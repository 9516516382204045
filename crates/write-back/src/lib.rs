//! **Write-back**: accept in Redis, flush to SQL in bulk later.
//!
//! A [`put`](WriteBack::put) is answered as soon as Redis has accepted it; a flusher brings it to SQL soon after, many changes in one
//! transaction, the last change of each key only: that of one of the processes, among which the shards of the namespace are divided.
//! Reads see what was accepted.
//!
//! # What is promised
//!
//! | | |
//! |---|---|
//! | `Ok` of a write | accepted by Redis, at the [`Level`] that was asked for: as durable as the server's own persistence makes it, on its disk, or received by so many replicas |
//! | [`Ticket::durable`] | the change, or a later one of the same row, is committed in SQL |
//! | a read | the last accepted change of the row, else what SQL has; SQL is never asked in place of a Redis that does not answer |
//! | an accepted change | reaches SQL exactly once in effect, through crashes of any process and lost answers of any server; or is set aside |
//! | a change that SQL refuses | costs only itself: the others of its batch land, and it becomes a [`DeadLetter`] |
//! | the order of one row's changes | the last one wins; SQL never goes backwards, also after Redis did |
//!
//! **What can be lost**: of what SQL does not have yet, what Redis itself loses. At [`Level::Memory`], with `appendfsync everysec` that is up to about
//! two seconds of accepted changes when the server's machine dies. When only its process dies it is nothing as a rule, and up to
//! two seconds while its disk is so slow that it holds its writes back. After a failover it is what the replica had not received;
//! with no append-only file, everything that was not flushed. [`Level::LocalFsync`] loses nothing with the server's process or
//! machine, but what a replica had not received after a failover; [`Level::Replicated`] loses nothing when a replica that confirmed
//! it is promoted, but what the server loses that comes back itself. Asked for by
//! [`accept_level`](WriteBackBuilder::accept_level). When the server turns out to be another one or an older state, its
//! contents are compared with a log of batches in SQL before anything is accepted or read again: what SQL has newer is dropped,
//! what cannot be judged is set aside, and an event says that loss is possible. Reads are strong as long as Redis loses nothing.
//! Single keys that somebody removes or evicts are lost unnoticed.
//!
//! **What SQL refuses.** A batch that fails is halved until one change fails alone. It is held back while the others land (100 ms,
//! doubling, at most 30 s), tried again alone, and set aside after three failures alone, ten where a foreign key failed. A panic of
//! the table's code is a row's fault, too. What is the server's or the table's fault is kept and tried again, a row that others have
//! locked every 5 s: see
//! [`Blame`](store::Blame) and [`classify`](WriteBackBuilder::classify). [`dead_letters`](WriteBack::dead_letters) lists what was
//! set aside, [`redrive`](WriteBack::redrive) accepts it again, [`discard`](WriteBack::discard) removes it; to edit a letter, put
//! the row as it should be. There are at most [`max_dead`](WriteBackBuilder::max_dead); beyond that what SQL refuses waits. They lie
//! in Redis, and go back in time with it.
//!
//! **Counters.** A namespace holds rows or [`Counters`], to which is only added: increments are accepted in the same way, added up in
//! Redis, and reach SQL as `n = n + sum`, exactly once in effect; a read counts every acknowledged one once. What differs from rows is
//! told there.
//!
//! Writes of several rows are not atomic. Only the last change of a row is flushed: a good one that was coalesced with a later bad
//! one goes with it. An accepted change that cannot be read is never a miss: reads of its row are `Rejected` until a newer change
//! replaces it, or it was set aside. All writers of the table must take part.
//!
//! # Cancel safety
//!
//! A write that is dropped may or may not have been accepted. Dropping a read or a [`Ticket::durable`] is harmless.

mod accept;
mod audit;
mod builder;
mod counters;
mod dead_letters;
mod engine;
mod flush;
mod flush_lease;
mod form;
mod gauges;
mod handle;
mod level;
mod members;
mod pages;
mod recovery;
mod settings;
mod stats;
mod ticket;
mod together;
mod watch;
mod write;

pub use builder::WriteBackBuilder;
pub use counters::Counters;
pub use dead_letters::{DeadLetter, Redrive};
pub use handle::{Drained, WriteBack};
pub use settings::{Drift, Overflow};
pub use stats::Stats;
pub use ticket::{Receipt, Ticket};

// One dependency line is enough: what an application must name besides.
// `diesel::table!` and its derives ask for a crate named `diesel`: an application that does not depend on it by name says
// `extern crate writeway_back as diesel;` at its root.
#[doc(hidden)]
pub use writeway_core::diesel::*;
#[doc(inline)]
pub use writeway_core::{
    audit::Audit,
    change::{Change, Changes},
    counts::{CountStore, Counts, Tally},
    error::{Error, Kind, Outcome, Result},
    journal::Level,
    key::Key,
    memory::{MemoryCounts, MemoryJournal, MemoryStore},
    redis::Redis,
    sql::{CountTable, Sql, SqlCounts, SqlTable},
    stats::ReadStats,
};
pub use writeway_core::{bb8, counts, diesel, diesel_async, serde};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use writeway_core::{bulk_add, bulk_upsert, key_among};
#[doc(inline)]
pub use writeway_core::{cache, change, codec, error, journal, key, metrics, redis, runtime, sql, store};
