//! What all Writeway strategies share: vocabulary, ports, adapters and the read path.
//!
//! Applications depend on a strategy crate (`writeway-through`, `writeway-around`, `writeway-back`), which re-exports all that
//! its user must name. This crate is for those who write a strategy or an adapter.

// So that exported macros can name this crate in the same way inside and outside of it.
extern crate self as writeway_core;

// Vocabulary
pub mod change;
pub mod codec;
pub mod counts;
pub mod entry;
pub mod error;
pub mod key;
pub mod level;
pub mod options;

// Ports
pub mod cache;
pub mod journal;
pub mod runtime;
pub mod store;

// Adapters
pub mod memory;
pub mod redis;
pub mod sql;

// Read path
pub mod expiry;
pub mod fill_lease;
mod invalidate;
pub mod read;
pub mod read_counts;
mod read_many;
pub mod single_flight;
pub mod values;

// Write path
mod commit;
pub mod namespace;
pub mod transaction;
mod write;

// Telemetry
pub mod audit;
pub mod metrics;
#[doc(hidden)]
pub mod span;
pub mod stats;

// Runtime
mod breaker;
pub mod retry;
pub mod tasks;

// What the adapters' traits and macros name, so that an application needs one dependency line.
pub use {bb8, diesel, diesel_async, serde};
