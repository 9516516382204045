//! What the tests of Writeway stand on; not published.

pub mod servers;
