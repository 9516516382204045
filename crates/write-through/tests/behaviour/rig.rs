//! A namespace with its insides in reach.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_testkit::double::{RawCache, Script, ScriptedCache, ScriptedStore, TestRuntime};
use writeway_through::runtime::Runtime;
use writeway_through::{Error, Kind, MemoryStore, Outcome, WriteThrough, WriteThroughBuilder};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: Option<String>,
}

pub(crate) fn user(id: i64, name: &str) -> User {
    User { id, name: name.into(), email: (id % 2 == 0).then(|| format!("{name}@example.org")) }
}

pub(crate) type Table = ScriptedStore<MemoryStore<i64, User>>;
pub(crate) type Users = WriteThrough<Table>;

pub(crate) struct Rig {
    pub(crate) users: Users,
    /// The store as the namespace has it.
    pub(crate) table: Table,
    pub(crate) rows: MemoryStore<i64, User>,
    /// What SQL does.
    pub(crate) sql: Script,
    /// What the cache does.
    pub(crate) redis: Script,
    pub(crate) cache: RawCache,
    pub(crate) runtime: TestRuntime,
}

pub(crate) const CALL: Duration = Duration::from_secs(1);

impl Rig {
    /// A strict namespace.
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn eventual() -> Self {
        Self::with(|builder| builder.eventual().time_to_live(Duration::from_secs(60))).await
    }

    pub(crate) async fn with(options: impl FnOnce(WriteThroughBuilder<Table>) -> WriteThroughBuilder<Table>) -> Self {
        let runtime = TestRuntime::new();
        let (sql, redis) = (Script::new(), Script::new());
        let rows = MemoryStore::new(|user: &User| user.id);
        let cache = RawCache::new(runtime.clone());
        let table = ScriptedStore::new(rows.clone(), &sql);
        let builder = WriteThrough::builder(table.clone()).namespace("users");
        let builder = options(builder.call_timeout(CALL).runtime(std::sync::Arc::new(runtime.clone())));
        let users = builder.build(ScriptedCache::new(cache.clone(), &redis)).await.expect("good options");
        sql.forget();
        redis.forget();
        Rig { users, table, rows, sql, redis, cache, runtime }
    }

    /// Puts rows, so that they are hits, and forgets that it did.
    pub(crate) async fn seed(&self, rows: impl IntoIterator<Item = User>) {
        for row in rows {
            self.users.put(row).await.expect("put");
        }
        self.runtime.quiet().await;
        self.sql.forget();
        self.redis.forget();
    }

    /// Changes the row behind the cache's back, as nobody may.
    pub(crate) async fn in_sql_only(&self, row: User) {
        use writeway_through::{Change, store::Store};
        self.rows.apply(&[Change::Put(row)]).await.expect("applied");
    }

    /// How long `work` took on the namespace's clock.
    pub(crate) async fn timed<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        let start = self.runtime.now();
        let done = writeway_core::tasks::until(&self.runtime, start + CALL * 20, work).await;
        (done.expect("invariant violated: every call ends by its deadline"), self.runtime.now() - start)
    }

    /// Nothing runs, and no writer left a barrier or a row lock.
    pub(crate) async fn assert_clean(&self, key: i64) {
        self.runtime.quiet().await;
        assert_eq!(self.cache.barriers(), 0, "invariant violated: no barrier left");
        assert_eq!(self.sql.inside("commit") + self.sql.inside("apply_in"), 0, "invariant violated: nothing under way");
        self.sql.on_all(writeway_testkit::double::Act::Pass);
        self.redis.on_all(writeway_testkit::double::Act::Pass);
        let written = self.users.put(user(key, "last")).await.expect("no lock is left");
        assert_eq!(self.users.get(&key).await.expect("get"), written.row, "invariant violated: the cache agrees with sql");
    }
}

pub(crate) fn down() -> Error {
    Error::unavailable("the double says so")
}

pub(crate) fn unanswered() -> Error {
    Error::unknown("the double says so")
}

/// The error of a write that did not happen.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(answer: writeway_through::Result<T>, kind: Kind) {
    let e = answer.expect_err("a refusal");
    assert_eq!((e.kind(), e.outcome()), (kind, Outcome::NotApplied), "{e}");
}
