//! A ledger over HTTP: write-through, strict. Balances are read far more often than they change, and an old one is worth nothing.
//!
//! ```text
//! cargo run --example ledger
//! curl localhost:3000/accounts/1
//! curl localhost:3000/transfers -H 'content-type: application/json' -d '{"id": "a-1", "from": 1, "to": 2, "cents": 250}'
//! curl localhost:3000/total
//! ```
//!
//! Embedded, unless REDIS_URL and DATABASE_URL are set: `cargo run --features writeway-examples/postgres --example ledger`.
//! LISTEN is another address than 127.0.0.1:3000, RUST_LOG another level of the log than `warn`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use writeway_examples::serving;
use writeway_through::cache::Barriers;
use writeway_through::diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use writeway_through::sql::{AsyncSqliteConnection, Pools, SqlTx, Sqlite, statement_failed};
use writeway_through::{Error, Kind, MemoryCache, Outcome, Sql, SqlTable, Tx, WriteThrough, bulk_upsert};

/// Money is whole cents, and SQL itself refuses a negative balance. Four accounts of 100.00 each to begin with.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS ledger_accounts (id BIGINT PRIMARY KEY NOT NULL, cents BIGINT NOT NULL CHECK (cents >= 0));
    CREATE TABLE IF NOT EXISTS ledger_transfers (
        id TEXT PRIMARY KEY NOT NULL, source BIGINT NOT NULL, target BIGINT NOT NULL, cents BIGINT NOT NULL);
    INSERT INTO ledger_accounts VALUES (1, 10000), (2, 10000), (3, 10000), (4, 10000) ON CONFLICT DO NOTHING;";

mod schema {
    diesel::table! { ledger_accounts (id) { id -> BigInt, cents -> BigInt, } }
    diesel::table! { ledger_transfers (id) { id -> Text, source -> BigInt, target -> BigInt, cents -> BigInt, } }
}
use schema::{ledger_accounts, ledger_transfers};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = ledger_accounts)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) cents: i64,
}

/// What a client asks for, and the row that remembers it. The client makes up the id: asked again under the same id, it moves
/// nothing a second time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = ledger_transfers)]
pub(crate) struct Transfer {
    pub(crate) id: String,
    #[serde(rename = "from")]
    pub(crate) source: i64,
    #[serde(rename = "to")]
    pub(crate) target: i64,
    pub(crate) cents: i64,
}

/// The statements of a transfer. They run in one transaction.
pub(crate) trait Ledger: SqlTable<Key = i64, Row = Account> {
    /// Notes the transfer; false if one of its id is noted already. Two of one id queue here.
    fn note(conn: &mut Self::Connection, transfer: &Transfer) -> impl Future<Output = QueryResult<bool>> + Send;
    fn noted(conn: &mut Self::Connection, id: &str) -> impl Future<Output = QueryResult<Transfer>> + Send;
    /// Adds to a balance where it stays at zero or above. `None`: it would not, or there is no such account.
    fn add(conn: &mut Self::Connection, id: i64, cents: i64) -> impl Future<Output = QueryResult<Option<Account>>> + Send;
    fn total(conn: &mut Self::Connection) -> impl Future<Output = QueryResult<i64>> + Send;
}

// One text for both databases, which differ in the type of the connection and in the form of `bulk_upsert!`. With one database
// you write the two `impl`s as they stand, without the macro.
macro_rules! ledger {
    ($Accounts:ident over $Connection:ty $(, $($form:tt)+)?) => {
        pub(crate) struct $Accounts;

        impl SqlTable for $Accounts {
            type Connection = $Connection;
            type Key = i64;
            type Row = Account;
            fn key(account: &Account) -> i64 {
                account.id
            }
            async fn fetch(conn: &mut $Connection, keys: &[i64]) -> QueryResult<Vec<Account>> {
                ledger_accounts::table.filter(ledger_accounts::id.eq_any(keys)).select(Account::as_select()).load(conn).await
            }
            async fn upsert(conn: &mut $Connection, rows: &[Account]) -> QueryResult<Vec<Account>> {
                bulk_upsert!(upsert_accounts on ledger_accounts: Account { key [id], set [cents] } $($($form)+)?);
                upsert_accounts(rows).load(conn).await
            }
            async fn remove(conn: &mut $Connection, keys: &[i64]) -> QueryResult<usize> {
                diesel::delete(ledger_accounts::table.filter(ledger_accounts::id.eq_any(keys))).execute(conn).await
            }
        }

        impl Ledger for $Accounts {
            async fn note(conn: &mut $Connection, transfer: &Transfer) -> QueryResult<bool> {
                let insert = diesel::insert_into(ledger_transfers::table).values(transfer).on_conflict_do_nothing();
                Ok(insert.execute(conn).await? == 1)
            }
            async fn noted(conn: &mut $Connection, id: &str) -> QueryResult<Transfer> {
                ledger_transfers::table.find(id).select(Transfer::as_select()).first(conn).await
            }
            async fn add(conn: &mut $Connection, id: i64, cents: i64) -> QueryResult<Option<Account>> {
                use ledger_accounts::{cents as balance, table};
                let enough = table.find(id).filter(balance.ge(-cents));
                let add = diesel::update(enough).set(balance.eq(balance + cents)).returning(Account::as_returning());
                add.get_result(conn).await.optional()
            }
            async fn total(conn: &mut $Connection) -> QueryResult<i64> {
                let sum = sql::<BigInt>("CAST(coalesce(sum(cents), 0) AS BIGINT)");
                ledger_accounts::table.select(sum).first(conn).await
            }
        }
    };
}
ledger!(SqliteAccounts over AsyncSqliteConnection, in Sqlite);

pub(crate) struct Bank<T: Ledger> {
    pub(crate) accounts: WriteThrough<Sql<T>>,
    pub(crate) pools: Pools<T::Connection>,
}

impl<T: Ledger> Bank<T> {
    pub(crate) async fn new(pools: Pools<T::Connection>, cache: impl Barriers) -> anyhow::Result<Arc<Self>> {
        pools.writers().get().await.context("no connection to the database")?.batch_execute(TABLES).await?;
        let accounts = WriteThrough::builder(Sql::new(pools.clone())).namespace("ledger_accounts").build(cache).await?;
        // They were inserted past the cache, which may know that they are not there.
        accounts.invalidate(&[1, 2, 3, 4]).await?;
        Ok(Arc::new(Bank { accounts, pools }))
    }

    /// All of it is committed or nothing is. Dropped before the commit it is rolled back, and no cache has heard of it; once the
    /// commit has begun it runs to its end, also if the client hangs up.
    async fn transfer(&self, transfer: &Transfer) -> Result<StatusCode, Failure> {
        if transfer.cents < 1 || transfer.source == transfer.target {
            return Err(Failure::Senseless);
        }
        let mut tx = self.accounts.begin().await?;
        match self.carry_out(&mut tx, transfer).await {
            Ok(is_new) => {
                tx.commit().await?;
                Ok(if is_new { StatusCode::CREATED } else { StatusCode::OK })
            }
            Err(e) => {
                // Dropping it would do, and cost the pool a connection.
                tx.rollback().await;
                Err(e)
            }
        }
    }

    /// False if it was carried out before.
    async fn carry_out(&self, tx: &mut Tx<SqlTx<T::Connection>>, transfer: &Transfer) -> Result<bool, Failure> {
        if !T::note(tx.connection(), transfer).await? {
            let noted = T::noted(tx.connection(), &transfer.id).await?;
            return if noted == *transfer { Ok(false) } else { Err(Failure::OtherTransfer) };
        }
        let mut moves = [(transfer.source, -transfer.cents), (transfer.target, transfer.cents)];
        // All take their row locks in the order of the keys, so that no two wait for each other.
        moves.sort_unstable();
        for (id, cents) in moves {
            let Some(account) = T::add(tx.connection(), id, cents).await? else {
                let is_there = !T::fetch(tx.connection(), &[id]).await?.is_empty();
                return Err(if is_there { Failure::Overdraft } else { Failure::NoAccount });
            };
            // Every changed row has to be named: these are what SQL returned, and the next reads are hits of them.
            self.accounts.publish(tx, &account);
        }
        Ok(true)
    }
}

/// What a client is told. Nothing was moved, except where it says otherwise.
#[derive(Debug)]
pub(crate) enum Failure {
    Senseless,
    NoAccount,
    Overdraft,
    OtherTransfer,
    Writeway(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Writeway(e)
    }
}

impl From<diesel::result::Error> for Failure {
    fn from(e: diesel::result::Error) -> Self {
        // Before the commit: nothing is moved, whatever it was.
        Failure::Writeway(statement_failed(e))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Failure::Senseless => (StatusCode::UNPROCESSABLE_ENTITY, "at least one cent, between two accounts"),
            Failure::NoAccount => (StatusCode::NOT_FOUND, "no such account"),
            Failure::Overdraft => (StatusCode::CONFLICT, "not enough money in the account"),
            Failure::OtherTransfer => (StatusCode::CONFLICT, "another transfer has this id"),
            Failure::Writeway(e) => serving::logged(answer(&e), &e),
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn answer(e: &Error) -> (StatusCode, &'static str) {
    match (e.outcome(), e.kind()) {
        // The database did not answer the COMMIT: nobody knows. Clients and proxies repeat a 504, and may: the id is noted
        // or it is not. Without such an id this would have to be a 500.
        (Outcome::Unknown, _) => (StatusCode::GATEWAY_TIMEOUT, "moved or not: send it again under the same id to know"),
        (Outcome::Applied, _) => (StatusCode::INTERNAL_SERVER_ERROR, "moved, but the answer is lost"),
        (_, Kind::Unavailable | Kind::Overloaded | Kind::Closed) => (StatusCode::SERVICE_UNAVAILABLE, "try again"),
        (_, Kind::Rejected) => (StatusCode::UNPROCESSABLE_ENTITY, "refused by the database"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "a mistake of ours"),
    }
}

pub(crate) fn router<T: Ledger>(bank: Arc<Bank<T>>) -> Router {
    Router::new()
        .route("/transfers", post(transfer::<T>))
        .route("/accounts/{id}", get(account::<T>))
        .route("/total", get(total::<T>))
        .with_state(bank)
}

async fn transfer<T: Ledger>(
    State(bank): State<Arc<Bank<T>>>,
    Json(transfer): Json<Transfer>,
) -> Result<impl IntoResponse, Failure> {
    let status = bank.transfer(&transfer).await?;
    Ok((status, Json(transfer)))
}

async fn account<T: Ledger>(State(bank): State<Arc<Bank<T>>>, Path(id): Path<i64>) -> Result<Json<Account>, Failure> {
    bank.accounts.get(&id).await?.map(Json).ok_or(Failure::NoAccount)
}

/// The sum over many rows is SQL's business: the cache knows rows by their keys.
async fn total<T: Ledger>(State(bank): State<Arc<Bank<T>>>) -> Result<impl IntoResponse, Failure> {
    let mut conn =
        bank.pools.readers().get().await.map_err(|e| Error::unavailable("no connection to the database").with_source(e))?;
    Ok(Json(json!({ "cents": T::total(&mut conn).await? })))
}

async fn serve<T: Ledger>(bank: Arc<Bank<T>>) -> anyhow::Result<()> {
    let listener = serving::listen().await?;
    println!("Accounts 1 to 4 at http://{}; Ctrl-C or SIGTERM ends it.", listener.local_addr()?);
    axum::serve(listener, router(bank.clone()).route("/metrics", get(serving::metrics)))
        .with_graceful_shutdown(serving::told_to_end())
        .await?;
    println!("{} writes left running", bank.accounts.shutdown(Duration::from_secs(5)).await);
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    serving::log_to_stderr();
    serving::record_metrics()?;
    if let Some((redis, database)) = serving::servers()? {
        return on_servers(&redis, &database).await;
    }
    println!("Embedded: SQLite in a temporary directory, the cache in this process. Both are gone at the end.");
    let directory = tempfile::tempdir()?;
    let pools = Sqlite::open(directory.path().join("ledger.db")).await?;
    serve(Bank::<SqliteAccounts>::new(pools, MemoryCache::new()).await?).await
}

#[cfg(not(feature = "postgres"))]
async fn on_servers(_: &str, _: &str) -> anyhow::Result<()> {
    anyhow::bail!("servers need a feature: cargo run --features writeway-examples/postgres --example ledger; or unset both URLs")
}

#[cfg(feature = "postgres")]
ledger!(PostgresAccounts over writeway_through::diesel_async::AsyncPgConnection);

#[cfg(feature = "postgres")]
async fn on_servers(redis: &str, database: &str) -> anyhow::Result<()> {
    println!("On servers: the tables ledger_accounts and ledger_transfers in DATABASE_URL, the cache in REDIS_URL.");
    let pools = postgres(database).await?;
    serve(Bank::<PostgresAccounts>::new(pools, writeway_through::Redis::connect(redis).await?).await?).await
}

#[cfg(feature = "postgres")]
pub(crate) async fn postgres(database: &str) -> anyhow::Result<Pools<writeway_through::diesel_async::AsyncPgConnection>> {
    use writeway_through::diesel_async::pooled_connection::AsyncDieselConnectionManager;
    // Strict mode needs a server that ends a stalled COMMIT in time.
    let timeouts = Box::new(writeway_through::sql::ServerTimeouts::default());
    let pool = writeway_through::bb8::Pool::builder().max_size(16).connection_customizer(timeouts);
    // A statement of one's own waits so long for a connection. Unless it is said, that is 30 s, and a dead server looks like a hang.
    let pool = pool.connection_timeout(Duration::from_secs(2));
    Ok(pool.build(AsyncDieselConnectionManager::new(database)).await?.into())
}
