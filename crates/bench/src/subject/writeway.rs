//! Ours.

use anyhow::{Context, Result};
use writeway_around::WriteAround;
use writeway_back::WriteBack;
use writeway_core::change::Written;
use writeway_core::sql::Sql;
use writeway_through::WriteThrough;

use super::{Commit, Done, TIME_TO_LIVE};
use crate::servers::{Pool, Servers};
use crate::table::{self, Entries, Row};

pub(crate) type Store = Sql<Entries>;

impl Done {
    fn of(written: Written<Row>) -> Result<Self> {
        let row = written.row.context("the write returned no row")?;
        Ok(Done { version: row.version, effect: Some(written.cache) })
    }
}

/// Strict writes are transactions in any case.
pub(super) async fn put_through(to: &WriteThrough<Store>, row: Row) -> Result<Done> {
    Done::of(to.put(row).await?)
}

/// Write-back, and a look at what is in SQL.
pub(crate) struct Back {
    pub(super) handle: WriteBack<Store>,
    pub(super) pool: Pool,
}

/// Write-back, with its defaults. The server is the run's, not ours to have an append-only file.
pub(crate) async fn back(servers: &Servers, namespace: &str) -> Result<WriteBack<Store>> {
    let store = Sql::<Entries>::new(servers.pool.clone());
    let builder = WriteBack::builder(store).namespace(namespace).time_to_live(TIME_TO_LIVE);
    Ok(builder.migrate().allow_volatile_changes().build(servers.writeway().await?).await?)
}

/// SQL numbers the row later: that it exists is all that is known of it.
pub(super) async fn put_back(to: &WriteBack<Store>, row: Row) -> Result<Done> {
    let _ticket = to.put(row).await?;
    Ok(Done { version: 1, effect: None })
}

/// Write-around, strict or not.
pub(crate) struct Around {
    pub(super) handle: WriteAround<Store>,
    pub(super) strict: bool,
}

impl Around {
    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        if self.strict || commit == Commit::Statement {
            return Done::of(self.handle.put(row).await?);
        }
        // An eventual `put` is one autocommit statement; where a transaction is asked for, it gets one like everybody else.
        let mut tx = self.handle.begin().await?;
        let written = table::upsert(tx.transaction().connection(), &[row]).await?;
        let row = written.into_iter().next().context("the upsert returned no row")?;
        self.handle.touch(&mut tx, &row.id);
        Ok(Done { version: row.version, effect: Some(tx.commit().await?) })
    }
}
