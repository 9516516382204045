//! The contract suite over SQLite.
#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::time::Duration;

use writeway_core::runtime::Tokio;
use writeway_testkit::contract::{self, StoreSubject};
use writeway_testkit::file::{File, note};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_it() {
    let file = File::make().await;
    let subject = StoreSubject {
        store: file.notes(),
        runtime: Arc::new(Tokio),
        key: i64::from,
        row: |key, value| note(key.into(), &value.to_string()),
        value: |row| row.text.parse().expect("a number"),
        first_key: 1_000,
        patience: Duration::from_millis(50),
        commit_within: Some(Duration::from_millis(500)),
        one_writer: true,
    };
    let ran = contract::store("SQLite", &subject).await;
    ran.assert_held();
    assert_eq!(ran.left_out.len(), 1, "it has one writer: {ran}");
}
