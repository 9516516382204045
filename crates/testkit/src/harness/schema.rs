//! One PostgreSQL schema per test: a composite key, an Option column, a column and a key that triggers set, a ledger.

use std::env;
use std::time::Duration;

use writeway_core::diesel::dsl::sql;
use writeway_core::diesel::prelude::*;
use writeway_core::diesel::sql_types::BigInt;
use writeway_core::diesel::{ConnectionError, QueryResult};
use writeway_core::diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use writeway_core::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use writeway_core::redis::Redis;
use writeway_core::runtime::{Runtime as _, Tokio};
use writeway_core::serde::{Deserialize, Serialize};
use writeway_core::sql::{Cached, Pool, ServerTimeouts, Sql, SqlTable};
use writeway_core::tasks::until;
use writeway_core::{bb8, bulk_upsert, key_among};

use crate::servers;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

diesel::table! {
    /// The table.
    scores (game, player) {
        /// Key.
        game -> BigInt,
        /// Key.
        player -> Int4,
        /// Never negative.
        points -> BigInt,
        /// An Option.
        note -> Nullable<Text>,
        /// A trigger's: one more with every change of the row.
        version -> BigInt,
    }
}

/// A row. With the note `elsewhere`, a trigger inserts it under another player.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = scores)]
#[serde(crate = "writeway_core::serde")]
pub struct Score {
    /// Key.
    pub game: i64,
    /// Key.
    pub player: i32,
    /// Never negative.
    pub points: i64,
    /// An Option.
    pub note: Option<String>,
    /// A trigger's.
    pub version: i64,
}

/// A row to put.
#[must_use]
pub fn score(player: i32, points: i64) -> Score {
    Score { game: 1, player, points, note: None, version: 0 }
}

bulk_upsert!(upsert_scores on scores: Score { key [game, player], set [points, note] });
key_among!(among on scores: (i64, i32) [game, player]);

/// The table as applications describe it.
#[derive(Debug)]
pub struct Scores;

impl SqlTable for Scores {
    type Connection = AsyncPgConnection;
    type Key = (i64, i32);
    type Row = Score;

    fn key(row: &Score) -> (i64, i32) {
        (row.game, row.player)
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[(i64, i32)]) -> QueryResult<Vec<Score>> {
        scores::table.filter(among(keys)).select(Score::as_select()).load(conn).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Score]) -> QueryResult<Vec<Score>> {
        upsert_scores(rows).load(conn).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[(i64, i32)]) -> QueryResult<usize> {
        diesel::delete(scores::table.filter(among(keys))).execute(conn).await
    }
}

/// The servers that the environment names.
#[derive(Clone, Debug)]
pub struct Given {
    /// `REDIS_URL`.
    pub redis: String,
    /// `DATABASE_URL`.
    pub database: String,
    prefix: String,
}

impl Given {
    /// `None`, and says so, where one is missing.
    #[must_use]
    pub fn from_env() -> Option<Given> {
        let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(redis), Some(database)) = (get("REDIS_URL"), get("DATABASE_URL")) else {
            println!("SKIPPED: needs REDIS_URL and DATABASE_URL");
            return None;
        };
        let prefix = get("WRITEWAY_PREFIX").unwrap_or_else(|| format!("writeway-test-{}", std::process::id()));
        Some(Given { redis, database, prefix })
    }

    /// The same with a Redis of the test's own, which has on its disk whatever it acknowledged: one that is killed loses none of it.
    /// `None`, and says so, where there is none.
    ///
    /// # Panics
    /// If it does not start, or outside of a runtime of several threads.
    #[must_use]
    pub fn with_lasting_redis(&self) -> Option<(Given, servers::Redis)> {
        let Some(mut redis) = servers::Redis::from_env().expect("redis starts") else {
            println!("SKIPPED: needs WRITEWAY_REDIS_SERVER");
            return None;
        };
        redis.fsync_always();
        tokio::task::block_in_place(|| redis.restart()).expect("restarted");
        Some((self.with_redis(redis.url()), redis))
    }

    /// The cache of one test.
    ///
    /// # Panics
    /// If the server does not let us in.
    pub async fn cache(&self, test: &str) -> Redis {
        let built = Redis::builder(&self.redis).prefix(self.prefix_of(test)).connect().await;
        built.expect("redis lets us in")
    }

    /// The same with a Redis of the test's own.
    #[must_use]
    pub fn with_redis(&self, url: String) -> Given {
        Given { redis: url, ..self.clone() }
    }

    /// The same with a PostgreSQL of the test's own.
    #[must_use]
    pub fn with_database(&self, url: String) -> Given {
        Given { database: url, ..self.clone() }
    }

    /// The same over a proxy on the way to the database.
    ///
    /// # Panics
    /// If the URL names no host and port.
    #[must_use]
    pub fn with_database_at(&self, port: u16) -> Given {
        let (user, rest) = self.database.split_once('@').expect("a user in DATABASE_URL");
        let (_, database) = rest.split_once('/').expect("a database in DATABASE_URL");
        Given { database: format!("{user}@127.0.0.1:{port}/{database}"), ..self.clone() }
    }

    /// Where the database listens.
    ///
    /// # Panics
    /// If the URL names no host and port.
    #[must_use]
    pub fn database_address(&self) -> String {
        let rest = self.database.split_once('@').map_or(self.database.as_str(), |(_, rest)| rest);
        let address = rest.split(['/', '?']).next().expect("an address in DATABASE_URL");
        if address.contains(':') { address.to_owned() } else { format!("{address}:5432") }
    }

    /// As the environment of a worker process, in which [`from_env`](Self::from_env) is to find it.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 3] {
        let Given { redis, database, prefix } = self.clone();
        [("REDIS_URL", redis), ("DATABASE_URL", database), ("WRITEWAY_PREFIX", prefix)]
    }

    /// What its keys start with, before a `:`.
    #[must_use]
    pub fn prefix_of(&self, test: &str) -> String {
        format!("{}.{test}", self.prefix)
    }
}

/// A schema of one test's own.
#[derive(Clone, Debug)]
pub struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// Makes it anew in the database.
    ///
    /// # Panics
    /// If the database does not let us.
    pub async fn make(database: &str, name: &str) -> Schema {
        let schema = Schema::of(database, name);
        let setup = format!(
            "DROP SCHEMA IF EXISTS {name} CASCADE;
             CREATE SCHEMA {name};
             CREATE TABLE scores (
                game BIGINT, player INT, points BIGINT NOT NULL CHECK (points >= 0), note TEXT, version BIGINT NOT NULL,
                PRIMARY KEY (game, player));
             CREATE TABLE ledger (player INT NOT NULL, version BIGINT NOT NULL, points BIGINT NOT NULL);
             CREATE FUNCTION stamp() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
                IF TG_OP = 'INSERT' THEN
                    NEW.version := 1;
                    IF NEW.note = 'elsewhere' THEN NEW.player := NEW.player + 1000; END IF;
                ELSE NEW.version := OLD.version + 1; END IF;
                RETURN NEW; END $$;
             CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON scores FOR EACH ROW EXECUTE FUNCTION stamp();
             CREATE FUNCTION enter() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO ledger VALUES (NEW.player, NEW.version, NEW.points); RETURN NULL; END $$;
             CREATE TRIGGER enter AFTER INSERT OR UPDATE ON scores FOR EACH ROW EXECUTE FUNCTION enter();"
        );
        schema.run(&setup).await;
        schema
    }

    /// One that another process has made.
    #[must_use]
    pub fn of(database: &str, name: &str) -> Schema {
        let separator = if database.contains('?') { '&' } else { '?' };
        let url = format!("{database}{separator}application_name={name}&options=-csearch_path%3D{name}");
        Schema { url, name: name.to_owned() }
    }

    /// The same without a wait for the disk at a commit: how long a busy disk takes is not what is watched.
    #[must_use]
    pub fn without_fsync(&self) -> Schema {
        self.with("synchronous_commit", "off")
    }

    /// The same with a setting of the server's for all its sessions.
    #[must_use]
    pub fn with(&self, setting: &str, value: &str) -> Schema {
        Schema { url: format!("{}%20-c{setting}%3D{value}", self.url), name: self.name.clone() }
    }

    /// Its name, which is also the `application_name` of its sessions.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own.
    ///
    /// # Panics
    /// If the database does not let us in.
    pub async fn connect(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url).await.expect("the database lets us in")
    }

    /// Ends all sessions in it but the one that asks, which must be of another.
    ///
    /// # Panics
    /// If the database does not let us.
    pub async fn end_sessions(&self, stranger: &mut AsyncPgConnection) -> i64 {
        let name = &self.name;
        let ended = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{name}' AND pid <> pg_backend_pid()"
        );
        number(stranger, &ended).await
    }

    /// Runs statements on a connection of its own.
    ///
    /// # Panics
    /// If they are wrong.
    pub async fn run(&self, statements: &str) {
        self.connect().await.batch_execute(statements).await.expect("the statements are right");
    }

    /// A pool whose sessions end what stalls after `stalled`.
    ///
    /// # Panics
    /// If the database does not let us in.
    pub async fn pool(&self, size: u32, stalled: Duration) -> Pool<AsyncPgConnection> {
        let timeouts = ServerTimeouts::default().statement(stalled).lock(stalled).idle_in_transaction(stalled);
        let mut config = ManagerConfig::default();
        config.recycling_method = RecyclingMethod::Fast;
        // The pool itself would wait for ever for a server that is only half there, and keep the place.
        config.custom_setup = Box::new(|url| {
            let url = url.to_owned();
            Box::pin(async move {
                let connected = until(&Tokio, Tokio.now() + CONNECT_WITHIN, AsyncPgConnection::establish(&url)).await;
                connected.unwrap_or_else(|| Err(ConnectionError::BadConnection("not in time".to_owned())))
            })
        });
        let manager = AsyncDieselConnectionManager::new_with_config(&self.url, config);
        let builder = bb8::Pool::builder().max_size(size).connection_customizer(Box::new(timeouts));
        // Also the bound of the pool's own pauses: with its 30 s it looks for a server that is back every 15 s.
        builder.connection_timeout(Duration::from_secs(2)).build(manager).await.expect("the database lets us in")
    }

    /// The table over a pool with the default time-outs.
    pub async fn scores(&self, size: u32) -> Sql<Scores> {
        Sql::new(self.pool(size, Duration::from_millis(1_500)).await)
    }
}

/// One number.
///
/// # Panics
/// If the query gives none.
pub async fn number(conn: &mut AsyncPgConnection, query: &str) -> i64 {
    let select = Cached(diesel::select(sql::<BigInt>(&format!("({query})::bigint"))));
    let rows: Vec<i64> = select.load(conn).await.expect("a number");
    rows.into_iter().next().expect("a number")
}
