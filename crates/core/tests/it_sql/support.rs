//! One PostgreSQL schema per test, and a table with everything that can go wrong in one.

use std::env;
use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::diesel::dsl::sql;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::BigInt;
use writeway_core::diesel::{self, QueryResult};
use writeway_core::diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use writeway_core::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::{Cached, Pool, ServerTimeouts, Sql, SqlTable};
use writeway_core::tasks::until;
use writeway_core::{bb8, bulk_upsert, key_among};

diesel::table! {
    accounts (region, id) {
        region -> Text,
        id -> BigInt,
        balance -> BigInt,
        code -> Nullable<Text>,
        owner -> Nullable<BigInt>,
        parent -> Nullable<BigInt>,
        stamp -> BigInt,
    }
}

/// `code` is unique, `owner` refers to a table without rows, `parent` too but is checked at the commit, `stamp` is a trigger's.
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
    pub(crate) stamp: i64,
}

pub(crate) fn account(id: i64, balance: i64) -> Account {
    Account { region: "eu".into(), id, balance, code: None, owner: None, parent: None, stamp: 0 }
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

bulk_upsert!(upsert_accounts on accounts: Account { key [region, id], set [balance, code, owner, parent] });
key_among!(among on accounts: (String, i64) [region, id]);

/// `ONE` is [`SqlTable::ONE_STATEMENT`].
pub(crate) struct Accounts<const ONE: bool>;

impl<const ONE: bool> SqlTable for Accounts<ONE> {
    const ONE_STATEMENT: bool = ONE;
    type Connection = AsyncPgConnection;
    type Key = (String, i64);
    type Row = Account;
    fn key(row: &Account) -> (String, i64) {
        (row.region.clone(), row.id)
    }
    async fn fetch(conn: &mut AsyncPgConnection, keys: &[(String, i64)]) -> QueryResult<Vec<Account>> {
        accounts::table.filter(among(keys)).select(Account::as_select()).load(conn).await
    }
    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Account]) -> QueryResult<Vec<Account>> {
        assert!(rows.iter().all(|row| row.balance != PANIC), "a bug in the application");
        upsert_accounts(rows).load(conn).await
    }
    async fn remove(conn: &mut AsyncPgConnection, keys: &[(String, i64)]) -> QueryResult<usize> {
        diesel::delete(accounts::table.filter(among(keys))).execute(conn).await
    }
}

/// Makes `upsert` panic.
pub(crate) const PANIC: i64 = -666;

/// A schema of one test's own.
pub(crate) struct Schema {
    pub(crate) url: String,
}

impl Schema {
    /// `None`, and says so, where no database is given.
    pub(crate) async fn make(name: &str) -> Option<Schema> {
        let Ok(database) = env::var("DATABASE_URL") else {
            println!("SKIPPED: needs DATABASE_URL");
            return None;
        };
        Some(Schema::make_in(&database, name).await)
    }

    pub(crate) async fn make_in(database: &str, name: &str) -> Schema {
        let separator = if database.contains('?') { '&' } else { '?' };
        let schema = Schema { url: format!("{database}{separator}options=-csearch_path%3D{name}&application_name={name}") };
        let setup = format!(
            "DROP SCHEMA IF EXISTS {name} CASCADE;
             CREATE SCHEMA {name};
             CREATE TABLE parents (id BIGINT PRIMARY KEY);
             CREATE TABLE accounts (
                region TEXT, id BIGINT, balance BIGINT NOT NULL CHECK (balance >= 0), code TEXT UNIQUE,
                owner BIGINT REFERENCES parents, parent BIGINT REFERENCES parents DEFERRABLE INITIALLY DEFERRED,
                stamp BIGINT NOT NULL, PRIMARY KEY (region, id));
             CREATE FUNCTION stamp() RETURNS TRIGGER LANGUAGE plpgsql AS
                $$ BEGIN NEW.stamp := 10 * NEW.balance; RETURN NEW; END $$;
             CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION stamp();"
        );
        schema.run(&setup).await;
        schema
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url).await.expect("the database lets us in")
    }

    pub(crate) async fn run(&self, statements: &str) {
        self.connect().await.batch_execute(statements).await.expect("the statements are right");
    }

    /// Without a check at the checkout, with the server's time-outs.
    pub(crate) async fn pool(&self, size: u32) -> Pool<AsyncPgConnection> {
        let timeouts = Box::new(ServerTimeouts::default());
        bb8::Pool::builder().max_size(size).connection_customizer(timeouts).build(self.manager()).await.expect("connects")
    }

    pub(crate) fn manager(&self) -> AsyncDieselConnectionManager<AsyncPgConnection> {
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        AsyncDieselConnectionManager::new_with_config(&self.url, config)
    }

    pub(crate) async fn accounts(&self) -> Sql<Accounts<false>> {
        Sql::new(self.pool(4).await)
    }

    /// One number, on a connection of its own.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        number(&mut self.connect().await, query).await
    }

    /// Asks until the answer is `expected`, for 10 s.
    pub(crate) async fn until(&self, query: &str, expected: i64) {
        let mut conn = self.connect().await;
        let asking = async { while number(&mut conn, query).await != expected {} };
        let deadline = Tokio.now() + Duration::from_secs(10);
        assert!(until(&Tokio, deadline, asking).await.is_some(), "never became {expected}: {query}");
    }
}

pub(crate) async fn number(conn: &mut AsyncPgConnection, query: &str) -> i64 {
    let rows: Vec<i64> = Cached(diesel::select(sql::<BigInt>(&format!("({query})::bigint")))).load(conn).await.expect("a number");
    rows[0]
}

/// How many sessions of the schema wait for a lock.
pub(crate) fn waiting(schema: &str) -> String {
    format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{schema}' AND wait_event_type = 'Lock'")
}

/// What the store answered for each change, the stamp only.
pub(crate) fn stamps(stored: &[Stored<Account>]) -> Vec<Option<i64>> {
    stored.iter().map(|s| if let Stored::As(row) = s { Some(row.stamp) } else { None }).collect()
}
