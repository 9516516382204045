//! What readers and writers of two handles in strict mode are told, key by key, while the servers fail: as if all calls of a key
//! had happened one after the other. A reader that answers one read in thirty from an old copy is found out by the same harness.
//!
//! `WRITEWAY_LONG` asks for more of it.

use std::time::Duration;

use writeway_testkit::harness::{Given, Registers, Remembering, Schema, Scores, record, score};
use writeway_testkit::proxy::{Proxy, Rule};
use writeway_testkit::servers;
use writeway_through::diesel_async::SimpleAsyncConnection as _;
use writeway_through::runtime::{Runtime as _, Tokio};
use writeway_through::{Result, Sql, WriteThrough};

const STALLED: Duration = Duration::from_millis(700);

/// Each call by either of them.
struct Two([WriteThrough<Sql<Scores>>; 2]);

impl Two {
    fn any(&self) -> &WriteThrough<Sql<Scores>> {
        &self.0[usize::from(Tokio.random().is_multiple_of(2))]
    }
}

impl Registers for Two {
    async fn write(&self, player: i32, value: Option<i64>) -> Result<()> {
        match value {
            Some(points) => self.any().put(score(player, points)).await.map(drop),
            None => self.any().delete(&(1, player)).await.map(drop),
        }
    }

    async fn read(&self, player: i32) -> Result<Option<i64>> {
        Ok(self.any().get(&(1, player)).await?.map(|row| row.points))
    }
}

struct Rig {
    redis: servers::Redis,
    schema: Schema,
    /// On the way to SQL.
    proxy: Proxy,
    two: Two,
}

async fn rig(test: &str) -> Option<Rig> {
    // A Redis that is killed must not lose a barrier.
    let (given, redis) = Given::from_env()?.with_lasting_redis()?;
    let schema = Schema::make(&given.database, &format!("it_histories_{test}")).await;
    let proxy = Proxy::start(given.database_address()).await.expect("a free port");
    let proxied = Schema::of(&given.with_database_at(proxy.port()).database, schema.name()).without_fsync();
    let handle = async || {
        let table: Sql<Scores> = Sql::new(proxied.pool(8, STALLED).await);
        let builder = WriteThrough::builder(table).namespace("scores").call_timeout(Duration::from_secs(1));
        builder.build(given.cache(test).await).await.expect("build")
    };
    let two = Two([handle().await, handle().await]);
    Some(Rig { redis, schema, proxy, two })
}

/// Paces the faults.
async fn for_millis(n: u64) {
    Tokio.sleep(Duration::from_millis(n)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_histories_under_faults_are_linearizable() {
    let Some(Rig { mut redis, schema, proxy, two }) = rig("strict").await else { return };
    let mut stranger = schema.connect().await;
    stranger.batch_execute("SET application_name = 'stranger'").await.expect("set");
    let rounds = if std::env::var_os("WRITEWAY_LONG").is_some() { 40 } else { 2 };
    let faults = async {
        for _ in 0..rounds {
            for_millis(1_000).await;
            redis.pause().expect("paused");
            for_millis(1_200).await;
            redis.resume().expect("resumed");
            for_millis(1_000).await;
            for n in 0..20 {
                for_millis(30).await;
                proxy.once(if n % 2 == 0 { Rule::cut_after("COMMIT") } else { Rule::cut_before("COMMIT") });
            }
            proxy.set(Rule::Stall);
            for_millis(1_300).await;
            proxy.set(Rule::Pass);
            for_millis(500).await;
            schema.end_sessions(&mut stranger).await;
            for_millis(500).await;
            tokio::task::block_in_place(|| {
                redis.kill().expect("killed");
                redis.restart().expect("restarted");
            });
        }
        for_millis(2_000).await;
    };
    let (keys, shown) = record(two, faults).await;
    println!("{keys} keys, {} commits cut", proxy.cuts());
    shown.is_linear(500);
    assert!(proxy.cuts() >= 10, "the harness did too little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_remembers_is_found_out() {
    let Some(Rig { redis: _redis, schema: _schema, proxy: _proxy, two }) = rig("remembers").await else { return };
    let (keys, shown) = record(Remembering::new(two), for_millis(2_000)).await;
    println!("{keys} keys, {} of them wrong", shown.wrong.len());
    assert!(!shown.wrong.is_empty(), "the harness does not see a reader that answers from an old copy");
}
