//! What all Writeway strategies share: vocabulary, ports, adapters and the read path.
//!
//! Applications depend on a strategy crate (`writeway-through`, `writeway-around`), which re-exports all that its user must
//! name. This crate is for those who write a strategy or an adapter.

// Vocabulary
pub mod change;
pub mod codec;
pub mod entry;
pub mod error;
pub mod key;

// Ports
pub mod cache;
pub mod runtime;
pub mod store;

// Adapters
pub mod redis;

// Runtime
pub mod breaker;
pub mod tasks;
