//! What the tests of Writeway stand on; not published.

#[cfg(feature = "sim")]
pub mod double;
pub mod servers;
