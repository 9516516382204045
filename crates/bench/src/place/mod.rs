//! Where a run takes place: on the two servers, or embedded, with SQLite in a file and the cache in this process.

mod embedded;
mod servers;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use writeway_core::cache::Barriers;
use writeway_core::journal::Journal;
use writeway_core::sql::{Pools, Sql};

use crate::cases::Case;
use crate::count::Commands;
use crate::environment::Facts;
use crate::plan::Plan;
use crate::subject::Aside;
use crate::table::{Connection, Entries};

pub(crate) use embedded::Embedded;
pub(crate) use servers::{SQL_POOL, Servers};

/// Figures of one kind say nothing about the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Servers,
    Embedded,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Servers => "with servers",
            Kind::Embedded => "embedded",
        }
    }
}

/// One of them.
pub(crate) trait Place: Send + Sync + Sized + 'static {
    const KIND: Kind;
    /// What write-back has accepted is still there when the process has died.
    const JOURNAL_OUTLIVES_US: bool;
    /// How many ratios are measured.
    const CASES: usize;

    type Table: Entries;
    type Cache: Barriers;
    /// What look-aside keeps its copies in.
    type Aside: Aside;

    fn pools(&self) -> &Pools<Connection<Self::Table>>;

    /// # Errors
    /// If a server refuses, as with all that follow.
    fn cache(&self) -> impl Future<Output = Result<Self::Cache>> + Send;

    fn journal(&self) -> impl Future<Output = Result<Arc<dyn Journal>>> + Send;

    fn aside(&self) -> Self::Aside;

    /// The table as it was at first, and no keys in the cache.
    fn reset(&mut self, keys: i64, value_bytes: usize) -> impl Future<Output = Result<()>> + Send;

    /// The version of every row.
    fn versions(&mut self) -> impl Future<Output = Result<Vec<(i64, i64)>>> + Send;

    /// The amounts of all rows together.
    fn total(&self) -> impl Future<Output = Result<i64>> + Send {
        async { Ok(Self::Table::total(&mut *self.pools().readers().get().await?).await?) }
    }

    /// How often the cache did what so far, by its own count, if it counts.
    fn commands(&mut self) -> impl Future<Output = Result<Option<Commands>>> + Send;

    /// What is known of it, besides the machine.
    fn facts(&mut self) -> impl Future<Output = Result<Facts>> + Send;

    /// The table loaded and both sides warm.
    fn cases(&mut self, plan: &Plan) -> impl Future<Output = Result<Vec<Case>>> + Send;

    /// By what environment another process of the run finds the place.
    fn for_another_process(&self) -> Vec<(&'static str, OsString)>;

    /// Removes everything that the run made.
    ///
    /// # Errors
    /// Names what is left, after trying all.
    fn clean_up(self) -> impl Future<Output = Result<()>> + Send;

    fn store(&self) -> Sql<Self::Table> {
        Sql::new(self.pools().clone())
    }
}

/// A name that no round had before: write-back's fence in SQL outlives the keys in the cache.
pub(crate) fn fresh_namespace() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("back{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
