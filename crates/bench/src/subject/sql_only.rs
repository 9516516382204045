//! No cache: what the caches are there to relieve.

use anyhow::{Context, Result};
use diesel_async::AsyncConnection;

use super::{Commit, Done};
use crate::servers::Pool;
use crate::table::{self, Row};

pub(crate) struct SqlOnly {
    pub(super) pool: Pool,
}

impl SqlOnly {
    pub(super) async fn read(&self, id: i64) -> Result<Option<Row>> {
        Ok(table::select(&mut *self.pool.get().await?, id).await?)
    }

    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        upsert(&self.pool, row, commit).await.map(Done::without_cache)
    }
}

/// The row as it now stands, committed.
pub(super) async fn upsert(pool: &Pool, row: Row, commit: Commit) -> Result<Row> {
    let mut conn = pool.get().await?;
    let rows = match commit {
        Commit::Statement => table::upsert(&mut conn, &[row]).await?,
        Commit::Transaction => conn.transaction(async |conn| table::upsert(conn, &[row]).await).await?,
    };
    rows.into_iter().next().context("the upsert returned no row")
}
