//! What look-aside keeps its copies in: a Redis by redis-rs, or a map in the process.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use super::TIME_TO_LIVE;
use crate::table::Row;

/// As most people use one.
pub(crate) trait Aside: Send + Sync + 'static {
    /// # Errors
    /// The cache's own, as with all that follow.
    fn get(&self, id: i64) -> impl Future<Output = Result<Option<Row>>> + Send;

    fn set(&self, row: &Row) -> impl Future<Output = Result<()>> + Send;

    fn delete(&self, id: i64) -> impl Future<Output = Result<()>> + Send;

    /// Many at once, while nobody writes.
    fn fill(&self, rows: Vec<Row>) -> impl Future<Output = Result<()>> + Send;
}

/// GET, SETEX, DEL of JSON, on one multiplexed connection.
pub(crate) struct RedisAside {
    pub(crate) redis: MultiplexedConnection,
    pub(crate) stem: String,
}

impl RedisAside {
    fn key(&self, id: i64) -> String {
        format!("{}{id}", self.stem)
    }
}

impl Aside for RedisAside {
    async fn get(&self, id: i64) -> Result<Option<Row>> {
        let json: Option<Vec<u8>> = self.redis.clone().get(self.key(id)).await?;
        Ok(json.map(|json| serde_json::from_slice(&json)).transpose()?)
    }

    async fn set(&self, row: &Row) -> Result<()> {
        Ok(self.redis.clone().set_ex(self.key(row.id), serde_json::to_vec(row)?, TIME_TO_LIVE.as_secs()).await?)
    }

    async fn delete(&self, id: i64) -> Result<()> {
        Ok(self.redis.clone().del(self.key(id)).await?)
    }

    async fn fill(&self, rows: Vec<Row>) -> Result<()> {
        let mut pipeline = redis::pipe();
        for row in rows {
            pipeline.set_ex(self.key(row.id), serde_json::to_vec(&row)?, TIME_TO_LIVE.as_secs()).ignore();
        }
        Ok(pipeline.query_async(&mut self.redis.clone()).await?)
    }
}

/// The rows themselves behind a lock: no encoding, no bound, no expiry.
#[derive(Clone, Default)]
pub(crate) struct Map(Arc<RwLock<HashMap<i64, Row>>>);

impl Map {
    fn change(&self, change: impl FnOnce(&mut HashMap<i64, Row>)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Aside for Map {
    async fn get(&self, id: i64) -> Result<Option<Row>> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned())
    }

    async fn set(&self, row: &Row) -> Result<()> {
        self.change(|map| drop(map.insert(row.id, row.clone())));
        Ok(())
    }

    async fn delete(&self, id: i64) -> Result<()> {
        self.change(|map| drop(map.remove(&id)));
        Ok(())
    }

    async fn fill(&self, rows: Vec<Row>) -> Result<()> {
        self.change(|map| map.extend(rows.into_iter().map(|row| (row.id, row))));
        Ok(())
    }
}
