//! The SQL adapter on SQLite: files of each test's own, no server.
#![cfg(feature = "sqlite")]

mod bulk;
mod commit;
mod dropped;
mod fence;
mod open;
mod store;
mod support;
