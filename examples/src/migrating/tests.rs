//! Neighbouring releases run side by side, forwards and backwards; what skips one is seen to be old.

use tempfile::TempDir;
use writeway_around::diesel_async::SimpleAsyncConnection;
use writeway_around::sql::{Sql, Sqlite};
use writeway_around::store::Store as _;
use writeway_around::{Kind, MemoryCache, WriteAround};
use writeway_through::WriteThrough;

use super::compare::{Compared, compare};
use super::releases::{App, OldCache, by_hand, done, invalidating, open, reading, writing};
use super::strict::{Both, rename, rename_strict};
use crate::recipes::tables::{TABLES, UserTable};

struct Rig {
    app: App,
    cache: MemoryCache,
    table: Sql<UserTable>,
    _dir: TempDir,
}

async fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let pools = Sqlite::open(dir.path().join("migrating.db")).await.unwrap();
    let ada = "INSERT INTO users (id, email, name) VALUES (7, 'ada@example.org', 'Ada')";
    pools.writers().get().await.unwrap().batch_execute(&format!("{TABLES}{ada}")).await.unwrap();
    let (cache, table) = (MemoryCache::new(), Sql::<UserTable>::new(pools.clone()));
    let users = open(pools.clone(), cache.clone()).await.unwrap();
    Rig { app: App { pools, redis: OldCache::default(), users }, cache, table, _dir: dir }
}

/// A process of the given release.
#[derive(Clone, Copy)]
struct Process(u8);

impl Process {
    async fn name(self, app: &App) -> String {
        let user = match self.0 {
            0 => by_hand::get(app, 7).await,
            1 => invalidating::get(app, 7).await,
            2 => reading::get(app, 7).await,
            3 => writing::get(app, 7).await,
            _ => done::get(app, 7).await,
        };
        user.unwrap().unwrap().name
    }

    async fn rename(self, app: &App, name: &str) {
        match self.0 {
            0 => by_hand::rename(app, 7, name).await,
            1 => invalidating::rename(app, 7, name).await,
            2 => reading::rename(app, 7, name).await,
            3 => writing::rename(app, 7, name).await,
            _ => done::rename(app, 7, name).await,
        }
        .unwrap();
    }
}

/// Writes with each, and reads with both before and after. True if every read was of the last write.
async fn side_by_side(app: &App, a: Process, b: Process) -> bool {
    let mut right = true;
    for (n, writer) in [a, b, a, b].into_iter().enumerate() {
        let name = format!("by {} {n}", writer.0);
        writer.rename(app, &name).await;
        right &= a.name(app).await == name && b.name(app).await == name;
    }
    right
}

#[tokio::test]
async fn neighbours_see_each_others_writes_in_both_directions() {
    let Rig { app, .. } = &rig().await;
    for release in [0, 1, 2, 3, 2, 1, 0, 1, 2, 3] {
        assert!(side_by_side(app, Process(release), Process(release + 1)).await, "{release} and its successor");
    }
}

#[tokio::test]
async fn who_skips_a_release_reads_what_is_old() {
    for (a, b) in [(0, 2), (0, 3), (1, 4)] {
        let Rig { app, .. } = &rig().await;
        assert!(!side_by_side(app, Process(a), Process(b)).await, "{a} and {b}");
    }
}

#[tokio::test]
async fn a_comparison_finds_who_does_not_take_part() {
    let Rig { app, table, .. } = &rig().await;
    let all_well = compare(table, &app.users, &[7, 8]).await.unwrap();
    assert_eq!(all_well, Compared { same: 2, changing: 0, different: vec![] });
    by_hand::rename(app, 7, "behind").await.unwrap();
    assert_eq!(compare(table, &app.users, &[7, 8]).await.unwrap().different, [7]);
    app.users.invalidate_all().await.unwrap();
    assert!(compare(table, &app.users, &[7, 8]).await.unwrap().different.is_empty());
}

#[tokio::test]
async fn strict_comes_as_a_second_namespace() {
    let Rig { app, cache, table, .. } = &rig().await;
    let refused = WriteThrough::builder(table.clone()).namespace("users").build(cache.clone()).await.expect_err("recorded");
    assert_eq!(refused.kind(), Kind::Invalid);
    assert!(refused.to_string().contains("recorded as eventual"), "{refused}");

    let strict = WriteThrough::builder(table.clone()).namespace("users.strict").build(cache.clone()).await.unwrap();
    let both = &Both { eventual: app.users.clone(), strict };
    let now = async || {
        let [row] = table.fetch(&[7]).await.unwrap().try_into().unwrap();
        row.name
    };
    // Releases 4 and 5 side by side: both read the eventual one, and what they write is nowhere in the strict one.
    for name in ["by 5", "by 4"] {
        if name == "by 5" { rename(both, 7, name).await } else { done::rename(app, 7, name).await }.unwrap();
        assert_eq!(both.eventual.get(&7).await.unwrap().unwrap().name, name);
    }
    assert_eq!(both.strict.get(&7).await.unwrap().unwrap().name, now().await);
    // Releases 5 and 6: either namespace is read, every write tells both.
    for name in ["by 5 again", "by 6"] {
        rename(both, 7, name).await.unwrap();
        assert_eq!(both.eventual.get(&7).await.unwrap().unwrap().name, name);
        assert_eq!(both.strict.get(&7).await.unwrap().unwrap().name, name);
    }
    // Releases 6 and 7: the strict one is read.
    rename_strict(&both.strict, 7, "by 7").await.unwrap();
    assert_eq!(both.strict.get(&7).await.unwrap().unwrap().name, "by 7");
    rename(both, 7, "by 6 again").await.unwrap();
    assert_eq!(both.strict.get(&7).await.unwrap().unwrap().name, "by 6 again");
}

#[tokio::test]
async fn the_strategy_of_a_mode_may_change_while_both_run() {
    let Rig { cache, table, .. } = &rig().await;
    let around = WriteAround::builder(table.clone()).namespace("rows").strict().build(cache.clone()).await.unwrap();
    let through = WriteThrough::builder(table.clone()).namespace("rows").build(cache.clone()).await.unwrap();
    let mut user = around.get(&7).await.unwrap().unwrap();
    for name in ["a", "b", "c"] {
        user.name = name.into();
        around.put(user.clone()).await.unwrap();
        assert_eq!(through.get(&7).await.unwrap().unwrap().name, name);
        user.name = format!("{name} again");
        through.put(user.clone()).await.unwrap();
        assert_eq!(around.get(&7).await.unwrap().unwrap().name, user.name);
    }
}
