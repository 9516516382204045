//! What Writeway's own tests stand on. Unpublished.
//!
//! * [`explorer`]: production code over every order of its calls, every fault, every crash point.
//! * [`sim`]: the cache and the store that it explores over; [`check`]: what must hold of every run.

#[cfg(feature = "sim")]
pub mod check;
#[cfg(feature = "sim")]
pub mod contract;
#[cfg(feature = "sim")]
pub mod explorer;
pub mod history;
#[cfg(feature = "sim")]
pub mod proxy;
#[cfg(feature = "sim")]
pub mod sim;
