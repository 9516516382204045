//! The two servers, and what the run makes on them: one schema, keys under one prefix. Both are removed at the end.

use std::ffi::OsString;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use bb8::CustomizeConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use redis::aio::MultiplexedConnection;
use writeway_core::journal::Journal;
use writeway_core::redis::Redis;
use writeway_core::sql::{Pools, ServerTimeouts};

use super::{Kind, Place};
use crate::cases::{self, Case};
use crate::count::{self, Commands};
use crate::environment::{self, Facts};
use crate::plan::Plan;
use crate::subject::RedisAside;
use crate::table::{Entries, PgEntries};

/// Connections of the SQL pool that all subjects share.
pub(crate) const SQL_POOL: u32 = 16;

pub(crate) struct Servers {
    pub(crate) redis_url: String,
    pub(crate) database_url: String,
    /// One multiplexed connection: what an application without Writeway would use.
    pub(crate) redis: MultiplexedConnection,
    pub(crate) pools: Pools<AsyncPgConnection>,
    /// For what is not measured; without the pool's time-outs.
    pub(crate) admin: AsyncPgConnection,
    /// What every key of the run starts with.
    pub(crate) prefix: String,
    schema: String,
}

/// Every connection sees the run's schema, and has the time-outs that strict writes need, for all subjects alike.
#[derive(Debug)]
struct Session {
    schema: String,
}

impl CustomizeConnection<AsyncPgConnection, PoolError> for Session {
    fn on_acquire<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<(), PoolError>> + Send + 'a>> {
        Box::pin(async move {
            ServerTimeouts::default().on_acquire(conn).await?;
            conn.batch_execute(&format!("SET search_path TO {}", self.schema)).await.map_err(PoolError::QueryError)
        })
    }
}

impl Servers {
    /// Connects, and makes the schema.
    ///
    /// # Errors
    /// If a server cannot be reached or refuses.
    pub(crate) async fn connect(redis_url: String, database_url: String, prefix: &str) -> Result<Self> {
        // One run must not meet another, nor what a run that was killed left behind.
        let prefix = format!("{prefix}.bench.{}", std::process::id());
        let schema = schema_of(&prefix);
        let mut admin = AsyncPgConnection::establish(&database_url).await.context("connecting to DATABASE_URL")?;
        let create = format!("CREATE SCHEMA {schema}; SET search_path TO {schema}; {}", PgEntries::CREATE);
        admin.batch_execute(&create).await.context("making the schema")?;
        match Self::join(redis_url, database_url, prefix).await {
            Ok(servers) => Ok(servers),
            Err(e) => {
                admin.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.context("removing the schema")?;
                Err(e)
            }
        }
    }

    /// Connects to what another process of the run has made, under its whole prefix.
    ///
    /// # Errors
    /// If a server cannot be reached or refuses.
    pub(crate) async fn join(redis_url: String, database_url: String, prefix: String) -> Result<Self> {
        let schema = schema_of(&prefix);
        let client = redis::Client::open(redis_url.as_str()).context("REDIS_URL")?;
        let redis = client.get_multiplexed_async_connection().await.context("connecting to REDIS_URL")?;
        let mut admin = AsyncPgConnection::establish(&database_url).await.context("connecting to DATABASE_URL")?;
        admin.batch_execute(&format!("SET search_path TO {schema}")).await.context("finding the schema")?;
        let mut config = ManagerConfig::default();
        // A query per checkout would be measured with everything.
        config.recycling_method = RecyclingMethod::Fast;
        let manager = AsyncDieselConnectionManager::new_with_config(&database_url, config);
        let pool = bb8::Pool::builder()
            .max_size(SQL_POOL)
            .min_idle(SQL_POOL)
            .connection_customizer(Box::new(Session { schema: schema.clone() }))
            .build(manager)
            .await
            .context("filling the sql pool")?;
        Ok(Servers { redis_url, database_url, redis, pools: pool.into(), admin, prefix, schema })
    }

    /// Writeway's own handle on the same server.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub(crate) async fn writeway(&self) -> Result<Redis> {
        Ok(Redis::builder(self.redis_url.as_str()).prefix(&self.prefix).connect().await?)
    }

    /// Removes the run's keys, page by page.
    async fn forget(&mut self) -> Result<()> {
        let pattern = format!("{}*", self.prefix);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(2_000);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut self.redis).await.context("listing the run's keys")?;
            if !keys.is_empty() {
                let removed = redis::cmd("UNLINK").arg(keys).exec_async(&mut self.redis).await;
                removed.context("removing the run's keys")?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}

impl Place for Servers {
    const KIND: Kind = Kind::Servers;
    const JOURNAL_OUTLIVES_US: bool = true;
    const CASES: usize = cases::servers::COUNT;

    type Table = PgEntries;
    type Cache = Redis;
    type Aside = RedisAside;

    fn pools(&self) -> &Pools<AsyncPgConnection> {
        &self.pools
    }

    async fn cache(&self) -> Result<Redis> {
        self.writeway().await
    }

    async fn journal(&self) -> Result<Arc<dyn Journal>> {
        Ok(self.writeway().await?.into())
    }

    fn aside(&self) -> RedisAside {
        RedisAside { redis: self.redis.clone(), stem: format!("{}:aside:", self.prefix) }
    }

    async fn reset(&mut self, keys: i64, value_bytes: usize) -> Result<()> {
        self.admin.batch_execute(&PgEntries::load(keys, value_bytes)).await.context("loading the table")?;
        self.admin.batch_execute("ANALYZE entries").await.context("analyzing the table")?;
        self.forget().await
    }

    async fn versions(&mut self) -> Result<Vec<(i64, i64)>> {
        Ok(PgEntries::versions(&mut self.admin).await?)
    }

    async fn commands(&mut self) -> Result<Option<Commands>> {
        count::commands(&mut self.redis).await.map(Some)
    }

    async fn facts(&mut self) -> Result<Facts> {
        environment::servers::facts(self).await
    }

    async fn cases(&mut self, plan: &Plan) -> Result<Vec<Case>> {
        cases::servers::prepare(self, plan).await
    }

    fn for_another_process(&self) -> Vec<(&'static str, OsString)> {
        let [redis, database, prefix] = [&self.redis_url, &self.database_url, &self.prefix].map(OsString::from);
        vec![("REDIS_URL", redis), ("DATABASE_URL", database), ("WRITEWAY_PREFIX", prefix)]
    }

    async fn clean_up(mut self) -> Result<()> {
        let keys = self.forget().await;
        let drop_schema = format!("DROP SCHEMA {} CASCADE", self.schema);
        let schema = self.admin.batch_execute(&drop_schema).await.with_context(|| format!("{drop_schema}, left to be done"));
        keys.with_context(|| format!("keys {}* are left", self.prefix)).and(schema)
    }
}

fn schema_of(prefix: &str) -> String {
    prefix.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
