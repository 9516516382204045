//! Look-aside with delete-after-commit, as most people write it.

use std::sync::Arc;

use anyhow::Result;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use writeway_core::sql::SqlTable;

use super::looks::Looks;
use super::sql_only::upsert;
use super::{Commit, Done, TIME_TO_LIVE};
use crate::servers::Pool;
use crate::table::{self, Entries, Row};

pub(crate) struct LookAside {
    pub(super) pool: Pool,
    pub(super) redis: MultiplexedConnection,
    pub(super) stem: String,
    pub(super) looks: Arc<Looks>,
}

impl LookAside {
    pub(super) async fn read(&self, id: i64) -> Result<Option<Row>> {
        let mut redis = self.redis.clone();
        let cached: Option<Vec<u8>> = redis.get(self.key(id)).await?;
        self.looks.note(1, usize::from(cached.is_some()));
        if let Some(json) = cached {
            return Ok(Some(serde_json::from_slice(&json)?));
        }
        let row = table::select(&mut *self.pool.get().await?, id).await?;
        if let Some(row) = &row {
            let () = redis.set_ex(self.key(id), serde_json::to_vec(row)?, TIME_TO_LIVE.as_secs()).await?;
        }
        Ok(row)
    }

    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        let row = upsert(&self.pool, row, commit).await?;
        let () = self.redis.clone().del(self.key(row.id)).await?;
        Ok(Done::without_cache(row))
    }

    /// One statement and one pipeline: nobody writes meanwhile.
    pub(super) async fn warm(&self, ids: &[i64]) -> Result<()> {
        let rows = Entries::fetch(&mut *self.pool.get().await?, ids).await?;
        let mut pipeline = redis::pipe();
        for row in rows {
            pipeline.set_ex(self.key(row.id), serde_json::to_vec(&row)?, TIME_TO_LIVE.as_secs()).ignore();
        }
        Ok(pipeline.query_async(&mut self.redis.clone()).await?)
    }

    fn key(&self, id: i64) -> String {
        format!("{}{id}", self.stem)
    }
}
