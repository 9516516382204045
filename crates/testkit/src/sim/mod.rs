//! Simulated servers: a Redis that is the pure state machine behind a simulated call, and a SQL database with row locks.
//!
//! ```
//! use writeway_testkit::check;
//! use writeway_testkit::explorer::Explore;
//! use writeway_testkit::sim::Cell;
//! use writeway_core::store::{Store, Transaction};
//!
//! Explore::new("a writer without a cache").faults(1).crashes(1).run(|world| {
//!     let (cache, store) = (world.cache(), world.store(&[(1, 0)]));
//!     let app = world.process("app");
//!     let cells = store.clone();
//!     app.task("writer", async move {
//!         let row = Cell { key: 1, value: 10 };
//!         let _ = cells.witness_put(row, cells.apply(&[writeway_core::change::Change::Put(row)])).await;
//!     });
//!     world.explore()?;
//!     check::strict(world, &cache, &store)
//! });
//! ```

mod cache;
mod cache_state;
mod counts;
mod database;
mod evict;
mod fence;
mod history;
mod journal;
mod locks;
mod restart;
mod store;
mod witness;

pub use cache::Cache;
pub use counts::{Counts, Likes, cell, tally};
pub use database::{Database, Trigger};
pub use history::{Answer, Commit, History, Place, Read, Write};
pub use journal::{Journal, Landed, Left, Loss};
pub use store::{Cell, Store, Tx};

use crate::explorer::World;

/// When a client gives up on a call that gets no answer, in ms.
const CALL_LIMIT: u64 = 500;

impl World {
    /// A Redis of this world, empty. It may evict what has an expiry.
    #[must_use]
    pub fn cache(&self) -> Cache {
        Cache::new(self)
    }

    /// A Redis of this world with a journal, for write-back. Empty.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(self)
    }

    /// A database of this world, without tables.
    #[must_use]
    pub fn database(&self) -> Database {
        Database::new(self)
    }

    /// A table `cells` in a database of its own, with these rows (key, value).
    #[must_use]
    pub fn store(&self, rows: &[(u32, u64)]) -> Store {
        self.database().table("cells", rows)
    }

    /// A table `cells` of counters in a database of its own, with these rows (key, count).
    #[must_use]
    pub fn counters(&self, rows: &[(u32, u64)]) -> Counts {
        Counts::new(self.store(rows))
    }
}

/// Nothing under these locks panics, and nothing waits.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
