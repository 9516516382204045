//! Keys and values are in no text of ours: errors, events, spans, what is printed of a handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_back::change::{Change, Changes, Stored};
use writeway_back::error::{Error, Result};
use writeway_back::store::{FencedStore, Flush, Flushed, Opened, Store};
use writeway_back::{MemoryJournal, MemoryStore};
use writeway_core::journal::{Accept, At, BatchId, Bounds, Journal as _, Shard};
use writeway_core::memory::MemoryTx;
use writeway_testkit::double::Canaries;

use crate::builder;

const KEY: &str = "canarykey";
const VALUE: &str = "canaryvalue";
const DRIVER: &str = "canarydriver";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Secret {
    key: String,
    value: String,
}

fn secret() -> Secret {
    Secret { key: KEY.into(), value: VALUE.into() }
}

/// An error as drivers make them: its own words quote the statement.
fn quoting(make: fn(&'static str) -> Error) -> Error {
    make("a server failed").with_source(std::io::Error::other(format!("{DRIVER} {KEY} {VALUE}")))
}

/// A table of which every second call fails, the flush in each way.
#[derive(Clone, Debug)]
struct Quoting {
    table: MemoryStore<String, Secret>,
    calls: Arc<AtomicU64>,
}

impl Quoting {
    fn call(&self) -> Result<()> {
        match self.calls.fetch_add(1, SeqCst) % 6 {
            1 => Err(quoting(Error::unavailable)),
            3 => Err(quoting(Error::rejected)),
            5 => Err(quoting(Error::unknown)),
            _ => Ok(()),
        }
    }
}

impl Store for Quoting {
    type Key = String;
    type Row = Secret;
    type Tx = MemoryTx;

    fn key(&self, row: &Secret) -> String {
        row.key.clone()
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Secret>> {
        self.call()?;
        self.table.fetch(keys).await
    }

    async fn begin(&self, commit_within: Option<Duration>) -> Result<MemoryTx> {
        self.table.begin(commit_within).await
    }

    async fn apply_in(&self, tx: &mut MemoryTx, changes: &[Change<String, Secret>]) -> Result<Vec<Stored<Secret>>> {
        self.table.apply_in(tx, changes).await
    }
}

impl FencedStore for Quoting {
    async fn prepare(&self, namespace: &str, shards: u16, migrate: bool) -> Result<Vec<u64>> {
        self.table.prepare(namespace, shards, migrate).await
    }

    async fn open(&self, shard: &Shard, log: Option<BatchId>) -> Result<Opened> {
        self.table.open(shard, log).await
    }

    async fn flush(&self, flush: &Flush<'_>, changes: &[Change<String, Secret>]) -> Result<Flushed<Secret>> {
        self.call()?;
        self.table.flush(flush, changes).await
    }

    async fn probe(&self, at: &At, within: Option<Duration>) -> Result<bool> {
        self.call()?;
        self.table.probe(at, within).await
    }
}

#[tokio::test]
async fn no_path_of_write_back_tells_a_key_or_a_value() {
    let canaries = Canaries::new(&[KEY, VALUE, DRIVER]);
    let _guard = tracing::subscriber::set_default(canaries.clone());
    let table = Quoting { table: MemoryStore::new(|secret: &Secret| secret.key.clone()), calls: Arc::default() };
    let journal = MemoryJournal::new();
    let builder =
        builder(table.clone()).namespace("secrets").shards(1).max_value_bytes(100).call_timeout(Duration::from_millis(20));
    canaries.look("builder", &format!("{builder:?} {builder:#?}"));
    let secrets = builder.build(journal.clone()).await.expect("build");
    let mut errors = 0;
    let mut hear = |answer: Result<()>| {
        if let Err(e) = answer {
            errors += 1;
            canaries.look("error", &format!("{e} {e:?} {e:#?}"));
        }
    };
    let key = KEY.to_owned();
    for round in 0..6 {
        match secrets.put(secret()).await {
            Ok(ticket) => {
                canaries.look("ticket", &format!("{ticket:?} {:?}", ticket.receipt()));
                hear(ticket.durable().await);
            }
            Err(e) => hear(Err(e)),
        }
        hear(secrets.write(Changes::new().put(secret()).delete("other".into())).await.map(drop));
        hear(secrets.put(Secret { value: VALUE.repeat(100), ..secret() }).await.map(drop));
        hear(secrets.get(&KEY.repeat(200)).await.map(drop));
        hear(secrets.flush().await);
        hear(secrets.invalidate(std::slice::from_ref(&key)).await);
        hear(secrets.get(&key).await.map(drop));
        hear(secrets.get_many(&[key.clone(), "other".into()]).await.map(drop));
        if round == 3 {
            table.table.apply(&[Change::Put(Secret { value: format!("{VALUE} behind"), ..secret() })]).await.expect("applied");
        }
        match secrets.audit(10).await {
            Ok(audit) => canaries.look("audit", &format!("{audit:?} {audit:#?}")),
            Err(e) => hear(Err(e)),
        }
        hear(secrets.delete(&key).await.map(drop));
        hear(secrets.flush().await);
    }
    let shard = Shard { namespace: "secrets".into(), number: 0 };
    let damaged = Accept { key: format!("{{secrets:0}}:e:{KEY}").into_bytes(), schema: 0, value: VALUE.into() };
    let bounds = Bounds { keys: 9, bytes: 999, age: Duration::from_secs(9) };
    journal.accept(&shard, std::slice::from_ref(&damaged), bounds, Duration::MAX).await.expect("accepted");
    hear(secrets.get(&key).await.map(drop));
    hear(secrets.flush().await);
    match secrets.dead_letters(None).await {
        Ok(letters) => {
            canaries.look("letters", &format!("{letters:?} {letters:#?}"));
            hear(secrets.redrive(&letters).await.map(drop));
            hear(secrets.discard(&letters).await.map(drop));
        }
        Err(e) => hear(Err(e)),
    }
    canaries.look("handle", &format!("{secrets:?} {:?} {journal:?}", secrets.stats().await));
    hear(secrets.shutdown(Duration::from_secs(5)).await.map(drop));
    hear(secrets.get(&key).await.map(drop));
    println!("{errors} errors, {} events", canaries.events());
    assert_eq!(canaries.sung(), Vec::<String>::new(), "invariant violated: no key, value or driver's word in any text");
    assert!(errors > 12 && canaries.events() > 10, "the walk did too little");
}
