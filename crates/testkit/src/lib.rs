//! What Writeway's own tests stand on. Unpublished.
//!
//! * [`explorer`]: production code over every order of its calls, every fault, every crash point.
//! * [`sim`]: the cache and the store that it explores over; [`check`]: what must hold of every run.
//! * [`double`]: ports that a test scripts by hand, for one behaviour at a time.
//! * [`contract`]: what the ports promise, tried on every implementation.
//! * [`servers`]: real Redis and PostgreSQL, started, stopped and paused by a test; [`proxy`]: faults on the way to them;
//!   [`history`]: which of the reads that a test recorded were stale.
//! * `file` (feature `sqlite`): a file of SQLite per test, with a table.
//! * `harness` (feature `postgres`): a table with everything in it, and readers and writers under observation, on real servers.

#[cfg(feature = "sim")]
pub mod check;
#[cfg(feature = "sim")]
pub mod contract;
#[cfg(feature = "sim")]
pub mod double;
#[cfg(feature = "sim")]
pub mod explorer;
#[cfg(feature = "sqlite")]
pub mod file;
#[cfg(feature = "postgres")]
pub mod harness;
#[cfg(feature = "sim")]
pub mod history;
#[cfg(feature = "sim")]
pub mod proxy;
pub mod servers;
#[cfg(feature = "sim")]
pub mod sim;
