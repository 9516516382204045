//! The code that the documentation's chapters show, compiled and tested as it stands there.

pub mod alarms;
pub mod errors;
pub mod migrating;
pub mod recipes;
