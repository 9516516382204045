//! Everything in this process: SQLite in a file, and caches that are made for each subject.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use diesel_async::SimpleAsyncConnection;
use writeway_core::journal::Journal;
use writeway_core::memory::{MemoryCache, MemoryJournal};
use writeway_core::runtime::Tokio;
use writeway_core::sql::{AsyncSqliteConnection, Pools, Sqlite};

use super::{Kind, Place};
use crate::cases::{self, Case};
use crate::count::Commands;
use crate::environment::{self, Facts};
use crate::plan::Plan;
use crate::subject::Map;
use crate::table::{Entries, SqliteEntries};

/// In which directory to make the file; whoever names it removes it.
pub(crate) const DIRECTORY: &str = "WRITEWAY_BENCH_DIR";
/// Which file, in the other processes of a run.
const FILE: &str = "WRITEWAY_BENCH_FILE";
/// More than any run has rows: nothing makes room, as in a Redis without a limit.
const ROOM: usize = 10_000_000;

pub(crate) struct Embedded {
    file: PathBuf,
    pools: Pools<AsyncSqliteConnection>,
}

impl Embedded {
    /// Makes the file.
    ///
    /// # Errors
    /// If there is no directory for it, or it cannot be written.
    pub(crate) async fn make() -> Result<Self> {
        let directory =
            std::env::var_os(DIRECTORY).with_context(|| format!("{DIRECTORY} is not set: try `cargo xtask bench`"))?;
        let file = Path::new(&directory).join(format!("bench-{}.sqlite", std::process::id()));
        // The processes that are killed have it open at the same time, and never what lies in this process' cache.
        let pools = Sqlite::open_shared(&file).await.context("making the file of SQLite")?;
        pools.writers().get().await?.batch_execute(SqliteEntries::CREATE).await.context("making the table")?;
        Ok(Embedded { file, pools })
    }

    /// Opens the file of another process of the run, which leaves it alone meanwhile.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) async fn join() -> Result<Self> {
        let file = PathBuf::from(std::env::var_os(FILE).with_context(|| format!("{FILE} is not set"))?);
        let pools = Sqlite::open_shared(&file).await.context("opening the file of SQLite")?;
        Ok(Embedded { file, pools })
    }
}

impl Place for Embedded {
    const KIND: Kind = Kind::Embedded;
    const JOURNAL_OUTLIVES_US: bool = false;
    const CASES: usize = cases::embedded::COUNT;

    type Table = SqliteEntries;
    type Cache = MemoryCache;
    type Aside = Map;

    fn pools(&self) -> &Pools<AsyncSqliteConnection> {
        &self.pools
    }

    async fn cache(&self) -> Result<MemoryCache> {
        Ok(MemoryCache::with(ROOM, Arc::new(Tokio)))
    }

    async fn journal(&self) -> Result<Arc<dyn Journal>> {
        Ok(Arc::new(MemoryJournal::with(ROOM, Arc::new(Tokio))))
    }

    fn aside(&self) -> Map {
        Map::default()
    }

    async fn reset(&mut self, keys: i64, value_bytes: usize) -> Result<()> {
        let load = SqliteEntries::load(keys, value_bytes);
        self.pools.writers().get().await?.batch_execute(&load).await.context("loading the table")
    }

    async fn versions(&mut self) -> Result<Vec<(i64, i64)>> {
        Ok(SqliteEntries::versions(&mut *self.pools.readers().get().await?).await?)
    }

    async fn commands(&mut self) -> Result<Option<Commands>> {
        Ok(None)
    }

    async fn facts(&mut self) -> Result<Facts> {
        environment::embedded::facts(&mut *self.pools.writers().get().await?, &self.file).await
    }

    async fn cases(&mut self, plan: &Plan) -> Result<Vec<Case>> {
        cases::embedded::prepare(self, plan).await
    }

    fn for_another_process(&self) -> Vec<(&'static str, OsString)> {
        vec![(FILE, self.file.clone().into())]
    }

    /// Left to whoever made the directory.
    async fn clean_up(self) -> Result<()> {
        Ok(())
    }
}
