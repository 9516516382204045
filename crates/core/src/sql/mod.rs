//! The SQL adapter: a [`Store`](crate::store::Store) over the application's own bb8 pool of diesel-async connections.
//!
//! An application describes each table once, in plain diesel ([`SqlTable`]), and hands over its pool:
//!
//! ```
//! # #[cfg(feature = "postgres")]
//! # mod example {
//! use diesel::prelude::*;
//! use diesel_async::{AsyncPgConnection, RunQueryDsl};
//! use writeway_core::sql::{Pool, Sql, SqlTable};
//! # use writeway_core::diesel;
//!
//! diesel::table! { users (id) { id -> BigInt, name -> Text, email -> Nullable<Text>, } }
//!
//! #[derive(Clone, serde::Serialize, serde::Deserialize, Queryable, Selectable)]
//! #[diesel(table_name = users)]
//! pub struct User { id: i64, name: String, email: Option<String> }
//!
//! writeway_core::bulk_upsert!(upsert_users on users: User { key [id], set [name, email] });
//!
//! pub struct Users;
//! impl SqlTable for Users {
//!     type Connection = AsyncPgConnection;
//!     type Key = i64;
//!     type Row = User;
//!     fn key(user: &User) -> i64 { user.id }
//!     async fn fetch(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<Vec<User>> {
//!         users::table.filter(users::id.eq_any(keys)).select(User::as_select()).load(conn).await
//!     }
//!     async fn upsert(conn: &mut AsyncPgConnection, rows: &[User]) -> QueryResult<Vec<User>> {
//!         upsert_users(rows).load(conn).await
//!     }
//!     async fn remove(conn: &mut AsyncPgConnection, keys: &[i64]) -> QueryResult<usize> {
//!         diesel::delete(users::table.filter(users::id.eq_any(keys))).execute(conn).await
//!     }
//! }
//!
//! pub fn store(pool: Pool<AsyncPgConnection>) -> Sql<Users> { Sql::new(pool) }
//! # }
//! ```
//!
//! A table of counters is a [`CountTable`] behind [`SqlCounts`].

// What an application writes
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[doc(hidden)]
pub mod bulk_add;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[doc(hidden)]
pub mod bulk_upsert;
mod cached;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod key_among;
mod table;

// What it gets
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod bookkeeping;
mod connection;
mod counts;
mod fence;
mod pools;
mod store;
mod transaction;

// What they decide with: pure
mod blame;
mod classify;
mod plan;

// Backends
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use bulk_upsert::SqliteUpsert;
pub use cached::Cached;
pub use classify::statement_failed;
pub use connection::{Opening, Pool, SqlConnection};
pub use counts::{CountTable, SqlCounts, Tallies};
pub use fence::Bookkeeping;
pub use pools::Pools;
#[cfg(feature = "postgres")]
pub use postgres::ServerTimeouts;
#[cfg(feature = "sqlite")]
pub use sqlite::{AsyncSqliteConnection, Sqlite};
pub use store::Sql;
pub use table::SqlTable;
pub use transaction::SqlTx;
