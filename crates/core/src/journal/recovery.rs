//! What is said when a shard is opened, and of a server that is compared with SQL.

use super::{BatchId, Identity};
use crate::cache::Bytes;

/// What SQL said when the shard was opened, and on which server that was to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// Learned before SQL was asked.
    pub identity: Identity,
    /// The fence's new epoch.
    pub epoch: u64,
    /// The fence's last batch.
    pub batch: u64,
    /// Another server was in use since the shard was installed on this one in that epoch: what it holds must be compared with SQL's
    /// batch log. Refused if it was installed anew meanwhile.
    pub diverged: Option<u64>,
}

/// The answer to an install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The shard goes on in the new epoch.
    Ready,
    /// The server is not the one on which the shard was installed last, or not the only one: what it holds must first be compared with SQL's batch
    /// log. Until [`resume`](Journal::resume), nothing is accepted and nothing read.
    Recover(Found),
    /// The server is another one than said, or the epoch is not newer.
    Refused,
}

/// What a server that takes part anew holds of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The last epoch in which it was ready: what was flushed in a later one it does not know.
    pub epoch: u64,
    /// The last batch that it knew of when the recovery began.
    pub batch: u64,
    /// Its open batch, as of then.
    pub open: Option<BatchId>,
    /// The number under which that was frozen.
    pub first: u64,
    /// Nothing was added to the open batch any more: else it may have been frozen further, and flushed, in what was lost.
    pub whole: bool,
    /// Changes that are in no batch.
    pub dirty: u64,
}

/// What to do with an open batch of which a recovery has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release<'a> {
    /// SQL has these of its changes: they are dropped, and their entries.
    Drop(&'a [Bytes]),
    /// SQL does not have it, or has only what was dropped: a page of its changes is dirty again, where nothing newer is.
    Dissolve,
}
