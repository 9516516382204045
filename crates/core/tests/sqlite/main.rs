//! The SQL adapter on SQLite: files of each test's own, no server.
#![cfg(feature = "sqlite")]

mod bulk;
mod bulk_add;
mod commit;
#[path = "../count_checks/mod.rs"]
mod count_checks;
mod counts;
mod dropped;
mod failed;
mod fence;
mod open;
mod store;
mod support;
