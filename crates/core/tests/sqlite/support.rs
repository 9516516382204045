//! A file per test, and a table with what can go wrong in one.

use tempfile::TempDir;
use writeway_core::change::Change;
use writeway_core::diesel::dsl::sql;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::BigInt;
use writeway_core::diesel::{self, QueryResult};
use writeway_core::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::{AsyncSqliteConnection, Pools, Sql, SqlTable, Sqlite};
use writeway_core::{bulk_upsert, key_among};

diesel::table! {
    accounts (region, id) {
        region -> Text,
        id -> BigInt,
        balance -> BigInt,
        code -> Nullable<Text>,
        owner -> Nullable<BigInt>,
        parent -> Nullable<BigInt>,
    }
}

/// `code` is unique, `owner` refers to a table without rows, `parent` too but is checked at the commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = accounts)]
#[serde(crate = "writeway_core::serde")]
pub(crate) struct Account {
    pub(crate) region: String,
    pub(crate) id: i64,
    pub(crate) balance: i64,
    pub(crate) code: Option<String>,
    pub(crate) owner: Option<i64>,
    pub(crate) parent: Option<i64>,
}

pub(crate) fn account(id: i64, balance: i64) -> Account {
    Account { region: "eu".into(), id, balance, code: None, owner: None, parent: None }
}
pub(crate) fn put(account: Account) -> Change<(String, i64), Account> {
    Change::Put(account)
}
pub(crate) fn delete(id: i64) -> Change<(String, i64), Account> {
    Change::Delete(key(id))
}
pub(crate) fn key(id: i64) -> (String, i64) {
    ("eu".into(), id)
}

bulk_upsert!(upsert_accounts on accounts: Account { key [region, id], set [balance, code, owner, parent] } in Sqlite);
key_among!(among on accounts: (String, i64) [region, id] in Sqlite);

pub(crate) struct Accounts;

impl SqlTable for Accounts {
    // A promise of no use here: there is no round trip to save.
    const ONE_STATEMENT: bool = true;
    type Connection = AsyncSqliteConnection;
    type Key = (String, i64);
    type Row = Account;
    fn key(row: &Account) -> (String, i64) {
        (row.region.clone(), row.id)
    }
    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[(String, i64)]) -> QueryResult<Vec<Account>> {
        accounts::table.filter(among(keys)).select(Account::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncSqliteConnection, rows: &[Account]) -> QueryResult<Vec<Account>> {
        assert!(rows.iter().all(|row| row.balance != PANIC), "a bug in the application");
        upsert_accounts(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncSqliteConnection, keys: &[(String, i64)]) -> QueryResult<usize> {
        diesel::delete(accounts::table.filter(among(keys))).execute(conn).await
    }
}

/// Makes `upsert` panic.
pub(crate) const PANIC: i64 = -666;

/// A file of one test's own, gone with it.
pub(crate) struct File {
    pub(crate) pools: Pools<AsyncSqliteConnection>,
    pub(crate) directory: TempDir,
}

impl File {
    pub(crate) async fn make() -> File {
        let directory = tempfile::tempdir().expect("a directory");
        let pools = Sqlite::open(directory.path().join("test.db")).await.expect("opened");
        let file = File { pools, directory };
        let tables = "
            CREATE TABLE parents (id BIGINT PRIMARY KEY);
            CREATE TABLE accounts (
                region TEXT, id BIGINT, balance BIGINT NOT NULL CHECK (balance >= 0), code TEXT UNIQUE,
                owner BIGINT REFERENCES parents, parent BIGINT REFERENCES parents DEFERRABLE INITIALLY DEFERRED,
                PRIMARY KEY (region, id));";
        file.run(tables).await;
        file
    }

    pub(crate) fn accounts(&self) -> Sql<Accounts> {
        Sql::new(self.pools.clone())
    }

    pub(crate) async fn run(&self, statements: &str) {
        let mut conn = self.pools.writers().get().await.expect("the writer");
        conn.batch_execute(statements).await.expect("the statements are right");
    }

    /// One number, read by a reader.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let mut conn = self.pools.readers().get().await.expect("a reader");
        diesel::select(sql::<BigInt>(&format!("({query})"))).get_result(&mut *conn).await.expect("a number")
    }
}
