//! What the scenarios share: a Redis of their own, a schema with a ledger, handles, and waiting that is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use writeway_back::diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use writeway_back::runtime::{Runtime, Tokio};
use writeway_back::store::FencedStore;
use writeway_back::{Change, Redis, Sql, Ticket, WriteBack, WriteBackBuilder};
use writeway_core::journal::{Journal, Shard, Status};
use writeway_testkit::harness::{Given, Ledger, Schema, Scores, score};
use writeway_testkit::proxy::Proxy;
use writeway_testkit::servers::{self, Resp};

pub(crate) type Handle = WriteBack<Sql<Scores>>;

pub(crate) const SHARDS: u16 = 4;
pub(crate) const DELAY: Duration = Duration::from_millis(100);
pub(crate) const FLUSH: Duration = Duration::from_secs(1);
/// After so long the database ends what stands still.
const STALLED: Duration = Duration::from_millis(700);
/// Long enough for a loaded machine; what waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) given: Given,
    pub(crate) redis: servers::Redis,
    pub(crate) schema: Schema,
    pub(crate) ledger: Ledger,
}

/// With the time-outs of these tests.
pub(crate) async fn table(schema: &Schema) -> Sql<Scores> {
    Sql::new(schema.pool(3, STALLED).await)
}

pub(crate) fn builder<S: FencedStore>(table: S) -> WriteBackBuilder<S> {
    WriteBack::builder(table).namespace("scores").shards(SHARDS).max_delay(DELAY).flush_timeout(FLUSH).migrate()
}

pub(crate) async fn cache(given: &Given) -> Redis {
    given.cache("faults").await
}

impl Rig {
    /// `None`, and says so, where a server is missing.
    pub(crate) async fn new(test: &str) -> Option<Rig> {
        let given = Given::from_env()?;
        let redis = servers::Redis::from_env().expect("redis starts");
        if redis.is_none() {
            println!("SKIPPED: needs WRITEWAY_REDIS_SERVER");
        }
        let redis = redis?;
        let given = given.with_redis(redis.url());
        let schema = Schema::make(&given.database, &format!("it_faults_{test}")).await;
        let ledger = Ledger::begin(&schema).await;
        Some(Rig { given, redis, schema, ledger })
    }

    /// From here on what Redis acknowledges is on the disk: else one that is killed loses what it acknowledged while it waited.
    pub(crate) fn fsync_always(&mut self) {
        self.redis.fsync_always();
        tokio::task::block_in_place(|| self.redis.restart()).expect("restarted");
    }

    /// The same on a PostgreSQL of the test's own; `None`, and says so, where there is none.
    pub(crate) async fn with_postgres(self, postgres: Option<&servers::Postgres>) -> Option<Rig> {
        let Some(postgres) = postgres else {
            println!("SKIPPED: needs WRITEWAY_PG_BIN");
            return None;
        };
        let schema = Schema::make(&postgres.url(), self.schema.name()).await;
        let given = self.given.with_database(postgres.url());
        Some(Rig { given, ledger: Ledger::begin(&schema).await, schema, ..self })
    }

    /// From here on handles reach Redis over this proxy.
    pub(crate) async fn proxied_redis(&mut self) -> Proxy {
        let proxy = Proxy::start(self.redis_address()).await.expect("a free port");
        self.given = self.given.with_redis(format!("redis://127.0.0.1:{}/", proxy.port()));
        proxy
    }

    /// The schema as it is reached over a proxy, and the proxy. The ledger is still read directly.
    pub(crate) async fn proxied_sql(&self) -> (Proxy, Schema) {
        let proxy = Proxy::start(self.given.database_address()).await.expect("a free port");
        let schema = Schema::of(&self.given.with_database_at(proxy.port()).database, self.schema.name());
        (proxy, schema)
    }

    pub(crate) fn redis_address(&self) -> String {
        format!("127.0.0.1:{}", self.redis.port())
    }

    /// To Redis itself.
    pub(crate) fn resp(&self) -> Resp {
        Resp::connect(&self.redis_address()).expect("redis lets us in")
    }

    pub(crate) async fn handle(&self) -> Handle {
        self.build(|builder| builder).await
    }

    pub(crate) async fn build(
        &self,
        with: impl FnOnce(WriteBackBuilder<Sql<Scores>>) -> WriteBackBuilder<Sql<Scores>>,
    ) -> Handle {
        with(builder(table(&self.schema).await)).build(cache(&self.given).await).await.expect("build")
    }

    /// What the journal holds, all shards together.
    pub(crate) async fn status(&self) -> Status {
        let journal: Arc<dyn Journal> = cache(&self.given).await.into();
        let mut sum = Status::default();
        for number in 0..SHARDS {
            let status = journal.status(&Shard { namespace: "scores".into(), number }).await.expect("redis answers");
            sum.dirty += status.dirty;
            sum.open += status.open;
        }
        sum
    }

    /// While the lock lives, no flush gets further than its first row.
    pub(crate) async fn block_sql(&self) -> Lock {
        // Not of the schema's name: what counts its sessions must not count this one.
        let mut conn = self.schema.connect().await;
        let lock = "SET application_name = 'lock'; BEGIN; LOCK TABLE scores IN EXCLUSIVE MODE";
        conn.batch_execute(lock).await.expect("locked");
        Lock(conn)
    }

    /// Ends all sessions of the schema in SQL, once.
    pub(crate) async fn end_sessions(&self) {
        let mut stranger = self.schema.connect().await;
        stranger.batch_execute("SET application_name = 'stranger'").await.expect("set");
        self.schema.end_sessions(&mut stranger).await;
    }

    /// Every change took effect once, and no row went backwards. Gives what each row went through.
    pub(crate) async fn ascending(&self) -> BTreeMap<i32, Vec<i64>> {
        let mut rows = BTreeMap::<i32, Vec<i64>>::new();
        for step in self.ledger.read().await {
            rows.entry(step.player).or_default().push(step.points);
        }
        for (player, steps) in &rows {
            let rising = steps.windows(2).all(|two| two[0] < two[1]);
            assert!(rising, "invariant violated: each change takes effect once, and in order: {player}: {steps:?}");
        }
        rows
    }

    /// What the rows of some players went through.
    pub(crate) async fn steps_of(&self, players: std::ops::Range<i32>) -> BTreeMap<i32, Vec<i64>> {
        let mut rows = BTreeMap::<i32, Vec<i64>>::new();
        for step in self.ledger.read().await.into_iter().filter(|step| players.contains(&step.player)) {
            rows.entry(step.player).or_default().push(step.points);
        }
        rows
    }
}

pub(crate) struct Lock(AsyncPgConnection);

impl Lock {
    pub(crate) async fn release(mut self) {
        self.0.batch_execute("COMMIT").await.expect("released");
    }
}

/// Puts all `players` with these points, one by one, each until it is accepted.
pub(crate) async fn put_all(handle: &Handle, players: std::ops::Range<i32>, points: i64) -> Vec<Ticket<Sql<Scores>>> {
    let mut tickets = Vec::new();
    for player in players {
        tickets.push(eventually("an accept", async || handle.put(score(player, points)).await.ok()).await);
    }
    tickets
}

/// The same in a few calls.
pub(crate) async fn write_all(handle: &Handle, players: std::ops::Range<i32>, points: i64) {
    let players: Vec<i32> = players.collect();
    for some in players.chunks(1_000) {
        let changes = some.iter().map(|player| Change::Put(score(*player, points))).collect();
        drop(handle.write(changes).await.expect("accepted"));
    }
}

/// Flushes, however long takeovers and recoveries take.
pub(crate) async fn flushed(handle: &Handle) {
    eventually("a flush", async || handle.flush().await.ok()).await;
}

/// Looks until there is something to see; the pause between two looks only spares the processor.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Tokio.now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Tokio.now() < end, "gave up on: {what}");
        Tokio.sleep(Duration::from_millis(5)).await;
    }
}
