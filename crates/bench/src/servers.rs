//! The two servers, and what the run makes on them: one schema, keys under one prefix. Both are removed at the end.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use bb8::CustomizeConnection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use redis::aio::MultiplexedConnection;
use writeway_core::redis::Redis;
use writeway_core::sql::ServerTimeouts;

use crate::table;

/// Connections of the SQL pool that all subjects share.
pub(crate) const SQL_POOL: u32 = 16;

pub(crate) type Pool = writeway_core::sql::Pool<AsyncPgConnection>;

pub(crate) struct Servers {
    pub(crate) redis_url: String,
    pub(crate) database_url: String,
    /// One multiplexed connection: what an application without Writeway would use.
    pub(crate) redis: MultiplexedConnection,
    pub(crate) pool: Pool,
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
        let create = format!("CREATE SCHEMA {schema}; SET search_path TO {schema}; {}", table::CREATE);
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
        Ok(Servers { redis_url, database_url, redis, pool, admin, prefix, schema })
    }

    /// Writeway's own handle on the same server.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub(crate) async fn writeway(&self) -> Result<Redis> {
        Ok(Redis::builder(self.redis_url.as_str()).prefix(&self.prefix).connect().await?)
    }

    /// A name that no round had before: write-back's fence in SQL outlives the keys in Redis.
    pub(crate) fn fresh_namespace(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("back{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The table as it was at first, and no keys in the cache.
    ///
    /// # Errors
    /// If a server refuses.
    pub(crate) async fn reset(&mut self, keys: i64, value_bytes: usize) -> Result<()> {
        self.admin.batch_execute(&table::load(keys, value_bytes)).await.context("loading the table")?;
        self.admin.batch_execute("ANALYZE entries").await.context("analyzing the table")?;
        self.forget().await
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

    /// Removes everything the run made.
    ///
    /// # Errors
    /// Names what is left, after trying all.
    pub(crate) async fn clean_up(mut self) -> Result<()> {
        let keys = self.forget().await;
        let drop_schema = format!("DROP SCHEMA {} CASCADE", self.schema);
        let schema = self.admin.batch_execute(&drop_schema).await.with_context(|| format!("{drop_schema}, left to be done"));
        keys.with_context(|| format!("keys {}* are left", self.prefix)).and(schema)
    }
}

fn schema_of(prefix: &str) -> String {
    prefix.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
