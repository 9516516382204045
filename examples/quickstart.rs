//! The first five minutes. No server: SQLite in temporary files, the cache in the process. The three strategies side by side,
//! each on a file of its own, because a table is written through one strategy only.

use std::path::Path;
use std::time::Duration;

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use writeway_around::WriteAround;
use writeway_back::{MemoryJournal, WriteBack};
use writeway_through::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_through::sql::{AsyncSqliteConnection, Pools, Sqlite};
use writeway_through::{MemoryCache, Sql, SqlTable, WriteThrough, bulk_upsert};

mod schema {
    diesel::table! { users (id) { id -> BigInt, name -> Text, } }
}
use schema::users;

#[derive(Clone, Debug, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = users)]
struct User {
    id: i64,
    name: String,
}

bulk_upsert!(upsert_users on users: User { key [id], set [name] } in Sqlite);

/// The table is described once, in plain diesel, and any of the strategies takes it.
struct Users;
impl SqlTable for Users {
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Row = User;
    fn key(user: &User) -> i64 {
        user.id
    }
    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<Vec<User>> {
        users::table.filter(users::id.eq_any(keys)).select(User::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[User]) -> QueryResult<Vec<User>> {
        upsert_users(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(users::table.filter(users::id.eq_any(keys))).execute(conn).await
    }
}

async fn open(file: &Path) -> anyhow::Result<Pools<AsyncSqliteConnection>> {
    let pools = Sqlite::open(file).await?;
    let made = "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
    pools.writers().get().await?.batch_execute(made).await?;
    Ok(pools)
}

/// What SQL says, past the cache.
async fn in_sql(pools: &Pools<AsyncSqliteConnection>, id: i64) -> anyhow::Result<Vec<User>> {
    Ok(Users::fetch(&mut *pools.readers().get().await?, &[id]).await?)
}

/// A `put` is committed, and the next read is a hit of what SQL made of it.
async fn write_through(pools: Pools<AsyncSqliteConnection>) -> anyhow::Result<()> {
    let users = WriteThrough::builder(Sql::<Users>::new(pools.clone())).namespace("users").build(MemoryCache::new()).await?;
    let written = users.put(User { id: 7, name: "Ada".into() }).await?;
    println!("put:    committed {:?}, cache {:?}", written.row, written.cache);
    println!("get:    {:?}", users.get(&7).await?);
    println!("delete: cache {:?}", users.delete(&7).await?.cache);
    println!("get:    {:?}, in SQL {:?}", users.get(&7).await?, in_sql(&pools, 7).await?);
    println!("end:    {} writes left running", users.shutdown(Duration::from_secs(1)).await);
    Ok(())
}

/// A `put` is committed, and the cached copy is removed: only what is read takes up room in the cache.
async fn write_around(pools: Pools<AsyncSqliteConnection>) -> anyhow::Result<()> {
    let builder = WriteAround::builder(Sql::<Users>::new(pools)).namespace("users");
    // How long an old row may be served where an invalidation is lost: it has to be named.
    let cache = MemoryCache::new();
    let users = builder.time_to_live(Duration::from_secs(60)).build(cache.clone()).await?;
    let written = users.put(User { id: 7, name: "Ada".into() }).await?;
    println!("put:    committed {:?}, cache {:?}, {} rows in it", written.row, written.cache, cache.len());
    println!("get:    {:?}, loaded from SQL, now {} row in the cache", users.get(&7).await?, cache.len());
    println!("delete: cache {:?}", users.delete(&7).await?.cache);
    println!("end:    {} writes left running", users.shutdown(Duration::from_secs(1)).await);
    Ok(())
}

/// A `put` is accepted by the journal, and SQL gets the last change of each row, many at once.
async fn write_back(pools: Pools<AsyncSqliteConnection>) -> anyhow::Result<()> {
    let builder = WriteBack::builder(Sql::<Users>::new(pools.clone())).namespace("users");
    // `migrate` makes the two small tables that keep a flush from taking effect twice. A change may wait for a minute here, so
    // that there is time to look. A journal in the process dies with it: that has to be accepted by name.
    let builder = builder.migrate().max_delay(Duration::from_secs(60)).allow_volatile_changes();
    let users = builder.build(MemoryJournal::new()).await?;
    for n in 1..=1_000 {
        let _ticket = users.put(User { id: n % 3, name: format!("name {n}") }).await?;
    }
    println!("put:    1000 changes of 3 rows accepted");
    let ticket = users.delete(&0).await?;
    println!("delete: {:?}", users.get(&0).await?);
    println!("get:    {:?}, in SQL {:?}", users.get(&1).await?, in_sql(&pools, 1).await?);
    users.flush().await?;
    ticket.durable().await?;
    println!("flush:  in SQL {:?}", in_sql(&pools, 1).await?);
    let stats = users.stats().await?;
    println!("stats:  {} changes accepted, {} of them brought to SQL", stats.accepted, stats.flushed);
    println!("end:    {:?}", users.shutdown(Duration::from_secs(5)).await?);
    Ok(())
}

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    println!("Embedded: SQLite in a temporary directory, the cache in this process. Both are gone at the end.");
    let directory = tempfile::tempdir()?;
    println!("\nwrite-through");
    write_through(open(&directory.path().join("through.db")).await?).await?;
    println!("\nwrite-around");
    write_around(open(&directory.path().join("around.db")).await?).await?;
    println!("\nwrite-back");
    write_back(open(&directory.path().join("back.db")).await?).await
}
