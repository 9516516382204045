//! Bounds: concurrent loads, lengths, and the end of a handle.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_core::entry::state::State;
use writeway_testkit::double::{Act, RawCache, Script, ScriptedCache, ScriptedStore, TestRuntime};
use writeway_through::{CacheEffect, Key, Kind, MemoryStore, WriteThrough};

use crate::rig::{CALL, Rig, assert_refused, user};

#[tokio::test(start_paused = true)]
async fn loads_of_whatever_cause_stay_under_the_cap() {
    let rig = Arc::new(Rig::with(|b| b.max_loads(3)).await);
    for round in 0..3 {
        // With the cache, without it, and while it hangs.
        rig.redis.on_all([Act::Pass, Act::Fail(crate::rig::down), Act::Pass][round]);
        rig.sql.forget();
        rig.sql.on("fetch", Act::HoldBefore);
        let first = i64::try_from(round).expect("small") * 1_000;
        let gets: Vec<_> = (0..50)
            .map(|id| spawn(rig.clone(), move |rig| async move { rig.users.get(&(first + id)).await.map(drop) }))
            .collect();
        let many: Vec<_> = (0..50)
            .map(|id| {
                spawn(
                    rig.clone(),
                    move |rig| async move { rig.users.get_many(&[first + 100 + id, first + 200 + id]).await.map(drop) },
                )
            })
            .collect();
        rig.sql.called("fetch", 3).await;
        rig.redis.called("get", 100).await;
        rig.sql.on("fetch", Act::Yield);
        for caller in gets.into_iter().chain(many) {
            caller.await.expect("no panic").expect("get");
        }
        assert_eq!(rig.sql.count("fetch"), 100);
        assert!(rig.sql.peak("fetch") <= 3, "invariant violated: max_loads: {} at once", rig.sql.peak("fetch"));
        rig.redis.forget();
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_cap_beyond_the_deadline_is_told_overloaded() {
    let rig = Arc::new(Rig::with(|b| b.max_loads(1)).await);
    rig.sql.on("fetch", Act::Stall);
    let first = spawn(rig.clone(), |rig| async move { rig.users.get(&1).await.map(drop) });
    rig.sql.called("fetch", 1).await;
    // Lets a tenth of the first one's time pass.
    writeway_through::runtime::Runtime::sleep(&rig.runtime, CALL / 10).await;
    rig.sql.on("fetch", Act::Pass);
    let (found, took) = rig.timed(rig.users.get(&2)).await;
    assert_eq!(found.expect("the first one's place was free in time"), None);
    assert!(took >= CALL * 8 / 10, "{took:?}");
    assert_refused(first.await.expect("no panic"), Kind::Unavailable);

    let rig = Arc::new(Rig::with(|b| b.max_loads(1).call_timeout(CALL)).await);
    rig.sql.on("fetch", Act::HoldBefore);
    let held = spawn(rig.clone(), |rig| async move { rig.users.get(&1).await.map(drop) });
    rig.sql.called("fetch", 1).await;
    let (one, many) = tokio::join!(rig.timed(rig.users.get(&2)), rig.timed(rig.users.get_many(&[3, 4])));
    for (refused, took) in [(one.0.map(drop), one.1), (many.0.map(drop), many.1)] {
        assert_refused(refused, Kind::Overloaded);
        assert!(took <= CALL + Duration::from_millis(5), "{took:?}");
    }
    assert_refused(held.await.expect("no panic"), Kind::Unavailable);
    rig.sql.on_all(Act::Pass);
    assert_eq!(rig.users.get(&2).await.expect("the place was given back"), None);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_cached_is_refused_before_any_call() {
    let rig = Rig::with(|b| b.max_value_bytes(200)).await;
    assert_refused(rig.users.put(user(1, &"x".repeat(200))).await, Kind::Invalid);
    let changes = writeway_through::Changes::new().put(user(2, "short")).put(user(1, &"x".repeat(200)));
    assert_refused(rig.users.write(changes).await, Kind::Invalid);
    assert_eq!((rig.sql.total(), rig.redis.total()), (0, 0), "invariant violated: invalid before any call");
    assert!(rig.users.put(user(1, &"x".repeat(80))).await.is_ok());

    // Loaded, such a row is served and not cached.
    rig.in_sql_only(user(3, &"y".repeat(300))).await;
    for _ in 0..2 {
        assert_eq!(rig.users.get(&3).await.expect("get"), Some(user(3, &"y".repeat(300))));
    }
    let state = rig.cache.state("users:3");
    assert!(matches!(state, State::Leased { .. }), "a row that cannot be cached leaves at most its lease: {state:?}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    path: String,
}

async fn pages() -> (WriteThrough<ScriptedStore<MemoryStore<String, Page>>>, Script, Script) {
    let (sql, redis, runtime) = (Script::new(), Script::new(), TestRuntime::new());
    let table = ScriptedStore::new(MemoryStore::new(|page: &Page| page.path.clone()), &sql);
    let builder = WriteThrough::builder(table).namespace("pages").runtime(Arc::new(runtime.clone()));
    let pages = builder.build(ScriptedCache::new(RawCache::new(runtime), &redis)).await.expect("build");
    sql.forget();
    redis.forget();
    (pages, sql, redis)
}

#[tokio::test(start_paused = true)]
async fn keys_beyond_the_bound_are_refused_before_any_call() {
    let (pages, sql, redis) = pages().await;
    let long = "k".repeat(writeway_through::key::MAX_KEY_BYTES + 1);
    assert_refused(pages.get(&long).await, Kind::Invalid);
    assert_refused(pages.get_many(&["short".into(), long.clone()]).await, Kind::Invalid);
    assert_refused(pages.delete(&long).await, Kind::Invalid);
    assert_refused(pages.invalidate(std::slice::from_ref(&long)).await, Kind::Invalid);
    assert_refused(pages.put(Page { path: long }).await, Kind::Invalid);
    assert_eq!((sql.total(), redis.total()), (0, 0), "invariant violated: invalid before any call");
}

#[tokio::test(start_paused = true)]
async fn rows_that_do_not_survive_serde_are_refused_before_any_call() {
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Half(i64, #[serde(skip_deserializing)] i64);
    let (sql, runtime) = (Script::new(), TestRuntime::new());
    let table = ScriptedStore::new(MemoryStore::new(|half: &Half| half.0), &sql);
    let halves = WriteThrough::builder(table).namespace("halves").runtime(Arc::new(runtime.clone()));
    let halves = halves.build(RawCache::new(runtime)).await.expect("build");
    sql.forget();
    assert_refused(halves.put(Half(1, 2)).await, Kind::Invalid);
    assert_eq!(sql.total(), 0, "invariant violated: invalid before any call");
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_writes_and_closes_the_handle() {
    let rig = Arc::new(Rig::new().await);
    rig.seed([user(7, "ada")]).await;
    let tx = rig.users.begin().await.expect("begin");
    rig.sql.on("commit", Act::HoldBefore);
    let writes: Vec<_> = (1..=3)
        .map(|id| spawn(rig.clone(), move |rig| async move { rig.users.put(user(id, "w")).await.map(|w| w.cache) }))
        .collect();
    rig.sql.called("commit", 3).await;
    let (left, took) = rig.timed(rig.users.shutdown(CALL / 2)).await;
    assert_eq!((left, took.as_millis() / 10), (4, 50), "three writes and a transaction are under way");
    assert_refused(rig.users.get(&7).await, Kind::Closed);
    assert_refused(rig.users.get_many(&[7]).await, Kind::Closed);
    assert_refused(rig.users.put(user(7, "late")).await, Kind::Closed);
    assert_refused(rig.users.delete(&7).await, Kind::Closed);
    assert_refused(rig.users.write(writeway_through::Changes::new()).await, Kind::Closed);
    assert_refused(rig.users.invalidate(&[7]).await, Kind::Closed);
    assert_refused(rig.users.invalidate_all().await, Kind::Closed);
    assert_refused(rig.users.begin().await.map(drop), Kind::Closed);
    rig.sql.on("commit", Act::Pass);
    drop(tx);
    assert_eq!(rig.users.clone().shutdown(Duration::MAX).await, 0, "all clones are one handle");
    for write in writes {
        assert_eq!(write.await.expect("no panic").expect("committed"), CacheEffect::Published);
    }
    assert_eq!(rig.rows.row(&3), Some(user(3, "w")));
}

#[tokio::test(start_paused = true)]
async fn a_key_has_a_bounded_number_of_writers() {
    // Sixty-four barriers of writers that died on one key; then one more writer.
    let rig = Rig::new().await;
    use writeway_through::cache::{Barriers, BeginBy, Id};
    let by = BeginBy { within: CALL * 2, not_after: CALL * 100 };
    for n in 0..64 {
        rig.cache.begin(&[b"users:7".to_vec()], Id([n; 16]), by).await.expect("placed");
    }
    assert_refused(rig.users.put(user(7, "ada")).await, Kind::Overloaded);
    assert_eq!(rig.rows.row(&7), None);
    writeway_through::runtime::Runtime::sleep(&rig.runtime, CALL * 3).await;
    assert_eq!(rig.users.put(user(7, "ada")).await.expect("they have lapsed").cache, CacheEffect::Published);
}

/// So that a key type of a user's own is covered too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Tenant(String, u32);

impl Key for Tenant {
    fn encode(&self, out: &mut Vec<u8>) {
        self.1.encode(out);
        out.push(b':');
        self.0.encode(out);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_type_of_ones_own() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Plan(String, u32, f64);
    let runtime = TestRuntime::new();
    let table = MemoryStore::new(|plan: &Plan| Tenant(plan.0.clone(), plan.1));
    let cache = RawCache::new(runtime.clone());
    let plans =
        WriteThrough::builder(table).namespace("plans").runtime(Arc::new(runtime)).build(cache.clone()).await.expect("build");
    plans.put(Plan("a:b{c}".into(), 3, 0.1)).await.expect("put");
    assert_eq!(plans.get(&Tenant("a:b{c}".into(), 3)).await.expect("get"), Some(Plan("a:b{c}".into(), 3, 0.1)));
    assert!(cache.raw("plans:3:a%3Ab%7Bc%7D").is_some(), "the key reads well");
}

#[expect(clippy::disallowed_methods, reason = "callers of a test")]
fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    rig: Arc<Rig>,
    work: impl FnOnce(Arc<Rig>) -> F,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work(rig))
}
