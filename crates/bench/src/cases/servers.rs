//! The ratios against the two servers.

use anyhow::Result;
use writeway_around::WriteAround;
use writeway_back::{Changes, WriteBack};
use writeway_core::sql::{Sql, SqlTable};
use writeway_through::WriteThrough;

use super::{Case, HOT, LATER, On, VALUE_BYTES, back_by_through, call, key, put_strict, row, some, strict, timed};
use crate::place::{Place, Servers};
use crate::plan::Plan;
use crate::ratios::{Goal, How};
use crate::raw::Raw;
use crate::subject::TIME_TO_LIVE;
use crate::table::{PgEntries, Row};

type Store = Sql<PgEntries>;

const BATCH: u64 = 100;
/// Rows of one batch, on either side about.
const FLUSH: usize = 1_000;
/// So many batches, each of a shard of its own: while one is in SQL, another is claimed or acknowledged.
const BATCHES: u16 = 4;

/// How many cases there are.
pub(crate) const COUNT: usize = 10;

fn hot(n: u64) -> i64 {
    key(n, HOT)
}

fn batch(n: u64) -> Vec<i64> {
    (0..BATCH).map(|i| hot(n * BATCH + i)).collect()
}

/// Loads the table, and warms both sides.
///
/// # Errors
/// If a server refuses.
pub(crate) async fn prepare(servers: &mut Servers, plan: &Plan) -> Result<Vec<Case>> {
    servers.reset(i64::from(plan.keys), VALUE_BYTES).await?;
    let store = || servers.store();
    let redis = servers.writeway().await?;
    let through = WriteThrough::builder(store()).namespace("through").time_to_live(TIME_TO_LIVE).build(redis.clone()).await?;
    let around = WriteAround::builder(store()).namespace("around").time_to_live(TIME_TO_LIVE).build(redis).await?;
    let raw = Raw::new(servers);
    let ids: Vec<i64> = (0..HOT).map(hot).collect();
    raw.fill(&PgEntries::fetch(&mut *servers.pools.readers().get().await?, &ids).await?).await?;
    for page in ids.chunks(500) {
        through.get_many(page).await?;
    }
    let back = |name: &str, shards: u16| {
        let builder = WriteBack::builder(store()).namespace(name).shards(shards).migrate().allow_volatile_changes();
        builder.time_to_live(TIME_TO_LIVE).max_delay(LATER).max_batch(10_000).max_dirty(1_000_000)
    };
    let accepting = back("back", 16).build(servers.writeway().await?).await?;
    let flushing = back("flush", BATCHES).build(servers.writeway().await?).await?;
    raw.open_journal().await?;
    let keys = u64::from(plan.keys);
    let mut cases = reads(&On { it: raw.clone(), keys }, &On { it: through.clone(), keys });
    let (raw, through) = (On { it: raw, keys }, On { it: through, keys });
    cases.extend(writes(&raw, &through, &On { it: around, keys }));
    cases.extend(write_back(&raw, &through, &On { it: accepting, keys }, &On { it: flushing, keys }));
    Ok(cases)
}

fn reads(raw: &On<Raw>, ours: &On<WriteThrough<Store>>) -> Vec<Case> {
    let raw_get = call(raw, |raw, n| async move { timed(raw.it.get(hot(n))).await });
    let get = call(ours, |ours, n| async move { timed(ours.it.get(&hot(n))).await });
    vec![
        Case {
            what: "get, hit, sequential, p50",
            against: "GET",
            how: How::Sequential,
            goal: Goal::AtMost(1.25),
            raw: raw_get.clone(),
            ours: get.clone(),
        },
        Case {
            what: "get, hit, 64 tasks, throughput",
            against: "GET, one multiplexed connection",
            how: How::Tasks,
            goal: Goal::AtLeast(0.7),
            raw: raw_get,
            ours: get,
        },
        Case {
            what: "get_many(100), hits, keys per time",
            against: "MGET of 100",
            how: How::Sequential,
            goal: Goal::AtLeast(0.8),
            raw: call(raw, |raw, n| async move { timed(some(raw.it.get_many(&batch(n)))).await }),
            ours: call(ours, |ours, n| async move { timed(some(ours.it.get_many(&batch(n)))).await }),
        },
        Case {
            what: "get, miss, sequential, p50",
            against: "GET, SELECT, SET",
            how: How::Sequential,
            goal: Goal::AtMost(1.6),
            raw: call(raw, |raw, n| async move {
                let id = raw.cold(n);
                raw.it.forget(id).await?;
                timed(raw.it.miss(id)).await
            }),
            ours: call(ours, |ours, n| async move {
                let id = ours.cold(n);
                ours.it.invalidate(&[id]).await?;
                timed(ours.it.get(&id)).await
            }),
        },
    ]
}

fn write_back(
    raw: &On<Raw>,
    through: &On<WriteThrough<Store>>,
    accepting: &On<WriteBack<Store>>,
    flushing: &On<WriteBack<Store>>,
) -> Vec<Case> {
    let put = call(accepting, |ours, n| async move { timed(some(ours.it.put(row(ours.any(n))))).await });
    vec![
        Case {
            what: "write-back put, 64 tasks, throughput",
            against: "EVALSHA of accept, one multiplexed connection",
            how: How::Tasks,
            goal: Goal::AtLeast(0.7),
            raw: call(raw, |raw, n| async move { timed(some(raw.it.accept(row(raw.any(n))))).await }),
            ours: put.clone(),
        },
        back_by_through(put, put_strict(through)),
        Case {
            what: "write-back flush of 4 × 1,000 rows, rows per time",
            against: "4 × BEGIN, fence, upsert of 1,000, log, COMMIT",
            how: How::Sequential,
            goal: Goal::AtLeast(0.7),
            raw: call(raw, |raw, n| async move { timed(some(flush_raw(&raw.it, &rows(n, raw.keys)))).await }),
            ours: call(flushing, |ours, n| async move {
                let changes = rows(n, ours.keys).into_iter().fold(Changes::new(), Changes::put);
                let _ticket = ours.it.write(changes).await?;
                timed(some(ours.it.flush())).await
            }),
        },
    ]
}

async fn flush_raw(raw: &Raw, rows: &[Row]) -> Result<()> {
    for batch in rows.chunks(FLUSH) {
        raw.flush(batch).await?;
    }
    Ok(())
}

/// Rows of the table for all batches, each once.
fn rows(n: u64, among: u64) -> Vec<Row> {
    let count = u64::from(BATCHES) * FLUSH as u64;
    (0..count).map(|i| row(key(n * count + i, among))).collect()
}

fn writes(raw: &On<Raw>, through: &On<WriteThrough<Store>>, around: &On<WriteAround<Store>>) -> Vec<Case> {
    let raw_put = call(raw, |raw, n| async move { timed(some(raw.it.put_strict(row(raw.any(n))))).await });
    let mut cases = Vec::from(strict("BEGIN, upsert, EVALSHA, COMMIT, EVALSHA", &raw_put, &put_strict(through)));
    cases.push(Case {
        what: "write-around put, eventual, sequential, p50",
        against: "upsert, EVALSHA",
        how: How::Sequential,
        goal: Goal::AtMost(1.1),
        raw: call(raw, |raw, n| async move { timed(some(raw.it.put_eventual(row(raw.any(n))))).await }),
        ours: call(around, |ours, n| async move { timed(some(ours.it.put(row(ours.any(n))))).await }),
    });
    cases
}
