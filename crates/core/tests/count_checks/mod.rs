//! Tables of counters: what holds in every kind of database. Each suite makes the table in one of its own.

use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::counts;
use writeway_core::counts::{CountStore, Snapshot, Tally};
use writeway_core::diesel;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::BigInt;
use writeway_core::error::{Kind, Outcome, Result};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::store::{Blame, FencedStore, Flush, Flushed};

diesel::table! {
    points (game, player) { game -> BigInt, player -> Text, won -> BigInt, lost -> Integer, }
}

pub(crate) const TABLE: &str = "CREATE TABLE points
    (game BIGINT, player TEXT, won BIGINT NOT NULL, lost INTEGER, note TEXT DEFAULT 'new', PRIMARY KEY (game, player))";

/// `lost` is a narrower column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[serde(crate = "writeway_core::serde")]
#[diesel(table_name = points)]
pub(crate) struct Points {
    pub(crate) won: i64,
    #[diesel(select_expression = points::lost.cast::<BigInt>())]
    pub(crate) lost: i64,
}
counts!(Points { won, lost });

pub(crate) type Id = (i64, String);

/// Makes `Games<EXISTING>`, the table on a connection; `EXISTING` only: what is missing is refused.
macro_rules! games {
    ($connection:ty $(, $($form:tt)+)?) => {
        bulk_add!(add_points on points: (Id, Points) { key [game, player], add [won, lost] } $($($form)+)?);
        bulk_add!(add_existing on points: (Id, Points) { key [game, player], add [won, lost], existing only } $($($form)+)?);
        key_among!(among on points: Id [game, player] $($($form)+)?);

        struct Games<const EXISTING: bool>;

        /// What the next fetch is overtaken by.
        static MEANWHILE: std::sync::Mutex<Option<SqlCounts<Games<false>>>> = std::sync::Mutex::new(None);

        impl<const EXISTING: bool> CountTable for Games<EXISTING> {
            type Connection = $connection;
            type Key = Id;
            type Counts = Points;
            async fn fetch(conn: &mut $connection, keys: &[Id]) -> QueryResult<Vec<(Id, Points)>> {
                if keys.contains(&id(OVERTAKEN)) {
                    let store = MEANWHILE.lock().expect("no panic").take().expect("set");
                    flush(&store, 2, &[tally(OVERTAKEN, 1, 0)]).await.expect("flushed");
                }
                points::table.filter(among(keys)).select(((points::game, points::player), Points::as_select())).load(conn).await
            }
            async fn add(conn: &mut $connection, increments: &[(Id, Points)]) -> QueryResult<Vec<(Id, Points)>> {
                if EXISTING { add_existing(conn, increments).await } else { add_points(conn, increments).await }
            }
        }
    };
}
pub(crate) use games;

/// A fetch of it is overtaken by the next flush.
pub(crate) const OVERTAKEN: i64 = 99;

pub(crate) fn id(game: i64) -> Id {
    (game, "a".into())
}

pub(crate) fn of(won: i64, lost: i64) -> Points {
    Points { won, lost }
}

pub(crate) fn tally(game: i64, won: i64, lost: i64) -> Change<Id, Tally<Id, Points>> {
    Change::Put(Tally { key: id(game), counts: of(won, lost) })
}

pub(crate) fn shards<const N: usize>(numbers: [u16; N]) -> [Shard; N] {
    numbers.map(|number| Shard { namespace: "points".into(), number })
}

/// Four shards, of which the first is open.
pub(crate) async fn open(store: &impl CountStore) {
    store.tallies().prepare("points", 4, true).await.expect("prepared");
    store.tallies().open(&shards([0])[0], None).await.expect("open");
}

/// As shard 0, in epoch 1.
pub(crate) async fn flush(
    store: &impl CountStore<Key = Id, Counts = Points>,
    batch: u64,
    changes: &[Change<Id, Tally<Id, Points>>],
) -> Result<Flushed<Tally<Id, Points>>> {
    let [shard] = shards([0]);
    let (at, batch) = (At { shard, epoch: 1 }, BatchId { epoch: 1, batch });
    let (within, keep_log) = (Some(Duration::from_secs(5)), Duration::from_secs(60));
    store.tallies().flush(&Flush { at: &at, batch, keys: &[b"a".to_vec()], within, keep_log }, changes).await
}

pub(crate) async fn at(
    store: &impl CountStore<Key = Id, Counts = Points>,
    numbers: [u16; 2],
    games: &[i64],
) -> Snapshot<Id, Points> {
    let ids: Vec<Id> = games.iter().map(|game| id(*game)).collect();
    let mut snapshot = store.fetch_at(&shards(numbers), &ids).await.expect("fetched");
    snapshot.rows.sort_by(|a, b| a.0.cmp(&b.0));
    snapshot
}

pub(crate) async fn adds_and_returns(store: &impl CountStore<Key = Id, Counts = Points>) {
    let added = flush(store, 1, &[tally(1, 5, 1), tally(2, -3, 0)]).await.expect("flushed");
    assert!(matches!(&added, Flushed::Applied(rows) if matches!(&rows[1], Stored::As(row) if row.counts == of(-3, 0))));
    flush(store, 2, &[tally(1, 1, 2), tally(3, 0, 7)]).await.expect("flushed");
    assert_eq!(flush(store, 2, &[tally(1, 1, 2)]).await.expect("asked"), Flushed::Already);
    let rows = vec![(id(1), of(6, 3)), (id(2), of(-3, 0)), (id(3), of(0, 7))];
    assert_eq!(at(store, [3, 0], &[3, 7, 1, 2]).await, Snapshot { batches: vec![0, 2], rows });
}

/// `existing` makes no rows.
pub(crate) async fn refuses_what_has_no_row(
    store: &impl CountStore<Key = Id, Counts = Points>,
    existing: &impl CountStore<Key = Id, Counts = Points>,
) {
    flush(store, 1, &[tally(1, 5, 1)]).await.expect("flushed");
    let refused = flush(existing, 2, &[tally(1, 1, 0), tally(2, 1, 0)]).await;
    let refused = refused.expect_err("invariant violated: an increment that went nowhere is not in effect");
    assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied), "{refused}");
    assert_eq!(existing.tallies().blame(&refused), Blame::Parent);
    assert!(refused.to_string().contains("insert it and redrive the dead letter"), "{refused}");
    assert_eq!(at(store, [0, 1], &[1, 2]).await, Snapshot { batches: vec![1, 0], rows: vec![(id(1), of(5, 1))] });
    let alone = flush(existing, 2, &[tally(1, 1, 0)]).await.expect("flushed");
    assert!(matches!(&alone, Flushed::Applied(rows) if matches!(&rows[..], [Stored::As(row)] if row.counts == of(6, 1))));
}

/// There are the rows 1 and 2, of which `won` is 5 and `lost` is `NULL`; `existing` makes none.
pub(crate) async fn adds_to_null(
    store: &impl CountStore<Key = Id, Counts = Points>,
    existing: &impl CountStore<Key = Id, Counts = Points>,
) {
    let nothing_is_lost = "invariant violated: what is added to NULL is not lost";
    flush(store, 1, &[tally(1, 1, 2)]).await.expect(nothing_is_lost);
    flush(existing, 2, &[tally(2, 1, -3)]).await.expect(nothing_is_lost);
    assert_eq!(at(store, [0, 1], &[1, 2]).await.rows, [(id(1), of(6, 2)), (id(2), of(6, -3))], "{nothing_is_lost}");
}

/// The next fetch of [`OVERTAKEN`] is overtaken by what `overtake` sets.
pub(crate) async fn reads_one_snapshot(store: &impl CountStore<Key = Id, Counts = Points>, overtake: impl FnOnce()) {
    flush(store, 1, &[tally(OVERTAKEN, 1, 0)]).await.expect("flushed");
    // On connections that have prepared all: what is not is asked for twice, the second time later than it should be.
    for _ in 0..4 {
        at(store, [0, 1], &[1]).await;
    }
    overtake();
    let overtaken = at(store, [0, 1], &[OVERTAKEN]).await;
    let expected = Snapshot { batches: vec![1, 0], rows: vec![(id(OVERTAKEN), of(1, 0))] };
    assert_eq!(overtaken, expected, "invariant violated: a row has the increments of the batches up to its shard's");
    let after = flush(store, 2, &[tally(OVERTAKEN, 1, 0)]).await.expect("asked");
    assert_eq!(after, Flushed::Already, "it was overtaken");
}
