//! Tables of counters: what is added, what is refused, and what is read with the batches that are in it.

use std::sync::Mutex;
use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::counts::{CountStore, Snapshot, Tally};
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::BigInt;
use writeway_core::diesel::{self, QueryResult};
use writeway_core::diesel_async::{AsyncPgConnection, RunQueryDsl};
use writeway_core::error::{Kind, Outcome, Result};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::{CountTable, Sql, SqlCounts, Tallies};
use writeway_core::store::{Blame, FencedStore, Flush, Flushed};
use writeway_core::{bulk_add, counts, key_among};

use crate::support::Schema;

diesel::table! {
    points (game, player) { game -> BigInt, player -> Text, won -> BigInt, lost -> Integer, }
}

/// `lost` is a narrower column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[serde(crate = "writeway_core::serde")]
#[diesel(table_name = points)]
struct Points {
    won: i64,
    #[diesel(select_expression = points::lost.cast::<BigInt>())]
    lost: i64,
}
counts!(Points { won, lost });

type Id = (i64, String);
type Rows = Vec<(Id, Points)>;

bulk_add!(add_points on points: (Id, Points) { key [game, player], add [won, lost] });
bulk_add!(add_existing on points: (Id, Points) { key [game, player], add [won, lost], existing only });
key_among!(among on points: Id [game, player]);

/// `EXISTING` only: what is missing is refused.
struct Games<const EXISTING: bool>;

/// What the next fetch is overtaken by.
static MEANWHILE: Mutex<Option<Sql<Tallies<Games<false>>>>> = Mutex::new(None);

impl<const EXISTING: bool> CountTable for Games<EXISTING> {
    type Connection = AsyncPgConnection;
    type Key = Id;
    type Counts = Points;
    async fn fetch(conn: &mut AsyncPgConnection, keys: &[Id]) -> QueryResult<Rows> {
        if keys.contains(&id(OVERTAKEN)) {
            let store = MEANWHILE.lock().expect("no panic").take().expect("set");
            flush(&store, 2, &[tally(OVERTAKEN, 1, 0)]).await.expect("flushed");
        }
        points::table.filter(among(keys)).select(((points::game, points::player), Points::as_select())).load(conn).await
    }
    async fn add(conn: &mut AsyncPgConnection, increments: &[(Id, Points)]) -> QueryResult<Rows> {
        if EXISTING { add_existing(conn, increments).await } else { add_points(conn, increments).await }
    }
}

const OVERTAKEN: i64 = 99;

fn id(game: i64) -> Id {
    (game, "a".into())
}

fn of(won: i64, lost: i64) -> Points {
    Points { won, lost }
}

fn tally(game: i64, won: i64, lost: i64) -> Change<Id, Tally<Id, Points>> {
    Change::Put(Tally { key: id(game), counts: of(won, lost) })
}

fn shards<const N: usize>(numbers: [u16; N]) -> [Shard; N] {
    numbers.map(|number| Shard { namespace: "points".into(), number })
}

async fn prepared(name: &str) -> Option<(Schema, SqlCounts<Games<false>>)> {
    let schema = Schema::make(name).await?;
    schema
        .run(
            "CREATE TABLE points (game BIGINT, player TEXT, won BIGINT NOT NULL, lost INTEGER NOT NULL, note TEXT DEFAULT 'new',
                PRIMARY KEY (game, player))",
        )
        .await;
    let store = SqlCounts::new(schema.pool(2).await);
    store.tallies().prepare("points", 4, true).await.expect("prepared");
    store.tallies().open(&shards([0])[0], None).await.expect("open");
    Some((schema, store))
}

type Changes = [Change<Id, Tally<Id, Points>>];

/// As shard 0, in epoch 1.
async fn flush<T: CountTable<Connection = AsyncPgConnection, Key = Id, Counts = Points>>(
    store: &Sql<Tallies<T>>,
    batch: u64,
    changes: &Changes,
) -> Result<Flushed<Tally<Id, Points>>> {
    let [shard] = shards([0]);
    let (at, batch) = (At { shard, epoch: 1 }, BatchId { epoch: 1, batch });
    let (within, keep_log) = (Some(Duration::from_secs(5)), Duration::from_secs(60));
    store.flush(&Flush { at: &at, batch, keys: &[b"a".to_vec()], within, keep_log }, changes).await
}

async fn at(store: &SqlCounts<Games<false>>, numbers: [u16; 2], games: &[i64]) -> Snapshot<Id, Points> {
    let ids: Vec<Id> = games.iter().map(|game| id(*game)).collect();
    let mut snapshot = store.fetch_at(&shards(numbers), &ids).await.expect("fetched");
    snapshot.rows.sort_by(|a, b| a.0.cmp(&b.0));
    snapshot
}

#[tokio::test]
async fn increments_are_added_and_the_rows_come_back() {
    let Some((schema, store)) = prepared("counts_added").await else { return };
    let tallies = store.tallies();
    let added = flush(&tallies, 1, &[tally(1, 5, 1), tally(2, -3, 0)]).await.expect("flushed");
    assert!(matches!(&added, Flushed::Applied(rows) if matches!(&rows[1], Stored::As(row) if row.counts == of(-3, 0))));
    flush(&tallies, 2, &[tally(1, 1, 2), tally(3, 0, 7)]).await.expect("flushed");
    assert_eq!(flush(&tallies, 2, &[tally(1, 1, 2)]).await.expect("asked"), Flushed::Already);
    assert_eq!(schema.number("SELECT count(*) FROM points WHERE note = 'new'").await, 3);
    let rows = vec![(id(1), of(6, 3)), (id(2), of(-3, 0)), (id(3), of(0, 7))];
    assert_eq!(at(&store, [3, 0], &[3, 7, 1, 2]).await, Snapshot { batches: vec![0, 2], rows });
}

#[tokio::test]
async fn what_has_no_row_is_refused_with_its_batch_where_none_is_made() {
    let Some((schema, store)) = prepared("counts_missing").await else { return };
    let existing = SqlCounts::<Games<true>>::new(schema.pool(1).await).tallies();
    flush(&store.tallies(), 1, &[tally(1, 5, 1)]).await.expect("flushed");
    let refused = flush(&existing, 2, &[tally(1, 1, 0), tally(2, 1, 0)]).await;
    let refused = refused.expect_err("invariant violated: an increment that went nowhere is not in effect");
    assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied), "{refused}");
    assert_eq!(existing.blame(&refused), Blame::Parent);
    assert!(refused.to_string().contains("insert it and redrive the dead letter"), "{refused}");
    assert_eq!(at(&store, [0, 1], &[1, 2]).await, Snapshot { batches: vec![1, 0], rows: vec![(id(1), of(5, 1))] });
    let alone = flush(&existing, 2, &[tally(1, 1, 0)]).await.expect("flushed");
    assert!(matches!(&alone, Flushed::Applied(rows) if matches!(&rows[..], [Stored::As(row)] if row.counts == of(6, 1))));
}

#[tokio::test]
async fn what_a_column_cannot_hold_is_the_rows_fault() {
    let Some((_schema, store)) = prepared("counts_range").await else { return };
    let tallies = store.tallies();
    let most = i64::from(i32::MAX);
    flush(&tallies, 1, &[tally(1, i64::MAX, most)]).await.expect("it fits");
    for too_much in [tally(1, 1, 0), tally(1, 0, 1), tally(2, 0, most + 1)] {
        let refused = flush(&tallies, 2, &[too_much]).await.expect_err("invariant violated: sums are exact");
        assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied), "{refused}");
        assert_eq!(tallies.blame(&refused), Blame::Row);
    }
    assert_eq!(at(&store, [0, 1], &[1, 2]).await.rows, [(id(1), of(i64::MAX, most))]);
}

#[tokio::test]
async fn rows_and_batches_are_of_one_snapshot() {
    let Some((_schema, store)) = prepared("counts_snapshot").await else { return };
    flush(&store.tallies(), 1, &[tally(OVERTAKEN, 1, 0)]).await.expect("flushed");
    *MEANWHILE.lock().expect("no panic") = Some(store.tallies());
    let overtaken = at(&store, [0, 1], &[OVERTAKEN]).await;
    let row = vec![(id(OVERTAKEN), of(1, 0))];
    let expected = Snapshot { batches: vec![1, 0], rows: row };
    assert_eq!(overtaken, expected, "invariant violated: a row has the increments of the batches up to its shard's");
    assert!(MEANWHILE.lock().expect("no panic").is_none());
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
