//! Ours.

use anyhow::{Context, Result};
use writeway_around::WriteAround;
use writeway_back::WriteBack;
use writeway_core::change::Written;
use writeway_core::sql::{Pools, Sql};
use writeway_through::WriteThrough;

use super::{Commit, Done, TIME_TO_LIVE};
use crate::place::Place;
use crate::table::{Connection, Entries, Row};

impl Done {
    fn of(written: Written<Row>) -> Result<Self> {
        let row = written.row.context("the write returned no row")?;
        Ok(Done { version: row.version, effect: Some(written.cache) })
    }
}

/// Strict writes are transactions in any case.
pub(super) async fn put_through<T: Entries>(to: &WriteThrough<Sql<T>>, row: Row) -> Result<Done> {
    Done::of(to.put(row).await?)
}

/// Write-back, and a look at what is in SQL.
pub(crate) struct Back<T: Entries> {
    pub(super) handle: WriteBack<Sql<T>>,
    pub(super) pools: Pools<Connection<T>>,
}

/// Write-back, with its defaults. A server is the run's, not ours to have an append-only file.
pub(crate) async fn back<P: Place>(place: &P, namespace: &str) -> Result<Back<P::Table>> {
    let builder = WriteBack::builder(place.store()).namespace(namespace).time_to_live(TIME_TO_LIVE);
    let handle = builder.migrate().allow_volatile_changes().build(place.journal().await?).await?;
    Ok(Back { handle, pools: place.pools().clone() })
}

/// SQL numbers the row later: that it exists is all that is known of it.
pub(super) async fn put_back<T: Entries>(to: &WriteBack<Sql<T>>, row: Row) -> Result<Done> {
    let _ticket = to.put(row).await?;
    Ok(Done { version: 1, effect: None })
}

/// Write-around, strict or not.
pub(crate) struct Around<T: Entries> {
    pub(super) handle: WriteAround<Sql<T>>,
    pub(super) strict: bool,
}

impl<T: Entries> Around<T> {
    pub(super) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        if self.strict || commit == Commit::Statement {
            return Done::of(self.handle.put(row).await?);
        }
        // An eventual `put` is one autocommit statement; where a transaction is asked for, it gets one like everybody else.
        let mut tx = self.handle.begin().await?;
        let written = T::upsert(tx.transaction().connection(), &[row]).await?;
        let row = written.into_iter().next().context("the upsert returned no row")?;
        self.handle.touch(&mut tx, &row.id);
        Ok(Done { version: row.version, effect: Some(tx.commit().await?) })
    }
}
