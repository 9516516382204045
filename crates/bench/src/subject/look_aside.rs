//! Look-aside with delete-after-commit, as most people write it.

use std::sync::Arc;

use anyhow::Result;
use writeway_core::sql::{Pools, SqlTable};

use super::aside::Aside;
use super::looks::Looks;
use super::sql_only::upsert;
use super::{Commit, Done};
use crate::place::Place;
use crate::table::{Connection, Entries, Row};

pub(crate) struct LookAside<P: Place> {
    pub(super) pools: Pools<Connection<P::Table>>,
    pub(super) aside: P::Aside,
    pub(super) looks: Arc<Looks>,
}

impl<P: Place> LookAside<P> {
    pub(super) async fn read(&self, id: i64) -> Result<Option<Row>> {
        let cached = self.aside.get(id).await?;
        self.looks.note(1, usize::from(cached.is_some()));
        if cached.is_some() {
            return Ok(cached);
        }
        let row = P::Table::select(&mut *self.pools.readers().get().await?, id).await?;
        if let Some(row) = &row {
            self.aside.set(row).await?;
        }
        Ok(row)
    }

    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        let row = upsert::<P::Table>(&self.pools, row, commit).await?;
        self.aside.delete(row.id).await?;
        Ok(Done::without_cache(row))
    }

    /// One statement and one call of the cache: nobody writes meanwhile.
    pub(super) async fn warm(&self, ids: &[i64]) -> Result<()> {
        let rows = P::Table::fetch(&mut *self.pools.readers().get().await?, ids).await?;
        self.aside.fill(rows).await
    }
}
