//! What the staleness harness watches: write-through, with and without its barrier, and delete-after-commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use writeway_testkit::harness::{Given, MortalRuntime, Schema, Score, Scores, Subject, Wrote, score};
use writeway_through::cache::{
    Ask, Barriers, BeginBy, BoxFuture, Bytes, Declaration, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup,
};
use writeway_through::runtime::{Runtime, Tokio};
use writeway_through::sql::Pool;
use writeway_through::store::Store;
use writeway_through::{Change, Outcome, Redis, Result, Sql, WriteThrough, diesel_async};

/// How long barriers stand: short, so that the keys of dead writers are soon hits again. A quarter of it is what a busy machine
/// may take between sending a COMMIT and having committed.
const BARRIER: Duration = Duration::from_millis(400);
const STALLED: Duration = Duration::from_millis(240);

/// Values and leases only, and what is no entry of ours (0xD7 is 215). An evicted barrier would cost stale reads.
const EVICT: &str = "local v = redis.call('GET', KEYS[1])
    if v and (string.byte(v, 1) ~= 215 or string.byte(v, 2) == 86 or string.byte(v, 2) == 76) then
        return redis.call('DEL', KEYS[1])
    end
    return 0";

async fn raw(given: &Given) -> MultiplexedConnection {
    let client = redis::Client::open(given.redis.as_str()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("redis lets us in")
}

async fn evict(mut conn: MultiplexedConnection, key: String) -> bool {
    let script = redis::Script::new(EVICT);
    script.key(key).invoke_async::<i64>(&mut conn).await.is_ok_and(|n| n == 1)
}

async fn audit(table: &Sql<Scores>, player: i32) -> Option<i64> {
    table.fetch(&[(1, player)]).await.ok().and_then(|rows| rows.first().map(|row| row.version))
}

fn die_roll(n: u64) -> u64 {
    u64::try_from(Tokio.random() % u128::from(n)).unwrap_or(0)
}

/// Counts hits; without its guard, `begin` does nothing.
#[derive(Clone)]
struct Counted {
    cache: Redis,
    guarded: bool,
    hits: Arc<AtomicU64>,
}

impl Entries for Counted {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        self.cache.declare(declaration)
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let found = self.cache.get(keys).await?;
            let hits = found.iter().filter(|look| matches!(look, Lookup::Hit(_))).count();
            self.hits.fetch_add(hits as u64, SeqCst);
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        self.cache.lease(asks, hold)
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        self.cache.fill(fills)
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        self.cache.invalidate(keys)
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        self.cache.scan(stem, cursor)
    }
}

impl Barriers for Counted {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        if self.guarded { self.cache.begin(keys, token, by) } else { Box::pin(std::future::ready(Ok(()))) }
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        self.cache.finish(ends, token)
    }
}

/// A writer's process: it dies, and another takes its place.
struct Writer {
    runtime: MortalRuntime,
    handle: WriteThrough<Sql<Scores>>,
    /// How many polls its last whole write took.
    whole: AtomicU64,
}

/// Strict write-through: one handle for all readers, one for each writer.
pub(crate) struct Through {
    readers: WriteThrough<Sql<Scores>>,
    writers: Vec<Writer>,
    table: Sql<Scores>,
    hits: Arc<AtomicU64>,
    redis: MultiplexedConnection,
    stem: String,
}

impl Through {
    pub(crate) async fn new(given: &Given, schema: &Schema, name: &str, guarded: bool) -> Self {
        let test = format!("staleness.{name}");
        let hits = Arc::new(AtomicU64::new(0));
        let cache = Counted { cache: given.cache(&test).await, guarded, hits: hits.clone() };
        let table = Sql::<Scores>::new(schema.without_fsync().pool(12, STALLED).await);
        let build = |runtime: Arc<dyn Runtime>| {
            let builder = WriteThrough::builder(table.clone()).namespace("scores").commit_within(BARRIER);
            builder.call_timeout(Duration::from_secs(2)).runtime(runtime).build(cache.clone())
        };
        let readers = build(Arc::new(Tokio)).await.expect("build");
        readers.invalidate_all().await.expect("an earlier run's entries");
        let mut writers = Vec::new();
        for player in 0..3 {
            let runtime = MortalRuntime::default();
            let handle = build(Arc::new(runtime.clone())).await.expect("build");
            handle.put(score(player, 1)).await.expect("put");
            writers.push(Writer { runtime, handle, whole: AtomicU64::new(12) });
        }
        let stem = format!("{}:scores:", given.prefix_of(&test));
        Through { readers, writers, table, hits, redis: raw(given).await, stem }
    }
}

impl Subject for Through {
    async fn read(&self, player: i32) -> Option<i64> {
        self.readers.get(&(1, player)).await.ok().map(|row| row.map_or(0, |row| row.version))
    }

    async fn audit(&self, player: i32) -> Option<i64> {
        audit(&self.table, player).await
    }

    /// Two of three writers die, most of them near the end of the write, where the commit is.
    async fn write(&self, writer: usize, player: i32, tag: i64) -> Wrote {
        let writer = &self.writers[writer];
        let (whole, before) = (writer.whole.load(SeqCst), writer.runtime.deaths());
        let dies_at = match die_roll(6) {
            0 | 1 => 0,
            2 => 1 + die_roll(whole),
            _ => whole.saturating_sub(die_roll(3)).max(1),
        };
        writer.runtime.dies_at(dies_at);
        let written = writer.handle.put(score(player, tag)).await;
        let polls = writer.runtime.polls();
        writer.runtime.dies_at(0);
        match written {
            Ok(written) => {
                if dies_at == 0 {
                    writer.whole.store(polls, SeqCst);
                }
                written.row.map_or(Wrote::Failed, |row| Wrote::Acknowledged(row.version))
            }
            Err(e) if e.outcome() == Outcome::Unknown && writer.runtime.deaths() > before => Wrote::Killed,
            Err(_) => Wrote::Failed,
        }
    }

    async fn evict(&self, player: i32) -> bool {
        evict(self.redis.clone(), format!("{}1:{player}", self.stem)).await
    }

    fn hits(&self) -> u64 {
        self.hits.load(SeqCst)
    }
}

/// What everybody does: read, else load and set; commit, then delete. A killed writer does not come to the delete.
pub(crate) struct DeleteAfterCommit {
    table: Sql<Scores>,
    pool: Pool<diesel_async::AsyncPgConnection>,
    redis: MultiplexedConnection,
    stem: String,
    hits: AtomicU64,
}

impl DeleteAfterCommit {
    pub(crate) async fn new(given: &Given, schema: &Schema) -> Self {
        let pool = schema.without_fsync().pool(12, Duration::from_secs(1)).await;
        let table = Sql::<Scores>::new(pool.clone());
        for player in 0..3 {
            table.apply(&[Change::Put(score(player, 1))]).await.expect("applied");
        }
        let stem = format!("{}:scores:1:", given.prefix_of("staleness.naive"));
        DeleteAfterCommit { table, pool, redis: raw(given).await, stem, hits: AtomicU64::new(0) }
    }

    fn key(&self, player: i32) -> String {
        format!("{}{player}", self.stem)
    }
}

impl Subject for DeleteAfterCommit {
    async fn read(&self, player: i32) -> Option<i64> {
        let (mut redis, key) = (self.redis.clone(), self.key(player));
        let cached: Option<i64> = redis::cmd("GET").arg(&key).query_async(&mut redis).await.ok()?;
        if cached.is_some() {
            self.hits.fetch_add(1, SeqCst);
            return cached;
        }
        let loaded = audit(&self.table, player).await?;
        let _: () = redis::cmd("SET").arg(&key).arg(loaded).arg("EX").arg(60).query_async(&mut redis).await.ok()?;
        Some(loaded)
    }

    async fn audit(&self, player: i32) -> Option<i64> {
        audit(&self.table, player).await
    }

    async fn write(&self, _: usize, player: i32, tag: i64) -> Wrote {
        use writeway_through::sql::SqlTable;
        let Ok(mut conn) = self.pool.get().await else { return Wrote::Failed };
        let Ok(rows) = Scores::upsert(&mut conn, &[score(player, tag)]).await else { return Wrote::Failed };
        drop(conn);
        let Some(Score { version, .. }) = rows.into_iter().next() else { return Wrote::Failed };
        if die_roll(3) == 0 {
            return Wrote::Killed;
        }
        let mut redis = self.redis.clone();
        let deleted = redis::cmd("DEL").arg(self.key(player)).query_async::<i64>(&mut redis).await;
        if deleted.is_ok() { Wrote::Acknowledged(version) } else { Wrote::Failed }
    }

    async fn evict(&self, player: i32) -> bool {
        evict(self.redis.clone(), self.key(player)).await
    }

    fn hits(&self) -> u64 {
        self.hits.load(SeqCst)
    }
}
