//! A table of the simulated database, as production code sees it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_core::change::{Change, Stored};
use writeway_core::error::{Error, Result};
use writeway_core::journal::Shard;
use writeway_core::store::{Store as StorePort, Transaction};

use super::database::{Database, Trigger, key_of};
use super::fence::Passing;
use super::history::{History, Place};
use super::{CALL_LIMIT, locked};
use crate::explorer::{Call, End, Failed, READS, Side, WRITES, World, millis};

/// How a COMMIT may fail.
const COMMITS: &[End] = &[End::Refused, End::Vanished, End::Lost, End::Late];

/// A row of every simulated table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Its primary key.
    pub key: u32,
    /// Give every write of a scenario another one: reads are told apart by it.
    pub value: u64,
}

/// A simulated table. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store {
    database: Database,
    table: usize,
}

/// An open transaction of the simulated database. Dropped, it is rolled back at once.
pub struct Tx {
    database: Database,
    id: u64,
}

impl Store {
    pub(super) fn new(database: Database, table: usize) -> Self {
        Store { database, table }
    }

    /// The server changes every row that is put, but not its key: what a caller puts is not what is stored.
    #[must_use]
    pub fn with_trigger(self, trigger: Trigger) -> Self {
        locked(&self.database.state).triggers.insert(self.table, trigger);
        self
    }

    /// The table refuses rows of these values, each so often as it says: a batch with one of them fails.
    #[must_use]
    pub fn refusing(self, poison: &[(u64, usize)]) -> Self {
        locked(&self.database.state).poison.extend(poison.iter().copied());
        self
    }

    /// What is put is added to what is there.
    #[must_use]
    pub(super) fn adding(self) -> Self {
        locked(&self.database.state).adding.insert(self.table);
        self
    }

    /// The database it is in.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What really happened in its database.
    #[must_use]
    pub fn history(&self) -> History {
        self.database.history()
    }

    /// The committed value under `key`.
    #[must_use]
    pub fn committed(&self, key: u32) -> Option<u64> {
        self.database.rows().get(&self.place(key)).copied()
    }

    pub(super) fn place(&self, key: u32) -> Place {
        (self.table, key)
    }

    /// Which row a change names, and what it should come to hold.
    pub(super) fn wanted(&self, change: &Change<u32, Cell>) -> (Place, Option<u64>) {
        let trigger = locked(&self.database.state).triggers.get(&self.table).copied();
        let stored = |row: Cell| trigger.map_or(row, |trigger| trigger(row)).value;
        (self.place(key_of(change)), if let Change::Put(row) = change { Some(stored(*row)) } else { None })
    }

    pub(super) fn world(&self) -> &World {
        &self.database.world
    }

    fn text(&self, changes: &[Change<u32, Cell>]) -> String {
        let name = locked(&self.database.state).names[self.table].clone();
        let text = |change: &Change<u32, Cell>| match change {
            Change::Put(row) => format!("{name}:{} = {}", row.key, row.value),
            Change::Delete(key) => format!("{name}:{key} gone"),
        };
        changes.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// Runs the changes, one after the other, from where `stored` ends; `None` while a row lock is another's.
    fn run(&self, tx: u64, changes: &[Change<u32, Cell>], stored: &mut Vec<Stored<Cell>>, waker: &Waker) -> Option<()> {
        while let Some(change) = changes.get(stored.len()) {
            stored.push(self.database.run(tx, self.table, change, waker)?);
        }
        Some(())
    }

    /// Runs the changes as soon as their rows are free.
    async fn run_when_free(&self, tx: u64, changes: &[Change<u32, Cell>], mut stored: Vec<Stored<Cell>>) -> Vec<Stored<Cell>> {
        let mut waited = false;
        poll_fn(|cx| {
            if self.run(tx, changes, &mut stored, cx.waker()).is_some() {
                self.world().waits_at_server(false);
                return Poll::Ready(());
            }
            if !waited {
                self.world().count(|counts| counts.lock_waits += 1);
                self.world().note(|| "  … waits for a row lock".to_owned());
            }
            waited = true;
            self.world().waits_at_server(true);
            Poll::Pending
        })
        .await;
        self.world().note(|| format!("  → {stored:?}"));
        stored
    }

    /// One autocommit statement, as the server runs it: whether or not anybody still waits for it.
    fn autocommit(&self, changes: Vec<Change<u32, Cell>>, reply: Reply) {
        let (store, tx, mut stored) = (self.clone(), self.database.begin(None), Vec::new());
        if self.run(tx, &changes, &mut stored, Waker::noop()).is_some() {
            self.database.commit(tx);
            return reply.send(stored);
        }
        self.world().serve("autocommit".into(), None, async move {
            let stored = store.run_when_free(tx, &changes, stored).await;
            store.database.commit(tx);
            reply.send(stored);
        });
    }
}

impl StorePort for Store {
    type Key = u32;
    type Row = Cell;
    type Tx = Tx;

    fn key(&self, row: &Cell) -> u32 {
        row.key
    }

    async fn fetch(&self, keys: &[u32]) -> Result<Vec<Cell>> {
        let (asked, store) = (keys.to_vec(), self.clone());
        let what = self.world().label(|| format!("sql select {keys:?}"));
        let found = self.world().call(self.call(what, READS), move || store.rows(&asked));
        let found = found.await.map_err(failed)?;
        self.world().note(|| format!("  → {:?}", found.iter().map(|row| row.value).collect::<Vec<_>>()));
        Ok(found)
    }

    /// No step of the schedule: at READ COMMITTED, BEGIN neither sees nor shows anything.
    async fn begin(&self, commit_within: Option<Duration>) -> Result<Tx> {
        match self.world().ending(Side::Store, READS) {
            None => Ok(Tx { database: self.database.clone(), id: self.database.begin(commit_within.map(millis)) }),
            Some(_) => Err(failed(Failed::Refused)),
        }
    }

    async fn apply_in(&self, tx: &mut Tx, changes: &[Change<u32, Cell>]) -> Result<Vec<Stored<Cell>>> {
        self.world().point(self.world().label(|| format!("sql tx{} {}", tx.id, self.text(changes)))).await;
        self.statements(tx, changes).await
    }

    async fn apply(&self, changes: &[Change<u32, Cell>]) -> Result<Vec<Stored<Cell>>> {
        let (reply, asked, store) = (Reply::default(), changes.to_vec(), self.clone());
        let what = self.world().label(|| format!("sql autocommit {}", self.text(changes)));
        let to = reply.clone();
        let sent = self.world().call(self.call(what, WRITES), move || store.autocommit(asked, to));
        sent.await.map_err(failed)?;
        Ok(reply.received().await)
    }
}

impl Store {
    fn rows(&self, keys: &[u32]) -> Vec<Cell> {
        let rows = &locked(&self.database.state).rows;
        keys.iter().filter_map(|&key| rows.get(&self.place(key)).map(|&value| Cell { key, value })).collect()
    }

    /// The shards' batches and the rows, in one step of the schedule.
    pub(super) async fn snapshot(&self, shards: &[Shard], keys: &[u32]) -> Result<(Vec<u64>, Vec<Cell>)> {
        let (shards, asked, store) = (shards.to_vec(), keys.to_vec(), self.clone());
        let what = self.world().label(|| format!("sql select {keys:?} and the batch"));
        let found = self.world().call(self.call(what, READS), move || {
            (shards.iter().map(|shard| store.fence(shard).batch).collect(), store.rows(&asked))
        });
        let found = found.await.map_err(failed)?;
        self.world().note(|| format!("  → {found:?}"));
        Ok(found)
    }

    /// The statements of one transaction, in this step of the schedule if nobody holds their rows.
    pub(super) async fn statements(&self, tx: &mut Tx, changes: &[Change<u32, Cell>]) -> Result<Vec<Stored<Cell>>> {
        let refused = self.world().ending(Side::Store, READS).is_some();
        if refused || self.database.lost_patience(tx.id) {
            tx.fail();
            return Err(failed(Failed::Refused));
        }
        if self.refuses(changes) {
            tx.fail();
            self.world().note(|| "  ✗ a row is refused".to_owned());
            return Err(Error::rejected("the simulated table refuses a row"));
        }
        let mut stored = Vec::with_capacity(changes.len());
        for upto in 1..=changes.len() {
            if upto > 1 {
                // A statement locks its rows one after the other.
                self.world().point("sql next row").await;
            }
            stored = self.run_when_free(tx.id, &changes[..upto], stored).await;
        }
        self.world().reply(Side::Store).await;
        Ok(stored)
    }

    fn refuses(&self, changes: &[Change<u32, Cell>]) -> bool {
        let mut state = locked(&self.database.state);
        let value = |change: &Change<u32, Cell>| if let Change::Put(row) = change { Some(row.value) } else { None };
        let adds = state.adding.contains(&self.table);
        let is_in = |bad: u64, value: u64| if adds { value & bad != 0 } else { value == bad };
        let refuses = |value| state.poison.iter().find(|&(&bad, &times)| times > 0 && is_in(bad, value)).map(|(&bad, _)| bad);
        let bad = changes.iter().filter_map(value).find_map(refuses);
        let refused = bad.and_then(|bad| state.poison.get_mut(&bad)).map(|times| {
            *times -= 1;
            *times
        });
        if refused.is_some() {
            self.world().count_explored(|counts| counts.refusals += 1);
        }
        refused.is_some()
    }

    fn call(&self, what: std::borrow::Cow<'static, str>, ends: &'static [End]) -> Call {
        Call { what, side: Side::Store, ends, limit: self.world().now_ms() + CALL_LIMIT, lands_by: None }
    }
}

impl Tx {
    pub(super) fn begin(database: &Database, patience: Option<u64>) -> Tx {
        Tx { database: database.clone(), id: database.begin(patience) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// With the commit, the fence goes to this batch.
    pub(super) fn passes(&self, passing: Passing) {
        if let Some(open) = locked(&self.database.state).open.get_mut(&self.id) {
            open.passing = Some(passing);
        }
    }

    fn fail(&self) {
        if let Some(open) = locked(&self.database.state).open.get_mut(&self.id) {
            open.failed = true;
        }
    }

    /// The COMMIT lands at a later moment, but before the server's own time-outs.
    fn land_later(self) {
        let by = locked(&self.database.state).open.get(&self.id).and_then(super::database::Open::commits_by);
        let world = self.database.world.clone();
        let what = world.label(|| format!("sql commit tx{}", self.id));
        world.land_later(what, by, move || self.database.commit(self.id));
    }

    /// Not after a failed statement, and not after the server has ended the session.
    fn may_commit(&self) -> bool {
        locked(&self.database.state).open.get(&self.id).is_some_and(|open| !open.failed) && !self.database.lost_patience(self.id)
    }
}

impl Transaction for Tx {
    async fn commit(self) -> Result<()> {
        let (world, id) = (self.database.world.clone(), self.id);
        let mut sent = Sent(Some(self));
        world.point(world.label(|| format!("sql commit tx{id}"))).await;
        let Some(tx) = sent.0.take() else { unreachable!("taken only here") };
        if tx.database.lost_patience(id) {
            world.note(|| "  → the server has ended the session".to_owned());
            return Err(failed(Failed::Unknown));
        }
        if !tx.may_commit() {
            return Err(failed(Failed::Refused));
        }
        match world.ending(Side::Store, COMMITS) {
            None => {
                tx.database.commit(id);
                world.reply(Side::Store).await;
            }
            Some(End::Refused) => return Err(failed(Failed::Refused)),
            Some(End::Vanished) => return Err(failed(Failed::Unknown)),
            Some(End::Lost) => {
                tx.database.commit(id);
                return Err(failed(Failed::Unknown));
            }
            Some(End::Late) => {
                let limit = world.now_ms() + CALL_LIMIT;
                tx.land_later();
                world.give_up(limit).await;
                return Err(failed(Failed::Unknown));
            }
        }
        Ok(())
    }

    async fn rollback(self) {
        let world = &self.database.world;
        world.point(world.label(|| format!("sql rollback tx{}", self.id))).await;
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        self.database.roll_back(self.id);
    }
}

/// A COMMIT under way.
struct Sent(Option<Tx>);

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(tx) = self.0.take().filter(Tx::may_commit)
            && tx.database.world.dropped_lands("sql commit")
        {
            tx.land_later();
        }
    }
}

/// Where a server's task leaves its answer.
#[derive(Clone, Default)]
struct Reply(Arc<Mutex<Answer>>);

#[derive(Default)]
struct Answer {
    stored: Option<Vec<Stored<Cell>>>,
    waiting: Option<Waker>,
}

impl Reply {
    fn send(&self, stored: Vec<Stored<Cell>>) {
        let waker = {
            let mut slot = locked(&self.0);
            slot.stored = Some(stored);
            slot.waiting.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn received(&self) -> Vec<Stored<Cell>> {
        poll_fn(|cx| {
            let mut slot = locked(&self.0);
            slot.waiting = Some(cx.waker().clone());
            slot.stored.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

pub(super) fn failed(how: Failed) -> Error {
    match how {
        Failed::Refused => Error::unavailable("the simulated database refuses"),
        Failed::Unknown => Error::unknown("the simulated database does not answer"),
    }
}
