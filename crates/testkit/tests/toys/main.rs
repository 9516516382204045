//! Toy protocols over the simulated servers: what is known to be wrong is found, by its name; what is known to be right holds.

mod protocol;
mod right;
mod store;
mod wrong;
