//! The code that the documentation's chapters show, compiled and tested as it stands there; and what the example servers share.

pub mod alarms;
pub mod errors;
pub mod letters;
pub mod migrating;
pub mod recipes;
pub mod serving;
