//! The SQL adapter on a real PostgreSQL, given by `DATABASE_URL`. Each test has a schema of its own.
#![cfg(feature = "postgres")]

mod bulk;
mod commit;
#[path = "../count_checks/mod.rs"]
mod count_checks;
mod counts;
mod fence;
mod restart;
mod store;
mod support;
mod timeouts;
