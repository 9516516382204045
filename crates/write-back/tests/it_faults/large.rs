//! Sizes: ten thousand rows at once, a table of the user's own whose statement has a bind per column, a row of megabytes.

use std::time::Duration;

use writeway_back::diesel::prelude::*;
use writeway_back::diesel::{self, QueryResult};
use writeway_back::diesel_async::{AsyncPgConnection, RunQueryDsl};
use writeway_back::serde::{Deserialize, Serialize};
use writeway_back::{Change, Kind, Redis, Sql, SqlTable};
use writeway_testkit::harness::{Score, Scores, number, score, scores};

use crate::rig::{Rig, builder, cache, eventually, flushed, write_all};

const ROWS: i32 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rows_go_in_batches_of_their_size() {
    let Some(rig) = Rig::new("rows").await else { return };
    let handle = rig.build(|builder| builder.max_delay(Duration::from_secs(600)).max_batch(1_000)).await;
    let lock = rig.block_sql().await;
    write_all(&handle, 0..ROWS, 1).await;
    lock.release().await;
    flushed(&handle).await;
    let stats = handle.stats().await.expect("stats");
    let logged = "SELECT count(*) FROM writeway_batch WHERE namespace = 'scores'";
    let batches = number(&mut rig.schema.connect().await, logged).await;
    println!("{ROWS} rows: {stats:?}, {batches} batches");
    assert_eq!(rig.ascending().await.len(), usize::try_from(ROWS).expect("small"), "invariant violated: everything drains");
    assert!((10..=40).contains(&batches), "invariant violated: batches are of their size: {batches}");
}

/// A table whose upsert is one statement of VALUES, as diesel writes it: a bind per column and row.
struct ByValues;

#[derive(Insertable, AsChangeset)]
#[diesel(table_name = scores)]
struct NewScore {
    game: i64,
    player: i32,
    points: i64,
    note: Option<String>,
    version: i64,
}

impl SqlTable for ByValues {
    type Connection = AsyncPgConnection;
    type Key = (i64, i32);
    type Row = Score;

    fn key(row: &Score) -> (i64, i32) {
        (row.game, row.player)
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[(i64, i32)]) -> QueryResult<Vec<Score>> {
        Scores::fetch(conn, keys).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Score]) -> QueryResult<Vec<Score>> {
        use writeway_back::diesel::upsert::excluded;
        let new = |row: &Score| {
            let Score { game, player, points, note, version } = row.clone();
            NewScore { game, player, points, note, version }
        };
        diesel::insert_into(scores::table)
            .values(rows.iter().map(new).collect::<Vec<_>>())
            .on_conflict((scores::game, scores::player))
            .do_update()
            .set((scores::points.eq(excluded(scores::points)), scores::note.eq(excluded(scores::note))))
            .returning(Score::as_returning())
            .load(conn)
            .await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[(i64, i32)]) -> QueryResult<usize> {
        Scores::remove(conn, keys).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bind_per_column_fits_if_the_batch_does() {
    let Some(rig) = Rig::new("values").await else { return };
    let table: Sql<ByValues> = Sql::new(rig.schema.pool(3, Duration::from_millis(3_500)).await);
    // Four columns are bound (an absent note is a DEFAULT): 10,000 rows are fewer than 65,535 binds.
    let handle = builder(table).shards(1).max_delay(Duration::from_secs(600)).max_batch(10_000);
    let handle = handle.flush_timeout(Duration::from_secs(5)).build(cache(&rig.given).await).await.expect("build");
    for first in (0..ROWS).step_by(1_000) {
        let changes = (first..first + 1_000).map(|player| Change::Put(score(player, 1))).collect();
        drop(handle.write(changes).await.expect("accepted"));
    }
    eventually("a flush", async || handle.flush().await.ok()).await;
    println!("{:?}", handle.stats().await.expect("stats"));
    assert_eq!(rig.ascending().await.len(), usize::try_from(ROWS).expect("small"), "invariant violated: everything drains");
}

diesel::table! {
    wide (id) {
        id -> Int4,
        a -> Int8,
        b -> Int8,
        c -> Int8,
        d -> Int8,
        e -> Int8,
        f -> Int8,
    }
}

/// Seven binds.
#[derive(Clone, Debug, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = wide)]
#[serde(crate = "writeway_back::serde")]
struct WideRow {
    id: i32,
    a: i64,
    b: i64,
    c: i64,
    d: i64,
    e: i64,
    f: i64,
}

struct Wide;

impl SqlTable for Wide {
    type Connection = AsyncPgConnection;
    type Key = i32;
    type Row = WideRow;

    fn key(row: &WideRow) -> i32 {
        row.id
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[i32]) -> QueryResult<Vec<WideRow>> {
        wide::table.filter(wide::id.eq_any(keys.to_vec())).select(WideRow::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[WideRow]) -> QueryResult<Vec<WideRow>> {
        use writeway_back::diesel::upsert::excluded;
        diesel::insert_into(wide::table)
            .values(rows.to_vec())
            .on_conflict(wide::id)
            .do_update()
            .set(wide::a.eq(excluded(wide::a)))
            .returning(WideRow::as_returning())
            .load(conn)
            .await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[i32]) -> QueryResult<usize> {
        diesel::delete(wide::table.filter(wide::id.eq_any(keys.to_vec()))).execute(conn).await
    }
}

/// 70,000 binds in a batch: more than PostgreSQL's protocol can number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_with_too_many_binds_is_halved() {
    let Some(rig) = Rig::new("wide").await else { return };
    let columns = "a INT8 NOT NULL, b INT8 NOT NULL, c INT8 NOT NULL, d INT8 NOT NULL, e INT8 NOT NULL, f INT8 NOT NULL";
    rig.schema.run(&format!("CREATE TABLE wide (id INT PRIMARY KEY, {columns})")).await;
    let table: Sql<Wide> = Sql::new(rig.schema.pool(3, Duration::from_millis(3_500)).await);
    let handle = builder(table).namespace("wide").shards(1).max_delay(Duration::from_secs(600)).max_batch(10_000);
    let handle = handle.flush_timeout(Duration::from_secs(5)).build(cache(&rig.given).await).await.expect("build");
    let row = |id| Change::Put(WideRow { id, a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 });
    for first in (0..ROWS).step_by(1_000) {
        drop(handle.write((first..first + 1_000).map(row).collect()).await.expect("accepted"));
    }
    eventually("a flush", async || handle.flush().await.ok()).await;
    let (stats, count) = (handle.stats().await.expect("stats"), "SELECT count(*) FROM wide");
    println!("70,000 binds: {stats:?}");
    assert_eq!((stats.dirty, stats.dead), (0, 0), "invariant violated: what is too much at once is not refused");
    assert_eq!(number(&mut rig.schema.connect().await, count).await, i64::from(ROWS), "invariant violated: everything drains");
    assert!(stats.splits > 0, "the harness did too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_five_megabytes_lands() {
    let Some(rig) = Rig::new("long").await else { return };
    let long = |player: i32, points: i64| Score { note: Some("5".repeat(5 << 20)), ..score(player, points) };
    let table: Sql<Scores> = Sql::new(rig.schema.pool(3, Duration::from_millis(3_500)).await);
    let cache = Redis::builder(&rig.given.redis).prefix("long").response_timeout(Duration::from_secs(10));
    let handle = builder(table).max_value_bytes(6 << 20).max_dirty_bytes(256 << 20).call_timeout(Duration::from_secs(10));
    let handle = handle.flush_timeout(Duration::from_secs(5)).build(cache.connect().await.expect("redis lets us in"));
    let handle = handle.await.expect("build");
    for player in 0..6 {
        drop(handle.put(long(player, 1)).await.expect("accepted"));
    }
    // Among small ones, and over itself.
    let some = (6..500).map(|player| Change::Put(score(player, 1))).collect();
    drop(handle.write(some).await.expect("accepted"));
    drop(handle.put(long(0, 2)).await.expect("accepted"));
    eventually("a flush", async || handle.flush().await.ok()).await;
    let found = handle.get(&(1, 0)).await.expect("read").expect("it is there");
    assert_eq!((found.points, found.note.map_or(0, |note| note.len())), (2, 5 << 20), "invariant violated: long rows are whole");
    let too_long = Score { note: Some("7".repeat(7 << 20)), ..score(9, 2) };
    assert_eq!(handle.put(too_long).await.map(drop).map_err(|e| e.kind()), Err(Kind::Invalid));
    let length = number(&mut rig.schema.connect().await, "SELECT sum(length(note)) FROM scores").await;
    println!("six rows of 5 MiB: {:?}", handle.stats().await.expect("stats"));
    assert_eq!(length, 6 * (5 << 20), "invariant violated: long rows are whole");
    assert_eq!(rig.ascending().await.len(), 500);
}
