//! Code of the user's that panics stops its own call, and nothing else.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use writeway_testkit::double::{Act, RawCache, Script, ScriptedCache, ScriptedStore, TestRuntime};
use writeway_through::store::Store;
use writeway_through::{Change, MemoryStore, Outcome, WriteThrough};

use crate::rig::CALL;

/// What the row's own code does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fuse {
    Good,
    InSerialize,
    InDeserialize,
}

impl Serialize for Fuse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(*self != Fuse::InSerialize, "a Serialize of the user's panics");
        serializer.serialize_bool(*self == Fuse::Good)
    }
}

impl<'de> Deserialize<'de> for Fuse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        assert!(bool::deserialize(deserializer)?, "a Deserialize of the user's panics");
        Ok(Fuse::Good)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mine {
    id: i64,
    fuse: Fuse,
}

/// The key function panics for this one.
const NO_KEY: i64 = 13;

fn key(mine: &Mine) -> i64 {
    assert!(mine.id != NO_KEY, "a key function of the user's panics");
    mine.id
}

type Mines = WriteThrough<ScriptedStore<MemoryStore<i64, Mine>>>;

struct Field {
    mines: Mines,
    rows: MemoryStore<i64, Mine>,
    sql: Script,
    cache: RawCache,
    runtime: TestRuntime,
}

fn good(id: i64) -> Mine {
    Mine { id, fuse: Fuse::Good }
}

async fn field(strict: bool) -> Arc<Field> {
    let (sql, runtime) = (Script::new(), TestRuntime::new());
    let (rows, cache) = (MemoryStore::new(key), RawCache::new(runtime.clone()));
    let builder = WriteThrough::builder(ScriptedStore::new(rows.clone(), &sql)).namespace("mines").max_loads(2);
    let builder = if strict { builder } else { builder.eventual().time_to_live(CALL * 60) };
    let mines = builder.runtime(Arc::new(runtime.clone())).build(ScriptedCache::new(cache.clone(), &Script::new())).await;
    let field = Field { mines: mines.expect("build"), rows, sql, cache, runtime };
    field.mines.put(good(1)).await.expect("a good row");
    Arc::new(field)
}

/// Runs `work` as a task of its own; `None` if it panicked.
async fn survive<T: Send + 'static, F>(field: &Arc<Field>, work: impl FnOnce(Arc<Field>) -> F) -> Option<T>
where
    F: Future<Output = T> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "callers of a test")]
    let task = tokio::spawn(work(field.clone()));
    match task.await {
        Ok(answer) => Some(answer),
        Err(e) => {
            assert!(e.is_panic());
            None
        }
    }
}

/// The handle works as if nothing had happened.
async fn assert_alive(field: &Arc<Field>, what: &str) {
    field.sql.on_all(Act::Pass);
    field.runtime.quiet().await;
    assert_eq!(field.cache.barriers(), 0, "invariant violated: no barrier left ({what})");
    for id in [1, 2] {
        let written = field.mines.put(good(id)).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(written.row, Some(good(id)));
        assert_eq!(field.mines.get(&id).await.expect("get"), Some(good(id)), "{what}");
    }
    assert_eq!(field.mines.get_many(&[2, 99, 1]).await.expect("get_many"), [Some(good(2)), None, Some(good(1))], "{what}");
    field.mines.delete(&2).await.expect("delete");
    field.mines.invalidate(&[1, 2]).await.expect("invalidate");
    assert_eq!(field.mines.get(&2).await.expect("get"), None, "{what}");
}

async fn assert_closes(field: &Arc<Field>) {
    assert_eq!(field.mines.shutdown(CALL).await, 0, "invariant violated: a call that panicked is out");
}

#[tokio::test(start_paused = true)]
async fn a_key_function_that_panics() {
    for strict in [true, false] {
        let field = field(strict).await;
        assert!(survive(&field, |f| async move { f.mines.put(good(NO_KEY)).await }).await.is_none());
        assert_alive(&field, "key").await;
        assert_closes(&field).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_serialize_that_panics() {
    let field = field(true).await;
    let bad = |id| Mine { id, fuse: Fuse::InSerialize };
    assert!(survive(&field, move |f| async move { f.mines.put(bad(5)).await }).await.is_none());
    assert_alive(&field, "put").await;
    // Loaded, such a row cannot be cached; the caller gets the row or an error, and the next one too.
    field.rows.apply(&[Change::Put(bad(5))]).await.expect("applied");
    for _ in 0..5 {
        if let Some(Ok(found)) = survive(&field, |f| async move { f.mines.get(&5).await }).await {
            assert_eq!(found, Some(bad(5)));
        }
        survive(&field, |f| async move { f.mines.get_many(&[5, 1]).await }).await;
        assert_alive(&field, "fill").await;
    }
    assert_closes(&field).await;
}

#[tokio::test(start_paused = true)]
async fn a_deserialize_that_panics() {
    let field = field(true).await;
    let bad = Mine { id: 5, fuse: Fuse::InDeserialize };
    let written = survive(&field, move |f| async move { f.mines.put(bad).await }).await;
    assert!(written.is_some(), "nothing is read back by a put");
    for _ in 0..5 {
        assert!(survive(&field, |f| async move { f.mines.get(&5).await }).await.is_none());
        assert!(survive(&field, |f| async move { f.mines.get_many(&[1, 5]).await }).await.is_none());
        assert_alive(&field, "get").await;
    }
    field.mines.put(good(5)).await.expect("a good row heals the key");
    assert_eq!(field.mines.get(&5).await.expect("get"), Some(good(5)));
    assert_closes(&field).await;
}

#[tokio::test(start_paused = true)]
async fn statements_that_panic() {
    for strict in [true, false] {
        for call in ["fetch", "begin", "apply_in", "commit", "rollback"] {
            let field = field(strict).await;
            field.sql.on(call, Act::Panic);
            // More often than there are places for loads.
            for id in 20..25 {
                if let Some(Err(e)) = survive(&field, move |f| async move { f.mines.get(&id).await }).await {
                    assert!(call == "fetch" && e.is_retryable(), "{call}: {e}");
                }
                survive(&field, |f| async move { f.mines.get_many(&[30, 31]).await }).await;
            }
            let put =
                survive(&field, |f| async move { f.mines.put(good(5)).await }).await.expect("the task died, not the caller");
            let landed = field.rows.row(&5).is_some();
            match put {
                Ok(_) => assert!(landed),
                Err(e) => assert!(e.outcome() == Outcome::Unknown || !landed, "invariant violated: outcome ({call}): {e}"),
            }
            survive(&field, |f| async move {
                let mut tx = f.mines.begin().await?;
                f.mines.touch(&mut tx, &5);
                tx.commit().await
            })
            .await;
            // A commit that panicked leaves its barrier: nobody knows.
            writeway_through::runtime::Runtime::sleep(&field.runtime, CALL * 3).await;
            assert_eq!(field.mines.get(&5).await.ok().flatten().is_some(), landed && call != "fetch", "{call}");
            assert_alive(&field, call).await;
            assert_closes(&field).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_function_that_panics_after_the_commit_is_not_said_to_be_refused() {
    // SQL returns a row whose key the user's code cannot tell.
    for strict in [true, false] {
        let field = field(strict).await;
        let table = returned::Renamed(field.rows.clone());
        let builder = WriteThrough::builder(table).namespace("others").runtime(Arc::new(field.runtime.clone()));
        let builder = if strict { builder } else { builder.eventual().time_to_live(CALL * 60) };
        let mines = builder.build(field.cache.clone()).await.expect("build");
        let e = mines.put(good(6)).await.expect_err("the task died");
        field.runtime.quiet().await;
        let landed = field.rows.row(&6).is_some();
        assert!(!landed || e.outcome() != Outcome::NotApplied, "invariant violated: not applied means not committed: {e}");
        assert_eq!(landed, !strict);
        assert_closes(&field).await;
    }
}

mod returned {
    //! A store that answers every put with another key.

    use std::time::Duration;

    use writeway_through::change::Stored;
    use writeway_through::store::Store;
    use writeway_through::{Change, MemoryStore, Result};

    use super::{Mine, NO_KEY};

    #[derive(Clone)]
    pub(super) struct Renamed(pub(super) MemoryStore<i64, Mine>);

    impl Store for Renamed {
        type Key = i64;
        type Row = Mine;
        type Tx = <MemoryStore<i64, Mine> as Store>::Tx;

        fn key(&self, row: &Mine) -> i64 {
            super::key(row)
        }

        async fn fetch(&self, keys: &[i64]) -> Result<Vec<Mine>> {
            self.0.fetch(keys).await
        }

        async fn begin(&self, commit_within: Option<Duration>) -> Result<Self::Tx> {
            self.0.begin(commit_within).await
        }

        async fn apply_in(&self, tx: &mut Self::Tx, changes: &[Change<i64, Mine>]) -> Result<Vec<Stored<Mine>>> {
            let mut stored = self.0.apply_in(tx, changes).await?;
            for stored in &mut stored {
                if let Stored::As(row) = stored {
                    row.id = NO_KEY;
                }
            }
            Ok(stored)
        }
    }
}
