//! What is compared: six ways to read and write one table.

mod aside;
mod look_aside;
mod looks;
mod sql_only;
mod writeway;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use writeway_around::WriteAround;
use writeway_core::change::CacheEffect;
use writeway_core::sql::Sql;
use writeway_through::WriteThrough;

use crate::place::Place;
use crate::table::{Entries, Row};
use look_aside::LookAside;
use looks::Watched;
use sql_only::SqlOnly;
use writeway::{Around, Back, Likes};

pub(crate) use aside::{Aside, Map, RedisAside};
pub(crate) use looks::Looks;
pub(crate) use writeway::LIKES;

/// Longer than any run: what is measured is not expiry.
pub(crate) const TIME_TO_LIVE: Duration = Duration::from_secs(3_600);

/// In the order of the report's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    SqlOnly,
    LookAside,
    WriteThrough,
    WriteAround,
    WriteAroundStrict,
    WriteBack,
}

/// What a write must be to SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    Transaction,
    Statement,
    /// One more of the row, whatever the caller has of it.
    Increment,
}

/// What a write says when it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) version: i64,
    pub(crate) effect: Option<CacheEffect>,
}

impl Done {
    fn without_cache(row: Row) -> Self {
        Done { version: row.version, effect: None }
    }
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] =
        [Kind::SqlOnly, Kind::LookAside, Kind::WriteThrough, Kind::WriteBack, Kind::WriteAround, Kind::WriteAroundStrict];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::SqlOnly => "SQL only",
            Kind::LookAside => "look-aside, delete after commit",
            Kind::WriteThrough => "write-through (strict)",
            Kind::WriteAround => "write-around (eventual)",
            Kind::WriteAroundStrict => "write-around (strict)",
            Kind::WriteBack => "write-back",
        }
    }

    /// Where there is less room.
    pub(crate) fn short_name(self) -> &'static str {
        match self {
            Kind::SqlOnly => "SQL only",
            Kind::LookAside => "look-aside",
            Kind::WriteThrough => "write-through",
            Kind::WriteAround => "write-around",
            Kind::WriteAroundStrict => "write-around, strict",
            Kind::WriteBack => "write-back",
        }
    }
}

/// One of them, ready.
pub(crate) struct Subject<P: Place> {
    way: Way<P>,
    pub(crate) looks: Arc<Looks>,
}

enum Way<P: Place> {
    SqlOnly(SqlOnly<P::Table>),
    LookAside(LookAside<P>),
    WriteThrough(WriteThrough<Sql<P::Table>>),
    WriteAround(Around<P::Table>),
    WriteBack(Back<P::Table>),
    Counters(Likes<P::Table>),
}

impl<P: Place> Subject<P> {
    /// On the place as it is, for writes of this kind; write-back in this namespace.
    ///
    /// # Errors
    /// If a server refuses what the subject needs.
    pub(crate) async fn build(kind: Kind, place: &P, commit: Commit, namespace: &str) -> Result<Self> {
        let looks = Arc::new(Looks::default());
        let pools = || place.pools().clone();
        let around = || WriteAround::builder(place.store()).namespace("around").time_to_live(TIME_TO_LIVE);
        let watched = async || anyhow::Ok(Watched { cache: place.cache().await?, looks: looks.clone() });
        let way = match kind {
            Kind::SqlOnly => Way::SqlOnly(SqlOnly { pools: pools() }),
            Kind::LookAside => Way::LookAside(LookAside { pools: pools(), aside: place.aside(), looks: looks.clone() }),
            Kind::WriteThrough => {
                let through = WriteThrough::builder(place.store()).namespace("through").time_to_live(TIME_TO_LIVE);
                Way::WriteThrough(through.build(watched().await?).await?)
            }
            Kind::WriteAround => Way::WriteAround(Around { handle: around().build(watched().await?).await?, strict: false }),
            Kind::WriteAroundStrict => {
                Way::WriteAround(Around { handle: around().strict().build(watched().await?).await?, strict: true })
            }
            Kind::WriteBack if commit == Commit::Increment => Way::Counters(writeway::likes(place, namespace).await?),
            Kind::WriteBack => Way::WriteBack(writeway::back(place, namespace).await?),
        };
        Ok(Subject { way, looks })
    }

    /// # Errors
    /// The subject's own.
    pub(crate) async fn read(&self, id: i64) -> Result<Option<Row>> {
        match &self.way {
            Way::SqlOnly(sql) => sql.read(id).await,
            Way::LookAside(aside) => aside.read(id).await,
            Way::WriteThrough(handle) => Ok(handle.get(&id).await?),
            Way::WriteAround(around) => Ok(around.handle.get(&id).await?),
            Way::WriteBack(back) => Ok(back.handle.get(&id).await?),
            Way::Counters(likes) => likes.read(id).await,
        }
    }

    /// # Errors
    /// The subject's own.
    pub(crate) async fn write(&self, row: Row, commit: Commit) -> Result<Done> {
        match &self.way {
            Way::SqlOnly(sql) => sql.write(row, commit).await,
            Way::LookAside(aside) => aside.write(row, commit).await,
            Way::WriteThrough(handle) => writeway::write_through(handle, row, commit).await,
            Way::WriteAround(around) => around.write(row, commit).await,
            Way::WriteBack(back) => writeway::put_back(&back.handle, row).await,
            Way::Counters(likes) => likes.like(row.id).await,
        }
    }

    /// False where a read may return a row to which SQL has given no version yet, so that versions say nothing.
    pub(crate) fn reads_committed_rows(&self) -> bool {
        !matches!(self.way, Way::WriteBack(_) | Way::Counters(_))
    }

    /// How much longer than others it must write, for what it does in SQL to be as in the long run.
    pub(crate) fn patience(&self) -> u32 {
        if matches!(self.way, Way::Counters(_)) { 10 } else { 1 }
    }

    /// At rest: whether a read returns what SQL has; `None` where versions tell it.
    ///
    /// # Errors
    /// The subject's own.
    pub(crate) async fn agrees_with_sql(&self, id: i64) -> Result<Option<bool>> {
        match &self.way {
            Way::WriteBack(back) => {
                let committed = P::Table::select(&mut *back.pools.readers().get().await?, id).await?;
                Ok(Some(back.handle.get(&id).await? == committed))
            }
            Way::Counters(likes) => likes.agrees_with_sql(id).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Ends when all that was acknowledged is in SQL.
    ///
    /// # Errors
    /// The subject's own.
    pub(crate) async fn settle(&self) -> Result<()> {
        match &self.way {
            Way::WriteBack(back) => Ok(back.handle.flush().await?),
            Way::Counters(likes) => Ok(likes.handle.flush().await?),
            _ => Ok(()),
        }
    }

    /// How many rows were written to SQL so far, where that is not one per write.
    ///
    /// # Errors
    /// The subject's own.
    pub(crate) async fn rows_flushed(&self) -> Result<Option<u64>> {
        match &self.way {
            Way::WriteBack(back) => Ok(Some(back.handle.stats().await?.flushed)),
            Way::Counters(likes) => Ok(Some(likes.handle.stats().await?.flushed)),
            _ => Ok(None),
        }
    }

    /// Brings the keys into the cache, as quickly as the subject can.
    ///
    /// # Errors
    /// The subject's own.
    pub(crate) async fn warm(&self, ids: &[i64]) -> Result<()> {
        match &self.way {
            Way::SqlOnly(_) => {}
            Way::LookAside(aside) => aside.warm(ids).await?,
            Way::WriteThrough(handle) => drop(handle.get_many(ids).await?),
            Way::WriteAround(around) => drop(around.handle.get_many(ids).await?),
            Way::WriteBack(back) => drop(back.handle.get_many(ids).await?),
            Way::Counters(likes) => drop(likes.handle.get_many(ids).await?),
        }
        self.looks.take();
        Ok(())
    }
}
