//! Decorators over the ports: they count, hold, fail, lose answers, and keep a clock that a test owns.
//!
//! They stand around any cache, store or runtime. What a decorated port does is written in a [`Script`]; an unwritten call
//! passes through.

mod cache;
mod canary;
mod raw;
mod recorder;
mod runtime;
mod script;
mod store;

pub use cache::ScriptedCache;
pub use canary::Canaries;
pub use raw::RawCache;
pub use recorder::Metrics;
pub use runtime::TestRuntime;
pub use script::{Act, Script};
pub use store::{ScriptedStore, ScriptedTx};
