//! Rows that do not survive what is done to them, and batches of many.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_back::change::Change;
use writeway_back::error::{Kind, Outcome};
use writeway_back::store::FencedStore;
use writeway_back::{MemoryJournal, MemoryStore};
use writeway_core::journal::{Ack, At, Freeze, Install, Installed, Journal as _, PAGE, Shard};

use crate::{builder, row, table};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reading {
    id: i64,
    celsius: f64,
    tags: HashMap<String, i64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Keyless {
    #[serde(skip)]
    id: i64,
    text: String,
}

#[tokio::test]
async fn every_row_that_could_not_be_flushed_is_refused() {
    let readings = MemoryStore::new(|reading: &Reading| reading.id);
    let handle = builder(readings.clone()).build(MemoryJournal::new()).await.expect("build");
    let tags: HashMap<String, i64> = (0..20).map(|n| (n.to_string(), n)).collect();
    let good = Reading { id: 1, celsius: 36.6, tags };
    let ticket = handle.put(good.clone()).await.expect("the order of a map's entries says nothing");
    let refused =
        handle.put(Reading { id: 1, celsius: f64::NAN, ..Reading::default() }).await.expect_err("JSON has no such number");
    assert_eq!((refused.kind(), refused.outcome()), (Kind::Invalid, Outcome::NotApplied), "invariant violated: {refused}");
    ticket.durable().await.expect("durable");
    assert_eq!(readings.row(&1), Some(good));

    let keyless = MemoryStore::new(|row: &Keyless| row.id);
    let handle = builder(keyless).namespace("keyless").build(MemoryJournal::new()).await.expect("build");
    let put = handle.put(Keyless { id: 7, text: "it would be flushed as row 0".into() }).await;
    let refused = put.expect_err("invariant violated: a change is of the key that it was accepted for");
    assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
}

#[tokio::test]
async fn a_batch_of_many_pages_that_was_half_acknowledged_drains() {
    let (store, journal) = (table(), MemoryJournal::new());
    let later = builder(store.clone()).shards(1).max_delay(Duration::from_secs(60));
    let first = later.build(journal.clone()).await.expect("build");
    let count = i64::try_from(PAGE * 2 + 50).expect("small");
    let _ = first.write((0..count).map(|n| Change::Put(row(n, "a"))).collect()).await.expect("write");

    // Another flusher claims all of it and dies while it acknowledges.
    let shard = Shard { namespace: "rows".into(), number: 0 };
    let identity = journal.status(&shard).await.expect("status").identity;
    let opened = store.open(&shard, None).await.expect("open");
    let install = Install { identity, epoch: opened.epoch, batch: opened.batch, diverged: None };
    assert_eq!(journal.install(&shard, &install).await.expect("install"), Installed::Ready);
    let at = At { shard, epoch: opened.epoch };
    let all = Freeze { schema: 0, max_keys: 1_000, max_bytes: 1 << 20, suspects_first: false };
    let (mut items, mut whole) = (Vec::new(), false);
    while !whole {
        let page = journal.claim(&at, items.len() as u64, all).await.expect("led").expect("due");
        whole = page.whole;
        items.extend(page.items.into_iter().map(|item| (page.id, item.key)));
    }
    let done: Vec<Ack> = items[10..PAGE].iter().map(|(_, key)| Ack { key: key.clone(), clean: None }).collect();
    journal.acknowledge(&at, items[0].0, &done).await.expect("acknowledged");

    first.flush().await.expect("invariant violated: everything drains");
    let there = (0..count).filter(|n| store.row(n).is_some()).count();
    assert_eq!(there, items.len() - done.len(), "invariant violated: each change of a batch is flushed once");
}
