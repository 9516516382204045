//! How safe an accepted change is before its writer is told so.

use crate::error::{Error, Result};
use crate::journal::Shard;
use crate::options::bound;

/// What `Ok` of a write-back write means, and what can still be lost of it afterwards, as long as it is not in SQL.
///
/// Whatever the level, a loss is noticed: a server that comes back as another one, or in an older state, is compared with SQL
/// before it accepts or answers anything, and an event says that loss is possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// The server has it in memory. Lost: what its own persistence and replication lose. With `appendfsync everysec` that is up to
    /// about two seconds when its machine dies; after a failover, what the replica had not received.
    #[default]
    Memory,
    /// It is in the server's append-only file, and the disk has confirmed it. Lost: nothing when the server's process or machine
    /// dies and its disk survives; after a failover, what the replica had not received.
    ///
    /// Redis 7.2 or newer is asked by `WAITAOF`: with `appendfsync everysec` the answer takes up to about a second, so the
    /// `call_timeout` must be longer. Older ones need `appendfsync always` and `no-appendfsync-on-rewrite no`, which must be
    /// readable by `CONFIG GET`.
    LocalFsync,
    /// So many replicas have received it, 1 to 16. Lost: nothing when one of them is promoted; when another is, what it had not
    /// received. Ask for as many as there are candidates, or let the failover choose the one that is furthest. Nothing is said
    /// about a disk: when the server itself comes back, without its last moments, its replicas follow it, and it is as with
    /// `Memory`.
    Replicated(u8),
}

impl Level {
    /// A level that exists.
    ///
    /// # Errors
    /// `Invalid` for no or too many replicas.
    pub fn check(self) -> Result<()> {
        match self {
            Level::Memory | Level::LocalFsync => Ok(()),
            Level::Replicated(n) => bound("the replicas of accept_level", n, 1..=16),
        }
    }
}

/// What is to be confirmed: all that a shard holds by now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confirm {
    /// Of which shard.
    pub shard: Shard,
    /// The incarnation in which it was accepted: if the shard is in another one by now, it may be lost, and is not confirmed.
    /// Without one, the shard must be installed on the server that is asked.
    pub inc: Option<u64>,
}

/// What became of an accept whose level was not reached in time.
pub(crate) fn short() -> Error {
    Error::unknown("accepted, but not confirmed at its level in time: it is on its way to sql all the same")
}
