//! What a shard knows of itself and of its open batch.

use crate::journal::{BatchId, Identity};

/// What a shard knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Of the server on which it was installed.
    pub identity: Identity,
    /// It is being compared with SQL, to be installed on this server.
    pub recovering: Option<Identity>,
    /// While it recovers: the last epoch in which it was ready.
    pub known: u64,
    /// While it recovers: what it held when that began. However often it begins anew, it is judged by that.
    pub began: Option<Began>,
    /// Of the last open.
    pub epoch: u64,
    /// The incarnation: the epoch in which it was installed on a server that it did not know.
    pub inc: u64,
    /// The last batch.
    pub batch: u64,
    /// The last change.
    pub seq: u64,
    /// The last batch of increments that was acknowledged: a row of a counter that was read before it is too old.
    pub acked: u64,
    /// Bytes of the dirty changes' values.
    pub dirty_bytes: u64,
    /// The open batch.
    pub open: Option<Open>,
}

/// The open batch as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Its name. A split changes its number.
    pub id: BatchId,
    /// The number under which it was frozen.
    pub first: u64,
    /// The epoch since which it has that name: in that epoch it may be tried.
    pub since: u64,
    /// How many changes were frozen into it.
    pub count: u64,
    /// No more are.
    pub whole: bool,
    /// Bytes of the values that it still holds.
    pub bytes: u64,
    /// How often it was claimed again from its start and no end of that try was reported.
    pub tries: u64,
    /// It is being split: so many of its changes stay.
    pub keep: Option<u64>,
}

/// What a shard held when its recovery began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Began {
    /// The last batch.
    pub batch: u64,
    /// The open batch: its name, and the number under which it was frozen.
    pub open: Option<(BatchId, u64)>,
}

impl Meta {
    /// What a recovery goes by.
    pub(super) fn held(&self) -> Began {
        let now = Began { batch: self.batch, open: self.open.map(|open| (open.id, open.first)) };
        self.began.filter(|_| self.recovering.is_some()).unwrap_or(now)
    }
}

impl Began {
    /// The last batch that is over, for all that the shard knows.
    pub(super) fn over(&self) -> u64 {
        self.open.map_or(self.batch, |(_, first)| self.batch.min(first.saturating_sub(1)))
    }
}
