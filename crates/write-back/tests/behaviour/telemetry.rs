//! What is counted, and that the metrics say the same.

use std::time::Duration;

use writeway_back::error::{Error, Kind};
use writeway_back::{Changes, MemoryJournal, Overflow};

use crate::doubles::Troubled;
use crate::{builder, row, table};

#[tokio::test]
async fn writes_flushes_and_reads_are_counted() {
    let later = Duration::from_secs(60);
    let rows = builder(table()).shards(1).max_delay(later).max_dirty(10).on_overflow(Overflow::Reject);
    let rows = rows.build(MemoryJournal::new()).await.expect("build");
    let nine = (0..9).fold(Changes::new(), |changes, n| changes.put(row(n, "x")));
    let _ = rows.write(nine.clone()).await.expect("write");
    let _ = rows.write(nine).await.expect("coalesced");
    let full = rows.write(Changes::new().put(row(10, "x")).put(row(11, "x"))).await.expect_err("full");
    assert_eq!(full.kind(), Kind::Overloaded);
    let stats = rows.stats().await.expect("stats");
    assert_eq!((stats.accepted, stats.failed, stats.unknown, stats.dirty, stats.fullness_percent), (18, 1, 0, 9, 90));
    rows.get(&1).await.expect("a dirty one is a hit");
    rows.get(&99).await.expect("none");
    rows.flush().await.expect("flush");
    let stats = rows.stats().await.expect("stats");
    assert_eq!((stats.reads.hits, stats.reads.misses, stats.reads.loads), (1, 1, 1));
    assert_eq!((stats.flushed, stats.batches, stats.transactions, stats.largest_batch), (9, 1, 1, 9));
    assert!(stats.longest_transaction > Duration::ZERO && stats.longest_transaction <= stats.transactions_took);
}

#[tokio::test]
async fn a_transaction_that_fails_is_one_too() {
    let store = Troubled::new(|n| if n < 2 { Err(Error::unavailable("sql is away")) } else { Ok(()) });
    let rows = builder(store).build(MemoryJournal::new()).await.expect("build");
    rows.put(row(1, "a")).await.expect("put").durable().await.expect("durable");
    let stats = rows.stats().await.expect("stats");
    assert_eq!((stats.transactions, stats.batches, stats.retries), (3, 1, 2));
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_metrics_say_what_the_counts_say() {
    let seen = writeway_testkit::double::Metrics::default();
    let _installed = metrics::set_default_local_recorder(&seen);
    let later = Duration::from_secs(60);
    let rows = builder(table()).max_delay(later).max_dirty(20).build(MemoryJournal::new()).await.expect("build");
    let full = |name: &str| format!("writeway_{name}{{namespace=\"rows\"}}");
    let of = |name: &str| seen.value(&full(name)).unwrap_or_else(|| panic!("no {name}")).to_string();
    assert_eq!([of("dirty_rows"), of("recovery_done_total")], ["0", "0"], "there from the beginning");
    for n in 0..5 {
        let _ = rows.put(row(n, "x")).await.expect("put");
    }
    let stats = rows.stats().await.expect("stats");
    assert_eq!((of("dirty_rows"), of("dirty_bytes")), (stats.dirty.to_string(), stats.dirty_bytes.to_string()));
    assert!(stats.fullness_percent > 0 && of("dirty_fullness_ratio") == format!("0.{}", stats.fullness_percent / 10));
    rows.flush().await.expect("flush");
    let stats = rows.stats().await.expect("stats");
    assert_eq!((of("dirty_rows"), of("write_done_total"), of("flush_rows_total")), ("0".into(), "5".into(), "5".into()));
    assert_eq!(of("flush_start_total"), stats.transactions.to_string());
    assert_eq!(seen.observations(&full("flush_seconds")), Some(stats.transactions));
    assert_eq!(seen.observations(&full("batch_rows")), Some(stats.batches));
    let _ = rows.put(row(1, "left")).await.expect("put");
    assert_eq!((rows.stats().await.expect("stats").dirty, of("dirty_rows")), (1, "1".into()));
    assert_eq!(rows.shutdown(Duration::ZERO).await.expect("shutdown").left, 1);
    assert_eq!((rows.stats().await.expect("stats").dirty, of("dirty_rows")), (1, "0".into()), "nobody looks any more");
    let known: Vec<&str> = writeway_back::metrics::ALL.iter().map(|metric| metric.name).collect();
    let names = seen.names();
    let unknown: Vec<_> = names.iter().filter_map(|full| full.split('{').next()).filter(|name| !known.contains(name)).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}
