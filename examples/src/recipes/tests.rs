//! Each recipe does what its chapter says, on SQLite and the in-process cache.

use std::time::Duration;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as Diesel};
use tempfile::TempDir;
use writeway_around::WriteAround;
use writeway_through::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_through::sql::{AsyncSqliteConnection, Pools, Sqlite};
use writeway_through::{Kind, MemoryCache, Sql, WriteThrough};

use super::keys::{busiest, by_email, move_to, warm_up};
use super::others::relay;
use super::rows::{order, register, rename, rename_if, visit, visit_once};
use super::tables::schema::users;
use super::tables::{Addresses, Note, Notes, Orders, TABLES, User, Users};

struct Rig {
    pools: Pools<AsyncSqliteConnection>,
    cache: MemoryCache,
    users: Users,
    addresses: Addresses,
    orders: Orders,
    notes: Notes,
    _dir: TempDir,
}

async fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let pools = Sqlite::open(dir.path().join("recipes.db")).await.unwrap();
    pools.writers().get().await.unwrap().batch_execute(TABLES).await.unwrap();
    let cache = MemoryCache::new();
    let orders = WriteAround::builder(Sql::new(pools.clone())).namespace("orders").time_to_live(Duration::from_secs(60));
    Rig {
        users: WriteThrough::builder(Sql::new(pools.clone())).namespace("users").build(cache.clone()).await.unwrap(),
        addresses: WriteThrough::builder(Sql::new(pools.clone())).namespace("addresses").build(cache.clone()).await.unwrap(),
        orders: orders.build(cache.clone()).await.unwrap(),
        notes: WriteThrough::builder(Sql::new(pools.clone()))
            .namespace("notes")
            .max_value_bytes(1_000)
            .build(cache.clone())
            .await
            .unwrap(),
        pools,
        cache,
        _dir: dir,
    }
}

impl Rig {
    async fn ada(&self) -> User {
        register(&self.users, &self.addresses, "ada@example.org", "Ada").await.unwrap()
    }

    /// As somebody would who does not take part.
    async fn behind(&self, sql: &str) {
        self.pools.writers().get().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// True if a read is answered without SQL.
    async fn is_cached(&self, id: i64) -> bool {
        self.behind(&format!("UPDATE users SET name = 'behind' WHERE id = {id}")).await;
        self.users.get(&id).await.unwrap().unwrap().name != "behind"
    }
}

#[tokio::test]
async fn a_part_of_a_row_is_published_whole() {
    let rig = rig().await;
    let ada = rig.ada().await;
    let renamed = rename(&rig.users, ada.id, "Ada L.").await.unwrap().unwrap();
    assert_eq!((renamed.name.as_str(), renamed.email.as_str()), ("Ada L.", "ada@example.org"));
    assert_eq!(rig.users.get(&ada.id).await.unwrap(), Some(renamed));
    assert!(rig.is_cached(ada.id).await);
    assert_eq!(rename(&rig.users, 99, "x").await.unwrap(), None);
}

#[tokio::test]
async fn only_one_of_two_that_read_the_same_row_changes_it() {
    let rig = rig().await;
    let read = rig.ada().await;
    let won = rename_if(&rig.users, &read, "first").await.unwrap().unwrap();
    assert_eq!(rename_if(&rig.users, &read, "second").await.unwrap(), None);
    assert_eq!(rig.users.get(&read.id).await.unwrap(), Some(won.clone()));
    assert_eq!(rename_if(&rig.users, &won, "second").await.unwrap().unwrap().version, 2);
}

#[tokio::test]
async fn an_id_of_sqls_replaces_what_was_not_there() {
    let rig = rig().await;
    assert_eq!(rig.users.get(&1).await.unwrap(), None);
    assert_eq!(by_email(&rig.users, &rig.addresses, "ada@example.org").await.unwrap(), None);
    let ada = rig.ada().await;
    assert_eq!((ada.id, ada.visits), (1, 0));
    assert_eq!(rig.users.get(&1).await.unwrap(), Some(ada.clone()));
    assert_eq!(by_email(&rig.users, &rig.addresses, "ada@example.org").await.unwrap(), Some(ada));
    let taken = register(&rig.users, &rig.addresses, "ada@example.org", "Eve").await.expect_err("taken");
    assert!(matches!(taken.downcast_ref(), Some(Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _))));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_added_is_lost() {
    let rig = rig().await;
    let id = rig.ada().await.id;
    let add = || async {
        for _ in 0..10 {
            visit(&rig.users, id).await.unwrap();
        }
    };
    tokio::join!(add(), add(), add(), add());
    // A put of a row that was read before does not undo it.
    rig.users.put(User { id, email: "ada@example.org".into(), name: "Ada".into(), visits: 0, version: 0 }).await.unwrap();
    assert_eq!(rig.users.get(&id).await.unwrap().unwrap().visits, 40);
    assert_eq!(visit(&rig.users, 99).await.unwrap(), None);
}

#[tokio::test]
async fn what_has_an_id_is_done_once() {
    let rig = rig().await;
    let id = rig.ada().await.id;
    assert!(visit_once(&rig.users, "request 1", id).await.unwrap());
    assert!(!visit_once(&rig.users, "request 1", id).await.unwrap());
    assert!(visit_once(&rig.users, "request 2", id).await.unwrap());
    assert_eq!(rig.users.get(&id).await.unwrap().unwrap().visits, 2);
}

#[tokio::test]
async fn a_second_key_follows_the_row() {
    let rig = rig().await;
    let ada = rig.ada().await;
    assert!(by_email(&rig.users, &rig.addresses, "lovelace@example.org").await.unwrap().is_none());
    let moved = move_to(&rig.users, &rig.addresses, ada.id, "lovelace@example.org").await.unwrap();
    assert_eq!(by_email(&rig.users, &rig.addresses, "lovelace@example.org").await.unwrap(), moved);
    assert_eq!(by_email(&rig.users, &rig.addresses, "ada@example.org").await.unwrap(), None);
    let refused = rig.addresses.delete(&"lovelace@example.org".to_owned()).await.expect_err("read-only");
    assert_eq!(refused.kind(), Kind::Rejected);
}

#[tokio::test]
async fn an_order_and_its_user_change_together() {
    let rig = rig().await;
    let id = rig.ada().await.id;
    let placed = order(&rig.users, &rig.orders, id, 1_250).await.unwrap();
    assert_eq!(rig.orders.get(&placed.id).await.unwrap(), Some(placed));
    assert_eq!(rig.users.get(&id).await.unwrap().unwrap().visits, 1);
    assert!(order(&rig.users, &rig.orders, 99, 1).await.is_err(), "nobody");
    assert_eq!(rig.orders.get(&2).await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_note_stays_in_sql_and_is_not_there() {
    let rig = rig().await;
    rig.notes.put(Note::new(1, 7, "tea")).await.unwrap();
    rig.notes.put(Note::new(2, 7, "milk")).await.unwrap();
    rig.notes.delete(&(1, 7)).await.unwrap();
    assert_eq!(rig.notes.get(&(1, 7)).await.unwrap(), None);
    assert_eq!(rig.notes.get(&(2, 7)).await.unwrap().unwrap().text, "milk", "another tenant's");
    rig.notes.invalidate_all().await.unwrap();
    assert_eq!(rig.notes.get(&(1, 7)).await.unwrap(), None, "not by a read of sql either");
    rig.notes.put(Note::new(1, 7, "tea again")).await.unwrap();
    assert_eq!(rig.notes.get(&(1, 7)).await.unwrap().unwrap().text, "tea again");
    let long = rig.notes.put(Note::new(1, 8, "x".repeat(1_000))).await.expect_err("too long");
    assert_eq!(long.kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_list_of_ids_becomes_rows() {
    let rig = rig().await;
    for n in 1..=3 {
        let id = register(&rig.users, &rig.addresses, &format!("{n}@example.org"), "x").await.unwrap().id;
        for _ in 0..n {
            visit(&rig.users, id).await.unwrap();
        }
    }
    let ids: Vec<i64> = busiest(&rig.pools, &rig.users, 2).await.unwrap().iter().map(|user| user.id).collect();
    assert_eq!(ids, [3, 2]);
}

#[tokio::test]
async fn what_others_write_leaves_the_cache() {
    let rig = rig().await;
    let id = rig.ada().await.id;
    assert!(rig.is_cached(id).await, "and is old now");
    assert!(relay(&rig.pools, &rig.users).await.unwrap() > 0);
    assert_eq!(rig.users.get(&id).await.unwrap().unwrap().name, "behind");
    assert_eq!(relay(&rig.pools, &rig.users).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_warm_is_not_read_again() {
    let rig = rig().await;
    let rows: Vec<String> = (1..=2_500).map(|id| format!("({id}, '{id}@example.org', 'x')")).collect();
    rig.behind(&format!("INSERT INTO users (id, email, name) VALUES {}", rows.join(", "))).await;
    assert_eq!(warm_up(&rig.pools, &rig.users).await.unwrap(), 2_500);
    assert_eq!(rig.cache.len(), 2_500);
    assert!(rig.is_cached(1).await && rig.is_cached(2_500).await);
    let mut conn = rig.pools.readers().get().await.unwrap();
    assert_eq!(users::table.count().get_result::<i64>(&mut conn).await.unwrap(), 2_500);
}
