//! No cache: what the caches are there to relieve.

use anyhow::{Context, Result};
use writeway_core::sql::Pools;

use super::{Commit, Done};
use crate::table::{Connection, Entries, Row};

pub(crate) struct SqlOnly<T: Entries> {
    pub(super) pools: Pools<Connection<T>>,
}

impl<T: Entries> SqlOnly<T> {
    pub(super) async fn read(&self, id: i64) -> Result<Option<Row>> {
        Ok(T::select(&mut *self.pools.readers().get().await?, id).await?)
    }

    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        upsert::<T>(&self.pools, row, commit).await.map(Done::without_cache)
    }
}

/// The row as it now stands, committed.
pub(super) async fn upsert<T: Entries>(pools: &Pools<Connection<T>>, row: Row, commit: Commit) -> Result<Row> {
    let mut conn = pools.writers().get().await?;
    let rows = match commit {
        Commit::Statement => T::upsert(&mut conn, &[row]).await?,
        Commit::Transaction => T::upsert_in_transaction(&mut conn, row).await?,
        Commit::Increment => T::increment(&mut conn, row.id).await?,
    };
    rows.into_iter().next().context("the write returned no row")
}
