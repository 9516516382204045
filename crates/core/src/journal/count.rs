//! What is known of counters.

use crate::cache::Bytes;

/// Counters of one shard, in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The last batch of increments that was acknowledged: a row read with an earlier one is too old.
    pub acked: u64,
    /// The open batch's number; 0 if there is none.
    pub open: u64,
    /// One per key.
    pub counts: Vec<Count>,
}

/// One counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The value entry of its row in SQL, if it is cached.
    pub base: Option<Bytes>,
    /// Its increments in the open batch.
    pub frozen: Option<Bytes>,
    /// Its increments in no batch.
    pub pending: Option<Bytes>,
}
