//! Tables of counters: what is added, what is refused, and what is read with the batches that are in it.

use writeway_core::counts::CountStore;
use writeway_core::diesel::QueryResult;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel_async::{AsyncPgConnection, RunQueryDsl};
use writeway_core::error::{Kind, Outcome};
use writeway_core::sql::{CountTable, SqlCounts};
use writeway_core::store::{Blame, FencedStore};
use writeway_core::{bulk_add, key_among};

use crate::count_checks::{
    Id, OVERTAKEN, Points, TABLE, adds_and_returns, adds_to_null, at, flush, games, id, of, open, points, reads_one_snapshot,
    refuses_what_has_no_row, shards, tally,
};
use crate::support::Schema;

games!(AsyncPgConnection);

async fn prepared(name: &str) -> Option<(Schema, SqlCounts<Games<false>>)> {
    let schema = Schema::make(name).await?;
    schema.run(TABLE).await;
    let store = SqlCounts::new(schema.pool(2).await);
    open(&store).await;
    Some((schema, store))
}

#[tokio::test]
async fn increments_are_added_and_the_rows_come_back() {
    let Some((schema, store)) = prepared("counts_added").await else { return };
    adds_and_returns(&store).await;
    assert_eq!(schema.number("SELECT count(*) FROM points WHERE note = 'new'").await, 3);
}

#[tokio::test]
async fn what_has_no_row_is_refused_with_its_batch_where_none_is_made() {
    let Some((schema, store)) = prepared("counts_missing").await else { return };
    refuses_what_has_no_row(&store, &SqlCounts::<Games<true>>::new(schema.pool(1).await)).await;
}

#[tokio::test]
async fn null_is_added_to_as_if_it_were_0() {
    let Some((schema, store)) = prepared("counts_null").await else { return };
    schema.run("INSERT INTO points (game, player, won) VALUES (1, 'a', 5), (2, 'a', 5)").await;
    adds_to_null(&store, &SqlCounts::<Games<true>>::new(schema.pool(1).await)).await;
}

#[tokio::test]
async fn what_a_column_cannot_hold_is_the_rows_fault() {
    let Some((_schema, store)) = prepared("counts_range").await else { return };
    let most = i64::from(i32::MAX);
    flush(&store, 1, &[tally(1, i64::MAX, most)]).await.expect("it fits");
    for too_much in [tally(1, 1, 0), tally(1, 0, 1), tally(2, 0, most + 1)] {
        let refused = flush(&store, 2, &[too_much]).await.expect_err("invariant violated: sums are exact");
        assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied), "{refused}");
        assert_eq!(store.tallies().blame(&refused), Blame::Row);
    }
    assert_eq!(at(&store, [0, 1], &[1, 2]).await.rows, [(id(1), of(i64::MAX, most))]);
}

#[tokio::test]
async fn rows_and_batches_are_of_one_snapshot() {
    let Some((_schema, store)) = prepared("counts_snapshot").await else { return };
    reads_one_snapshot(&store, || *MEANWHILE.lock().expect("no panic") = Some(store.clone())).await;
}

#[tokio::test]
async fn a_shard_without_a_fence_is_told_and_a_dead_connection_replaced() {
    let Some((schema, _)) = prepared("counts_dead").await else { return };
    let pool = schema.pool(1).await;
    let store = SqlCounts::<Games<false>>::new(pool.clone());
    let missing = store.fetch_at(&shards([0, 9]), &[id(1)]).await.expect_err("there are four");
    assert_eq!(missing.kind(), Kind::Invalid);
    assert!(missing.to_string().contains("writeway_fence"), "{missing}");
    let sessions = "FROM pg_stat_activity WHERE application_name = 'counts_dead' AND pid <> pg_backend_pid()";
    assert_eq!(schema.number(&format!("SELECT count(*) {sessions} AND state LIKE '%transaction%'")).await, 0);
    schema.run(&format!("SELECT pg_terminate_backend(pid) {sessions}")).await;
    assert_eq!(at(&store, [0, 1], &[1]).await.batches, [0, 0]);
    assert_eq!(pool.state().statistics.connections_created, 2, "one for the one that was killed");
}

#[tokio::test]
async fn a_read_that_is_dropped_leaves_no_transaction_open() {
    use std::future::{Future, poll_fn};
    use std::task::Poll;

    let Some((schema, _)) = prepared("counts_dropped").await else { return };
    let pool = schema.pool(1).await;
    let store = SqlCounts::<Games<false>>::new(pool.clone());
    let (mut dropped, mut finished) = (0, false);
    for looks in 1..=40 {
        let (shards, ids) = (shards([0]), [id(1)]);
        let mut read = std::pin::pin!(store.fetch_at(&shards, &ids));
        let mut looked = 0;
        finished = poll_fn(|cx| {
            looked += 1;
            match read.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(done.is_ok()),
                Poll::Pending if looked >= looks => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        dropped += usize::from(!finished);
    }
    assert!(finished && dropped > 0, "{dropped} were dropped");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counts_dropped' AND state LIKE 'idle in%'";
    schema.until(open, 0).await;
    assert_eq!(at(&store, [0, 1], &[1]).await.batches, [0, 0]);
}
