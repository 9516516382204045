//! Which calls the ratios compare, and what each should reach.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use writeway_around::WriteAround;
use writeway_back::{Changes, WriteBack};
use writeway_core::sql::{Sql, SqlTable};
use writeway_through::WriteThrough;

use crate::clock;
use crate::plan::Plan;
use crate::ratios::{Call, Case, Goal, How};
use crate::raw::Raw;
use crate::servers::Servers;
use crate::subject::{Store, TIME_TO_LIVE};
use crate::table::{Entries, Row};

/// Rows that are hits on both sides.
const HOT: u64 = 1_000;
const BATCH: u64 = 100;
/// Rows of one batch, on either side about.
const FLUSH: usize = 1_000;
/// So many batches, each of a shard of its own: while one is in SQL, another is claimed or acknowledged.
const BATCHES: u16 = 4;
/// Longer than any case: what is measured does not flush by itself.
const LATER: Duration = Duration::from_secs(3_600);
/// Values are small: what the library adds shows most.
const VALUE_BYTES: usize = 100;

/// How many cases there are.
pub(crate) const COUNT: usize = 10;

/// One side: the n-th call's key among so many.
#[derive(Clone)]
struct On<T> {
    it: T,
    keys: u64,
}

impl<T> On<T> {
    /// A row of the whole table.
    fn any(&self, n: u64) -> i64 {
        key(n, self.keys)
    }

    /// A row that is not hot.
    fn cold(&self, n: u64) -> i64 {
        key(n, self.keys - HOT) + i64::try_from(HOT).unwrap_or_default()
    }
}

fn key(n: u64, among: u64) -> i64 {
    // Prime: neighbours in time are not neighbours in the table.
    i64::try_from(n.wrapping_mul(7_919) % among).unwrap_or_default() + 1
}

fn hot(n: u64) -> i64 {
    key(n, HOT)
}

fn batch(n: u64) -> Vec<i64> {
    (0..BATCH).map(|i| hot(n * BATCH + i)).collect()
}

fn row(id: i64) -> Row {
    Row::new(id, 500_000, VALUE_BYTES)
}

fn call<T, F>(on: &On<T>, run: fn(On<T>, u64) -> F) -> Call
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<Duration>> + Send + 'static,
{
    let on = on.clone();
    Arc::new(move |n| Box::pin(run(on.clone(), n)))
}

/// How long it took, if it gave a row.
async fn timed<T, E: Into<anyhow::Error>>(work: impl Future<Output = Result<Option<T>, E>>) -> Result<Duration> {
    let (found, took) = clock::timed(work).await;
    found.map_err(Into::into)?.context("no row")?;
    Ok(took)
}

async fn some<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<Option<T>, E> {
    work.await.map(Some)
}

/// Loads the table, and warms both sides.
///
/// # Errors
/// If a server refuses.
pub(crate) async fn prepare(servers: &mut Servers, plan: &Plan) -> Result<Vec<Case>> {
    servers.reset(i64::from(plan.keys), VALUE_BYTES).await?;
    let store = || Sql::<Entries>::new(servers.pool.clone());
    let redis = servers.writeway().await?;
    let through = WriteThrough::builder(store()).namespace("through").time_to_live(TIME_TO_LIVE).build(redis.clone()).await?;
    let around = WriteAround::builder(store()).namespace("around").time_to_live(TIME_TO_LIVE).build(redis).await?;
    let raw = Raw::new(servers);
    let ids: Vec<i64> = (0..HOT).map(hot).collect();
    raw.fill(&Entries::fetch(&mut *servers.pool.get().await?, &ids).await?).await?;
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
        Case {
            what: "write-back put, 64 tasks, throughput",
            against: "write-through put, strict",
            how: How::Tasks,
            goal: Goal::AtLeast(4.0),
            raw: call(through, |through, n| async move { timed(some(through.it.put(row(through.any(n))))).await }),
            ours: put,
        },
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
    let put = call(through, |ours, n| async move { timed(some(ours.it.put(row(ours.any(n))))).await });
    vec![
        Case {
            what: "write-through put, strict, sequential, p50",
            against: "BEGIN, upsert, EVALSHA, COMMIT, EVALSHA",
            how: How::Sequential,
            goal: Goal::AtMost(1.2),
            raw: raw_put.clone(),
            ours: put.clone(),
        },
        Case {
            what: "write-through put, strict, 64 tasks, throughput",
            against: "the same work, 64 tasks",
            how: How::Tasks,
            goal: Goal::AtLeast(0.85),
            raw: raw_put,
            ours: put,
        },
        Case {
            what: "write-around put, eventual, sequential, p50",
            against: "upsert, EVALSHA",
            how: How::Sequential,
            goal: Goal::AtMost(1.1),
            raw: call(raw, |raw, n| async move { timed(some(raw.it.put_eventual(row(raw.any(n))))).await }),
            ours: call(around, |ours, n| async move { timed(some(ours.it.put(row(ours.any(n))))).await }),
        },
    ]
}
