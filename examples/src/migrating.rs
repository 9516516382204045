//! From cache-aside to a strategy, one deploy after the other. Each module is one release; neighbours run side by side.

pub mod compare;
pub mod releases;
pub mod strict;

#[cfg(test)]
mod tests;
