//! What a write-around namespace does, without a server. What it shares with write-through (reads, the commit, limits,
//! cancellation) is tested there.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_around::runtime::Runtime;
use writeway_around::store::Store;
use writeway_around::{CacheEffect, Change, Changes, Error, Kind, MemoryStore, Outcome, WriteAround};
use writeway_testkit::double::{Act, RawCache, Script, ScriptedCache, ScriptedStore, TestRuntime};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: i64,
    name: String,
}

fn user(id: i64, name: &str) -> User {
    User { id, name: name.into() }
}

struct Rig {
    users: WriteAround<ScriptedStore<MemoryStore<i64, User>>>,
    table: ScriptedStore<MemoryStore<i64, User>>,
    rows: MemoryStore<i64, User>,
    sql: Script,
    redis: Script,
    cache: RawCache,
    runtime: TestRuntime,
}

const TTL: Duration = Duration::from_secs(60);
const BY: Duration = Duration::from_millis(1_005);

async fn rig(strict: bool) -> Rig {
    let (sql, redis, runtime) = (Script::new(), Script::new(), TestRuntime::new());
    let (rows, cache) = (MemoryStore::new(|user: &User| user.id), RawCache::new(runtime.clone()));
    let table = ScriptedStore::new(rows.clone(), &sql);
    let builder = WriteAround::builder(table.clone()).namespace("users").time_to_live(TTL).runtime(Arc::new(runtime.clone()));
    let builder = if strict { builder.strict() } else { builder };
    let users = builder.build(ScriptedCache::new(cache.clone(), &redis)).await.expect("build");
    rows.apply(&[Change::Put(user(7, "old"))]).await.expect("applied");
    users.get(&7).await.expect("filled");
    sql.forget();
    redis.forget();
    Rig { users, table, rows, sql, redis, cache, runtime }
}

fn down() -> Error {
    Error::unavailable("the double says so")
}

fn unanswered() -> Error {
    Error::unknown("the double says so")
}

#[tokio::test(start_paused = true)]
async fn a_write_leaves_nothing_in_the_cache() {
    for strict in [false, true] {
        let rig = rig(strict).await;
        let written = rig.users.put(user(7, "new")).await.expect("put");
        assert_eq!((written.row, written.cache), (Some(user(7, "new")), CacheEffect::Invalidated));
        assert_eq!(rig.cache.raw("users:7"), None, "invariant violated: write-around publishes nothing");
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "new")));
        assert_eq!(rig.users.delete(&7).await.expect("delete").cache, CacheEffect::Invalidated);
        assert_eq!(rig.cache.raw("users:7"), None, "invariant violated: write-around publishes nothing");
        rig.users.write(Changes::new().put(user(8, "a")).put(user(9, "b"))).await.expect("write");
        assert_eq!(rig.users.get_many(&[9, 7, 8]).await.expect("get_many"), [Some(user(9, "b")), None, Some(user(8, "a"))]);
        let barriers = rig.redis.count("begin") + rig.redis.count("finish");
        assert_eq!((barriers, rig.redis.count("invalidate")), if strict { (6, 0) } else { (0, 3) });
    }
}

/// The reader loaded before the write and fills after it.
#[tokio::test(start_paused = true)]
async fn a_late_fill_puts_nothing_back() {
    for strict in [false, true] {
        let rig = Arc::new(rig(strict).await);
        rig.users.invalidate(&[7]).await.expect("so that the reader misses");
        rig.sql.on("fetch", Act::HoldAfter);
        let reader = rig.clone();
        #[expect(clippy::disallowed_methods, reason = "callers of a test")]
        let reader = tokio::spawn(async move { reader.users.get(&7).await });
        rig.sql.called("fetch", 1).await;
        rig.users.put(user(7, "new")).await.expect("put");
        rig.sql.on("fetch", Act::Pass);
        assert_eq!(reader.await.expect("no panic").expect("get"), Some(user(7, "old")), "it asked before the write");
        rig.runtime.quiet().await;
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "new")), "invariant violated: no late fill");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_cache_eventual_commits_and_strict_refuses() {
    for act in [Act::Fail(down), Act::Stall] {
        let eventual = rig(false).await;
        eventual.redis.on_all(act);
        let start = eventual.runtime.now();
        let written = eventual.users.put(user(7, "new")).await.expect("committed");
        let CacheEffect::Lapses { within } = written.cache else { panic!("{:?}", written.cache) };
        assert!(within >= TTL && eventual.runtime.now() - start <= BY, "{within:?}");
        assert_eq!(eventual.rows.row(&7), Some(user(7, "new")));

        let strict = rig(true).await;
        strict.redis.on_all(act);
        let e = strict.users.put(user(7, "new")).await.expect_err("refused");
        assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::NotApplied), "{e}");
        assert_eq!(strict.rows.row(&7), Some(user(7, "old")), "invariant violated: refused means unchanged");
    }
}

#[tokio::test(start_paused = true)]
async fn an_eventual_commit_of_unknown_outcome_invalidates() {
    for act in [Act::LoseAnswer(unanswered), Act::LandAndStall] {
        let rig = rig(false).await;
        rig.sql.on("commit", act);
        let e = rig.users.put(user(7, "new")).await.expect_err("nobody can know");
        assert_eq!((e.kind(), e.outcome()), (Kind::Unavailable, Outcome::Unknown), "{e}");
        rig.runtime.quiet().await;
        assert_eq!(
            rig.users.get(&7).await.expect("get"),
            Some(user(7, "new")),
            "invariant violated: an unknown commit invalidates"
        );
    }
}

/// What eventual mode gives away, and for how long: Redis does not hear of the commit, or the process dies right after it.
#[tokio::test(start_paused = true)]
async fn a_lost_invalidation_costs_at_most_the_time_to_live() {
    for dies in [false, true] {
        let rig = Arc::new(rig(false).await);
        rig.redis.on("invalidate", if dies { Act::HoldBefore } else { Act::Fail(down) });
        let writer = rig.clone();
        #[expect(clippy::disallowed_methods, reason = "callers of a test")]
        let writer = tokio::spawn(async move { writer.users.put(user(7, "new")).await });
        rig.redis.called("invalidate", 1).await;
        if dies {
            rig.runtime.kill();
        }
        let written = writer.await.expect("no panic");
        assert_eq!(written.is_err(), dies, "{written:?}");
        assert_eq!(rig.rows.row(&7), Some(user(7, "new")), "committed");
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "old")), "nobody told the cache");
        rig.runtime.sleep(TTL * 11 / 10).await;
        let found = rig.users.get(&7).await.expect("get");
        assert_eq!(found, Some(user(7, "new")), "invariant violated: an old row ends by its time-to-live");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_touches_what_it_changed() {
    for strict in [false, true] {
        let rig = rig(strict).await;
        let mut tx = rig.users.begin().await.expect("begin");
        rig.table.apply_in(tx.transaction(), &[Change::Put(user(7, "new"))]).await.expect("applied");
        rig.users.touch(&mut tx, &7);
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "old")), "hits go on until the commit");
        assert_eq!(tx.commit().await.expect("committed"), CacheEffect::Invalidated);
        assert_eq!(rig.users.get(&7).await.expect("get"), Some(user(7, "new")));
        drop(rig.users.begin().await.expect("begin"));
        assert_eq!(rig.users.shutdown(Duration::from_secs(1)).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn eventual_mode_must_name_its_time_to_live() {
    let rows = MemoryStore::new(|user: &User| user.id);
    let built = WriteAround::builder(rows).namespace("users").build(RawCache::new(TestRuntime::new())).await;
    let e = built.map(drop).expect_err("refused");
    assert!(e.kind() == Kind::Invalid && e.to_string().contains("time_to_live"), "{e}");
}
