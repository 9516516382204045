//! The simulated SQL database: committed rows, open transactions, and what they do to each other.
//!
//! READ COMMITTED: a statement sees what is committed when it runs. A changed row is locked until the end of its transaction;
//! so is a missing row that is inserted, as by a unique index. A delete that finds no row locks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use writeway_core::change::{Change, Stored};
use writeway_core::journal::{BatchId, Shard};
use writeway_core::store::Logged;

use super::fence::{Fence, Passing};
use super::history::{Commit, History, Place};
use super::locked;
use super::locks::Locks;
use super::store::{Cell, Store};
use crate::explorer::World;

/// A simulated database. Its tables share transactions.
#[derive(Clone)]
pub struct Database {
    pub(super) world: World,
    pub(super) state: Arc<Mutex<Tables>>,
}

/// A trigger before the statement: from the row that was put to the row that is stored.
pub type Trigger = fn(Cell) -> Cell;

/// What the database holds.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) names: Vec<String>,
    /// What the server makes of a row that is put.
    pub(super) triggers: BTreeMap<usize, Trigger>,
    /// Tables in which what is put is added to what is there.
    pub(super) adding: BTreeSet<usize>,
    pub(super) rows: BTreeMap<Place, u64>,
    pub(super) locks: Locks,
    pub(super) open: BTreeMap<u64, Open>,
    pub(super) history: History,
    pub(super) fences: BTreeMap<Shard, Fence>,
    /// Every batch that took effect, in order.
    pub(super) batches: Vec<(Shard, BatchId)>,
    /// The rows at the beginning.
    pub(super) initial: BTreeMap<Place, u64>,
    /// Values that are refused, and how often yet.
    pub(super) poison: BTreeMap<u64, usize>,
    next_tx: u64,
}

/// An open transaction.
#[derive(Default)]
pub(super) struct Open {
    op: Option<u64>,
    writes: BTreeMap<Place, Option<u64>>,
    /// Deletes that found no row.
    idle_deletes: Vec<Place>,
    /// The server ends the session when it has heard nothing for so long since the last statement.
    patience: Option<u64>,
    last_statement: Option<u64>,
    /// What a flush writes besides.
    pub(super) passing: Option<Passing>,
    /// A statement failed: it can only be rolled back.
    pub(super) failed: bool,
}

impl Open {
    /// The last moment at which a COMMIT may land; `None` for no bound.
    pub(super) fn commits_by(&self) -> Option<u64> {
        Some(self.last_statement? + self.patience?.saturating_sub(1))
    }
}

impl Database {
    pub(super) fn new(world: &World) -> Self {
        Database { world: world.clone(), state: Arc::default() }
    }

    /// One more table, with these rows (key, value). Its name is the namespace under which its rows are cached.
    ///
    /// # Panics
    /// If there is such a table.
    #[must_use]
    pub fn table(&self, name: &str, rows: &[(u32, u64)]) -> Store {
        let mut state = locked(&self.state);
        let number = state.names.len();
        assert!(!state.names.iter().any(|other| other == name), "two tables are called {name}");
        state.names.push(name.to_owned());
        let rows = rows.iter().map(|&(key, value)| ((number, key), value));
        state.rows.extend(rows.clone());
        state.initial.extend(rows);
        Store::new(self.clone(), number)
    }

    /// What really happened.
    #[must_use]
    pub fn history(&self) -> History {
        locked(&self.state).history.clone()
    }

    /// Every batch of every shard that took effect, in order.
    #[must_use]
    pub fn batches(&self) -> Vec<(Shard, BatchId)> {
        locked(&self.state).batches.clone()
    }

    /// The committed rows.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<Place, u64> {
        locked(&self.state).rows.clone()
    }

    /// Whether rows of this value are, or were, refused.
    #[must_use]
    pub fn is_poison(&self, value: Option<u64>) -> bool {
        value.is_some_and(|value| locked(&self.state).poison.contains_key(&value))
    }

    /// The rows at the beginning.
    #[must_use]
    pub fn initial(&self) -> BTreeMap<Place, u64> {
        locked(&self.state).initial.clone()
    }

    /// The row under a cache key `namespace:key`. Where there is one table only, every namespace is its own.
    pub(crate) fn place_of(&self, cache_key: &[u8]) -> Option<Place> {
        let (namespace, key) = std::str::from_utf8(cache_key).ok()?.rsplit_once(':')?;
        let state = locked(&self.state);
        let named = state.names.iter().position(|name| name == namespace);
        let table = named.or((state.names.len() == 1).then_some(0))?;
        Some((table, key.parse().ok()?))
    }

    /// All that is committed, for a trace.
    pub(crate) fn text(&self) -> String {
        let state = locked(&self.state);
        let text = |(&(table, key), value): (&Place, &u64)| format!("{}:{key} = {value}", state.names[table]);
        state.rows.iter().map(text).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn begin(&self, patience: Option<u64>) -> u64 {
        let op = self.world.op();
        let mut state = locked(&self.state);
        state.next_tx += 1;
        let tx = state.next_tx;
        state.open.insert(tx, Open { op, patience, ..Open::default() });
        tx
    }

    /// Runs one change; `None` while its row is another transaction's, whose end wakes `waker`.
    pub(super) fn run(&self, tx: u64, table: usize, change: &Change<u32, Cell>, waker: &Waker) -> Option<Stored<Cell>> {
        let now = self.world.now_ms();
        let mut state = locked(&self.state);
        let state = &mut *state;
        let Some(open) = state.open.get_mut(&tx) else { return Some(Stored::Unread) };
        let place = (table, key_of(change));
        let visible = open.writes.get(&place).copied().unwrap_or_else(|| state.rows.get(&place).copied());
        open.last_statement = Some(now);
        if visible.is_none() && matches!(change, Change::Delete(_)) {
            open.idle_deletes.push(place);
            state.locks.forget(tx);
            return Some(Stored::Unread);
        }
        if !state.locks.take(tx, place, waker) {
            return None;
        }
        match change {
            Change::Put(row) => {
                let mut row = state.triggers.get(&table).map_or(*row, |trigger| trigger(*row));
                if state.adding.contains(&table) {
                    // The lock is ours: nobody has changed it since.
                    row.value = row.value.wrapping_add(visible.unwrap_or(0));
                }
                open.writes.insert(place, Some(row.value));
                Some(Stored::As(row))
            }
            // Who waited for the row looks at it again: it may be gone.
            Change::Delete(_) => {
                open.writes.insert(place, None);
                Some(Stored::Gone)
            }
        }
    }

    /// Makes a transaction's changes visible, all at once, and releases its locks.
    pub(super) fn commit(&self, tx: u64) {
        let at = self.world.tick();
        let (passed, wakers) = {
            let mut state = locked(&self.state);
            let Some(open) = state.open.remove(&tx) else { return };
            let passed = open.passing.is_some();
            if let Some(Passing { shard, id, keys }) = open.passing {
                state.batches.push((shard.clone(), id));
                let fence = state.fences.entry(shard).or_default();
                fence.batch = id.batch;
                fence.log.push(Logged { id, keys });
            }
            for (place, value) in open.writes {
                match value {
                    Some(value) => drop(state.rows.insert(place, value)),
                    None => drop(state.rows.remove(&place)),
                }
                state.history.commits.push(Commit { at, op: open.op, place, value, changed: true });
            }
            for place in open.idle_deletes {
                state.history.commits.push(Commit { at, op: open.op, place, value: None, changed: false });
            }
            (passed, state.locks.release(tx))
        };
        self.world.count(|counts| counts.commits += 1);
        if passed {
            self.world.count_explored(|counts| counts.batches += 1);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn roll_back(&self, tx: u64) {
        let wakers = {
            let mut state = locked(&self.state);
            state.open.remove(&tx);
            state.locks.release(tx)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The server has ended the session: it has heard nothing of it for too long.
    pub(super) fn lost_patience(&self, tx: u64) -> bool {
        let now = self.world.now_ms();
        locked(&self.state).open.get(&tx).is_none_or(|open| open.commits_by().is_some_and(|by| now > by))
    }
}

pub(super) fn key_of(change: &Change<u32, Cell>) -> u32 {
    match change {
        Change::Put(row) => row.key,
        Change::Delete(key) => *key,
    }
}
