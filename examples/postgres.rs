//! The same over servers: `REDIS_URL` and `DATABASE_URL` say where. The table `users` is made if it is not there.
//!
//! ```text
//! cargo run --features writeway-examples/postgres --example postgres
//! ```
use std::time::Duration;

use anyhow::Context as _;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use writeway_through::diesel_async::pooled_connection::AsyncDieselConnectionManager;
use writeway_through::diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use writeway_through::sql::ServerTimeouts;
use writeway_through::{Redis, Sql, SqlTable, WriteThrough, bb8, bulk_upsert};

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

bulk_upsert!(upsert_users on users: User { key [id], set [name] });

struct Users;
impl SqlTable for Users {
    type Connection = AsyncPgConnection;
    type Key = i64;
    type Row = User;
    fn key(user: &User) -> i64 {
        user.id
    }
    async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<User>> {
        users::table.filter(users::id.eq_any(keys)).select(User::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncPgConnection, rows: &[User]) -> QueryResult<Vec<User>> {
        upsert_users(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<usize> {
        diesel::delete(users::table.filter(users::id.eq_any(keys))).execute(conn).await
    }
}

fn var(name: &'static str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} says where a server is, and is not set"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(var("DATABASE_URL")?);
    let timeouts = Box::new(ServerTimeouts::default());
    // A server that is away is an error after 2 s. Unless it is said, a connection is waited for 30 s.
    let pool = bb8::Pool::builder().connection_customizer(timeouts).connection_timeout(Duration::from_secs(2));
    let pool = pool.build(manager).await?;
    let made = "CREATE TABLE IF NOT EXISTS users (id BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    pool.get().await?.batch_execute(made).await?;
    let redis = Redis::connect(var("REDIS_URL")?).await?;
    let users = WriteThrough::builder(Sql::<Users>::new(pool)).namespace("users").build(redis).await?;

    let written = users.put(User { id: 7, name: "Ada".into() }).await?;
    println!("committed {:?}, cache: {:?}", written.row, written.cache);
    println!("hit: {:?}", users.get(&7).await?);
    Ok(())
}
