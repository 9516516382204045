//! Tables of counters: what is added, what is refused, and what is read with the batches that are in it.

use writeway_core::counts::CountStore;
use writeway_core::diesel;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::Integer;
use writeway_core::diesel::{QueryResult, QueryableByName};
use writeway_core::diesel_async::RunQueryDsl;
use writeway_core::error::Kind;
use writeway_core::sql::{AsyncSqliteConnection, CountTable, SqlCounts};
use writeway_core::{bulk_add, key_among};

use crate::count_checks::{
    Id, OVERTAKEN, Points, TABLE, adds_and_returns, adds_to_null, at, flush, games, id, open, points, reads_one_snapshot,
    refuses_what_has_no_row, shards, tally,
};
use crate::dropped::within;
use crate::support::File;

games!(AsyncSqliteConnection, in Sqlite);

async fn prepared() -> (File, SqlCounts<Games<false>>) {
    let file = File::make().await;
    file.run(TABLE).await;
    let store = SqlCounts::new(file.pools.clone());
    open(&store).await;
    (file, store)
}

#[tokio::test]
async fn increments_are_added_and_the_rows_come_back() {
    let (file, store) = prepared().await;
    adds_and_returns(&store).await;
    assert_eq!(file.number("SELECT count(*) FROM points WHERE note = 'new'").await, 3);
}

#[tokio::test]
async fn what_has_no_row_is_refused_with_its_batch_where_none_is_made() {
    let (file, store) = prepared().await;
    refuses_what_has_no_row(&store, &SqlCounts::<Games<true>>::new(file.pools)).await;
}

#[tokio::test]
async fn null_is_added_to_as_if_it_were_0() {
    let (file, store) = prepared().await;
    file.run("INSERT INTO points (game, player, won) VALUES (1, 'a', 5), (2, 'a', 5)").await;
    adds_to_null(&store, &SqlCounts::<Games<true>>::new(file.pools)).await;
}

/// The writer is not waited for: it flushes in the middle of a read.
#[tokio::test]
async fn rows_and_batches_are_of_one_snapshot() {
    let (_file, store) = prepared().await;
    reads_one_snapshot(&store, || *MEANWHILE.lock().expect("no panic") = Some(store.clone())).await;
}

#[tokio::test]
async fn a_shard_without_a_fence_is_told_and_costs_no_connection() {
    let (file, store) = prepared().await;
    let missing = store.fetch_at(&shards([0, 9]), &[id(1)]).await.expect_err("there are four");
    assert_eq!(missing.kind(), Kind::Invalid);
    assert!(missing.to_string().contains("writeway_fence"), "{missing}");
    assert_eq!(file.pools.readers().state().statistics.connections_closed_broken, 0);
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    busy: i32,
}

#[tokio::test]
async fn a_read_that_is_dropped_leaves_no_transaction_open() {
    let (file, store) = prepared().await;
    let (mut dropped, mut finished) = (0, 0);
    for looks in (1..=12).flat_map(|looks| [looks; 10]) {
        match within(looks, store.fetch_at(&shards([0]), &[id(1)])).await {
            Some(done) => finished += usize::from(done.is_ok()),
            None => dropped += 1,
        }
    }
    assert!(finished > 0 && dropped > 10, "{finished} were finished, {dropped} dropped");
    flush(&store, 1, &[tally(1, 5, 1)]).await.expect("flushed");
    // It waits, up to the `busy_timeout`, for readers of what was before.
    let mut writer = file.pools.writers().get().await.expect("the writer");
    let checkpoint: Checkpoint =
        diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(&mut *writer).await.expect("a checkpoint");
    assert_eq!(checkpoint.busy, 0, "invariant violated: a read that is dropped leaves no transaction open");
    assert_eq!(at(&store, [0, 1], &[1]).await.batches, [1, 0]);
}
