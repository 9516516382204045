//! The tables of the recipes, and how they are cached.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use writeway_around::WriteAround;
use writeway_through::diesel_async::RunQueryDsl;
use writeway_through::sql::AsyncSqliteConnection;
use writeway_through::{Sql, SqlTable, WriteThrough, bulk_upsert, key_among};

/// What the recipes need in the database.
pub const TABLES: &str = "
    CREATE TABLE users (
        id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
        visits BIGINT NOT NULL DEFAULT 0, version BIGINT NOT NULL DEFAULT 0);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id BIGINT NOT NULL REFERENCES users, total BIGINT NOT NULL);
    CREATE TABLE notes (
        tenant BIGINT NOT NULL, id BIGINT NOT NULL, text TEXT NOT NULL, deleted BOOLEAN NOT NULL DEFAULT FALSE,
        PRIMARY KEY (tenant, id));
    CREATE TABLE requests (id TEXT PRIMARY KEY);
    CREATE TABLE changed (seq INTEGER PRIMARY KEY, user_id BIGINT NOT NULL);
    CREATE TRIGGER users_changed AFTER UPDATE ON users BEGIN INSERT INTO changed (user_id) VALUES (new.id); END;";

/// What diesel knows of them.
pub mod schema {
    #![expect(missing_docs, reason = "diesel's macro")]

    diesel::table! {
        users (id) { id -> BigInt, email -> Text, name -> Text, visits -> BigInt, version -> BigInt, }
    }
    diesel::table! { orders (id) { id -> BigInt, user_id -> BigInt, total -> BigInt, } }
    diesel::table! { notes (tenant, id) { tenant -> BigInt, id -> BigInt, text -> Text, deleted -> Bool, } }
    diesel::table! { requests (id) { id -> Text, } }
    diesel::table! { changed (seq) { seq -> BigInt, user_id -> BigInt, } }
}
use schema::{notes, orders, users};

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct User {
    /// Given by SQL.
    pub id: i64,
    /// Unique.
    pub email: String,
    /// How they are called.
    pub name: String,
    /// Only ever added to.
    pub visits: i64,
    /// Raised by every compare-and-set.
    pub version: i64,
}

// `visits` and `version` are in neither list: a put leaves them as they are.
bulk_upsert!(upsert_users on users: User { key [id], set [email, name] } in Sqlite);

/// Users by their id.
pub struct UserTable;
impl SqlTable for UserTable {
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Row = User;
    fn key(user: &User) -> i64 {
        user.id
    }
    async fn fetch(conn: &mut AsyncSqliteConnection, ids: &[i64]) -> QueryResult<Vec<User>> {
        users::table.filter(users::id.eq_any(ids)).select(User::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[User]) -> QueryResult<Vec<User>> {
        upsert_users(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncSqliteConnection, ids: &[i64]) -> QueryResult<usize> {
        diesel::delete(users::table.filter(users::id.eq_any(ids))).execute(conn).await
    }
}

/// Whose an address is: the second key of `users`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct Address {
    /// The key here.
    pub email: String,
    /// The key there.
    pub id: i64,
}

/// Users by their address. Read-only: whoever writes does it through [`UserTable`].
pub struct AddressTable;
impl SqlTable for AddressTable {
    type Connection = AsyncSqliteConnection;
    type Key = String;
    type Row = Address;
    fn key(address: &Address) -> String {
        address.email.clone()
    }
    async fn fetch(conn: &mut AsyncSqliteConnection, emails: &[String]) -> QueryResult<Vec<Address>> {
        users::table.filter(users::email.eq_any(emails)).select(Address::as_select()).load(conn).await
    }
    async fn upsert(_: &mut AsyncSqliteConnection, _: &[Address]) -> QueryResult<Vec<Address>> {
        Err(diesel::result::Error::RollbackTransaction)
    }
    async fn remove(_: &mut AsyncSqliteConnection, _: &[String]) -> QueryResult<usize> {
        Err(diesel::result::Error::RollbackTransaction)
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = orders)]
pub struct Order {
    /// Given by SQL.
    pub id: i64,
    /// Who ordered.
    pub user_id: i64,
    /// In cents.
    pub total: i64,
}

bulk_upsert!(upsert_orders on orders: Order { key [id], set [user_id, total] } in Sqlite);

/// Orders by their id.
pub struct OrderTable;
impl SqlTable for OrderTable {
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Row = Order;
    fn key(order: &Order) -> i64 {
        order.id
    }
    async fn fetch(conn: &mut AsyncSqliteConnection, ids: &[i64]) -> QueryResult<Vec<Order>> {
        orders::table.filter(orders::id.eq_any(ids)).select(Order::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Order]) -> QueryResult<Vec<Order>> {
        upsert_orders(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncSqliteConnection, ids: &[i64]) -> QueryResult<usize> {
        diesel::delete(orders::table.filter(orders::id.eq_any(ids))).execute(conn).await
    }
}

/// A note of one tenant, until it is deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = notes)]
pub struct Note {
    tenant: i64,
    id: i64,
    /// What it says.
    pub text: String,
    /// Always false in a row that is there.
    deleted: bool,
}

impl Note {
    /// A note that is not deleted; to put it makes a deleted one live again.
    #[must_use]
    pub fn new(tenant: i64, id: i64, text: impl Into<String>) -> Self {
        Note { tenant, id, text: text.into(), deleted: false }
    }
}

bulk_upsert!(upsert_notes on notes: Note { key [tenant, id], set [text, deleted] } in Sqlite);
key_among!(note_among on notes: (i64, i64) [tenant, id] in Sqlite);

/// Notes by tenant and id. A deleted one stays in SQL, and is not there for whoever reads.
pub struct NoteTable;
impl SqlTable for NoteTable {
    type Connection = AsyncSqliteConnection;
    type Key = (i64, i64);
    type Row = Note;
    fn key(note: &Note) -> (i64, i64) {
        (note.tenant, note.id)
    }
    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[(i64, i64)]) -> QueryResult<Vec<Note>> {
        notes::table.filter(note_among(keys)).filter(notes::deleted.eq(false)).select(Note::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Note]) -> QueryResult<Vec<Note>> {
        upsert_notes(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncSqliteConnection, keys: &[(i64, i64)]) -> QueryResult<usize> {
        let live = notes::table.filter(note_among(keys)).filter(notes::deleted.eq(false));
        diesel::update(live).set(notes::deleted.eq(true)).execute(conn).await
    }
}

/// Users, strict.
pub type Users = WriteThrough<Sql<UserTable>>;
/// Addresses, strict, only read.
pub type Addresses = WriteThrough<Sql<AddressTable>>;
/// Orders, eventual.
pub type Orders = WriteAround<Sql<OrderTable>>;
/// Notes, strict.
pub type Notes = WriteThrough<Sql<NoteTable>>;
