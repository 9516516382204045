//! The other side of every ratio: the same servers, table and rows by redis-rs, diesel-async and serde_json alone.
//!
//! No baseline does more than its task. Those of writes send the very scripts that Writeway sends, and the upsert is the same
//! prepared statement, so that a ratio shows what the library adds around them.

use std::sync::Arc;

use anyhow::{Context, Result};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Script};
use writeway_core::sql::{Cached, Pool, SqlTable};

use crate::compose::composed;
use crate::place::Servers;
use crate::table::{Entries, PgEntries, Row};

#[derive(Clone)]
pub(crate) struct Raw {
    redis: MultiplexedConnection,
    pool: Pool<AsyncPgConnection>,
    stem: String,
    scripts: Arc<Scripts>,
}

struct Scripts {
    begin: Script,
    finish: Script,
    invalidate: Script,
    accept: Script,
}

const SECONDS: u64 = 3_600;
const IDENTITY: &str = "raw";
const MOST: u64 = 1 << 50;

impl Raw {
    pub(crate) fn new(servers: &Servers) -> Self {
        let scripts = Scripts {
            begin: Script::new(include_str!("../../core/src/redis/scripts/begin.lua")),
            finish: Script::new(include_str!("../../core/src/redis/scripts/finish.lua")),
            invalidate: Script::new(include_str!("../../core/src/redis/scripts/invalidate.lua")),
            accept: Script::new(&composed(include_str!("../../core/src/redis/scripts/journal/accept.lua"))),
        };
        let stem = format!("{}:raw:", servers.prefix);
        Raw { redis: servers.redis.clone(), pool: servers.pools.writers().clone(), stem, scripts: Arc::new(scripts) }
    }

    fn key(&self, id: i64) -> String {
        format!("{}{id}", self.stem)
    }

    pub(crate) async fn get(&self, id: i64) -> Result<Option<Row>> {
        let json: Option<Vec<u8>> = self.redis.clone().get(self.key(id)).await?;
        Ok(json.map(|json| serde_json::from_slice(&json)).transpose()?)
    }

    pub(crate) async fn get_many(&self, ids: &[i64]) -> Result<Vec<Option<Row>>> {
        let keys: Vec<String> = ids.iter().map(|&id| self.key(id)).collect();
        let found: Vec<Option<Vec<u8>>> = self.redis.clone().mget(keys).await?;
        found.into_iter().map(|json| Ok(json.map(|json| serde_json::from_slice(&json)).transpose()?)).collect()
    }

    /// GET, SELECT, SET.
    pub(crate) async fn miss(&self, id: i64) -> Result<Option<Row>> {
        let mut redis = self.redis.clone();
        let json: Option<Vec<u8>> = redis.get(self.key(id)).await?;
        anyhow::ensure!(json.is_none(), "the raw side's miss was a hit");
        let row = PgEntries::select(&mut *self.pool.get().await?, id).await?;
        if let Some(row) = &row {
            let () = redis.set_ex(self.key(id), serde_json::to_vec(row)?, SECONDS).await?;
        }
        Ok(row)
    }

    /// BEGIN, upsert RETURNING, barrier, COMMIT, publish.
    pub(crate) async fn put_strict(&self, row: Row) -> Result<Row> {
        let (mut redis, key, token) = (self.redis.clone(), self.key(row.id), rand::random::<[u8; 16]>());
        let mut begin = self.scripts.begin.key(&key);
        begin.arg(&token[..]).arg(2_000).arg(u64::MAX >> 12);
        let mut conn = self.pool.get().await?;
        let work = conn.transaction(async |conn| {
            let row = PgEntries::upsert(conn, &[row]).await?.pop().context("no row")?;
            let _: redis::Value = begin.invoke_async(&mut redis).await?;
            anyhow::Ok(row)
        });
        let row = work.await?;
        let mut finish = self.scripts.finish.key(&key);
        let finish = finish.arg(&token[..]).arg(serde_json::to_vec(&row)?).arg(SECONDS * 1_000);
        let _: redis::Value = finish.invoke_async(&mut self.redis.clone()).await?;
        Ok(row)
    }

    /// The upsert, then the invalidation.
    pub(crate) async fn put_eventual(&self, row: Row) -> Result<Row> {
        let row = PgEntries::upsert(&mut *self.pool.get().await?, &[row]).await?.pop().context("no row")?;
        let _: redis::Value = self.scripts.invalidate.key(self.key(row.id)).invoke_async(&mut self.redis.clone()).await?;
        Ok(row)
    }

    /// Accepts a row into the journal.
    pub(crate) async fn accept(&self, row: Row) -> Result<()> {
        let stem = format!("{{{}}}:", self.stem);
        let mut accept = self.scripts.accept.key(format!("{stem}meta"));
        accept
            .key(format!("{stem}dirty"))
            .key(format!("{stem}frozen"))
            .key(format!("{stem}open"))
            .key(format!("{stem}e:{}", row.id));
        accept.arg(IDENTITY).arg(u64::MAX >> 12).arg(MOST).arg(MOST).arg(MOST).arg(&[0_u8; 4][..]).arg(serde_json::to_vec(&row)?);
        let _: redis::Value = accept.invoke_async(&mut self.redis.clone()).await?;
        Ok(())
    }

    /// One flush of these rows: fence, upsert RETURNING, log, all in one transaction.
    pub(crate) async fn flush(&self, rows: &[Row]) -> Result<Vec<Row>> {
        let keys: Vec<u8> = rows.iter().flat_map(|row| row.id.to_be_bytes()).collect();
        let mut conn = self.pool.get().await?;
        let work = conn.transaction(async |conn| {
            let fence = "UPDATE writeway_fence SET batch = batch + 1 WHERE namespace = 'raw' AND shard = 0 RETURNING batch";
            Cached(diesel::sql_query(fence)).execute(conn).await?;
            let rows = PgEntries::upsert(conn, rows).await?;
            let log = "INSERT INTO writeway_batch SELECT 'raw', 0, batch, 1, $1 FROM writeway_fence WHERE namespace = 'raw'";
            Cached(diesel::sql_query(log).bind::<diesel::sql_types::Binary, _>(keys)).execute(conn).await?;
            anyhow::Ok(rows)
        });
        work.await
    }

    /// Not measured: opens the journal's shard, and makes a fence. The tables must be there.
    pub(crate) async fn open_journal(&self) -> Result<()> {
        let meta = [("identity", IDENTITY), ("epoch", "1"), ("inc", "1"), ("seq", "0")];
        let () = self.redis.clone().hset_multiple(format!("{{{}}}:meta", self.stem), &meta).await?;
        let fence = "INSERT INTO writeway_fence VALUES ('raw', 0, 1, 0)";
        diesel::sql_query(fence).execute(&mut *self.pool.get().await?).await?;
        Ok(())
    }

    /// Not measured: makes the next look a miss.
    pub(crate) async fn forget(&self, id: i64) -> Result<()> {
        Ok(self.redis.clone().del(self.key(id)).await?)
    }

    /// Not measured: makes the next looks hits.
    pub(crate) async fn fill(&self, rows: &[Row]) -> Result<()> {
        let mut pipeline = redis::pipe();
        for row in rows {
            pipeline.set_ex(self.key(row.id), serde_json::to_vec(row)?, SECONDS).ignore();
        }
        Ok(pipeline.query_async(&mut self.redis.clone()).await?)
    }
}
