//! The dirty set of write-back, as it lies in the cache server: accepted changes on their way to SQL. One shard per call,
//! atomic per call, object-safe.
//!
//! Every operation but [`status`](Journal::status), [`lead`](Journal::lead) and [`present`](Journal::present) is refused with [`Kind::Fenced`], having done
//! nothing, unless the shard is installed on the very server that the connection leads to; the flusher's also unless the shard
//! is still in their epoch. What each does is said once, by the pure machine in `entry::shard`.
//!
//! [`Kind::Fenced`]: crate::error::Kind::Fenced

mod count;
mod dead_letter;
mod recovery;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{BoxFuture, Bytes, Declaration, Entries, Id};
use crate::error::{Error, Result};
pub use crate::level::{Confirm, Level};

pub use count::{Count, Counted};
pub use dead_letter::{DeadLetter, Park, Reason, Redriven};
pub use recovery::{Found, Install, Installed, Release};

/// One operation handles at most so many keys: no script holds up the server for longer.
pub const PAGE: usize = 200;

/// A fixed part of a write-back namespace, with its own epoch, batches and flush lease.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    /// Of which namespace.
    pub namespace: Arc<str>,
    /// Which of its shards, from 0.
    pub number: u16,
}

impl Shard {
    /// What every key of the shard starts with: `{namespace:number}:`. The braces make Redis Cluster keep a shard on one node.
    #[must_use]
    pub fn stem(&self) -> Bytes {
        format!("{{{}:{}}}:", self.namespace, self.number).into_bytes()
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.number)
    }
}

/// The place of a change in its shard: the epoch in which it was accepted, and its number. Later ones are greater, also after the
/// cache server went back in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// Only ever from SQL.
    pub epoch: u64,
    /// Counted by the shard.
    pub seq: u64,
}

/// The open batch's name. The number alone would not do: after a rollback of the cache server it may be given again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// The epoch in which it was frozen.
    pub epoch: u64,
    /// Counted by the shard.
    pub batch: u64,
}

/// A flusher's right to act: a shard and the epoch in which it opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Of which shard.
    pub shard: Shard,
    /// Since when.
    pub epoch: u64,
}

/// Which server answered: changes when it restarts, fails over or is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub Bytes);

/// What is known of a shard without changing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Of the server that was asked.
    pub identity: Identity,
    /// The shard is installed on that very server: everything else goes on. Else it must be opened first.
    pub installed: bool,
    /// The epoch of the last open.
    pub epoch: u64,
    /// The last epoch in which it was ready on this server: what was flushed in a later one, was flushed from another.
    pub known: u64,
    /// Changes that are in no batch yet.
    pub dirty: u64,
    /// Their bytes.
    pub dirty_bytes: u64,
    /// Of them, those that failed alone and are held back for a while.
    pub delayed: u64,
    /// For how long the oldest change has waited, the open batch's first one included; one that failed alone counts from when it
    /// is tried again.
    pub oldest: Option<Duration>,
    /// Changes that failed alone and are neither in SQL nor set aside yet.
    pub suspects: u64,
    /// The last batch that is over, for all that the shard knows: an open one is not.
    pub over: u64,
    /// Changes in the open batch.
    pub open: u64,
    /// Their bytes.
    pub open_bytes: u64,
    /// How often it was claimed again from its start and no end of that try was reported.
    pub tries: u64,
    /// Changes that were set aside for a person to look at.
    pub dead: u64,
    /// The last version given.
    pub version: Version,
}

/// One change to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The cache key.
    pub key: Bytes,
    /// The row's schema version.
    pub schema: u32,
    /// A whole value entry; for a delete, the entry of an absent row whose payload is the encoded key. Or
    /// [increments](crate::entry::increments), which are added to those that are dirty.
    pub value: Bytes,
}

/// How much a shard may hold, its open batch included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Changed keys.
    pub keys: u64,
    /// Bytes of their entries.
    pub bytes: u64,
    /// No further key is accepted while the oldest change has waited longer: what replaces a dirty one is.
    pub age: Duration,
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`Bounds::keys`]
    Keys,
    /// [`Bounds::bytes`]
    Bytes,
    /// [`Bounds::age`]
    Age,
}

/// The answer to an accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// All changes are in the dirty set.
    As {
        /// One version per change, in their order.
        versions: Vec<Version>,
        /// In which incarnation of the shard.
        inc: u64,
        /// How many keys are dirty now, not counting the open batch.
        dirty: u64,
        /// Their bytes.
        dirty_bytes: u64,
    },
    /// None is, because a bound would be passed.
    Full(Bound),
    /// None is: it arrived after its caller had been answered.
    Late,
    /// None is, because one of the keys belongs to a newer release or to another strategy.
    Foreign,
    /// None is, because increments would have to be added to what they cannot be added to: the sum would not fit 64 bits, or what lies
    /// there is damaged.
    Unfit,
}

/// What became of an accepted change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It, or a later change of the same key, is in SQL.
    Durable,
    /// On its way.
    Pending,
    /// Set aside as a dead letter.
    Dead,
    /// The cache server was replaced or restored since, and the journal does not hold the change: it may be in SQL or lost.
    Unknown,
}

/// Which changes to freeze into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Only those that this process can read: of this schema version.
    pub schema: u32,
    /// No more than so many.
    pub max_keys: u64,
    /// No further one once there are so many bytes.
    pub max_bytes: u64,
    /// What failed alone is frozen alone: before the others, or after them.
    pub suspects_first: bool,
}

/// One frozen change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The cache key.
    pub key: Bytes,
    /// Which change of it.
    pub version: Version,
    /// Its row's schema version.
    pub schema: u32,
    /// A copy of the value that was accepted: a later put must not slip into this batch.
    pub value: Bytes,
}

/// A page of the open batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its name.
    pub id: BatchId,
    /// At most [`PAGE`].
    pub items: Vec<Item>,
    /// This was the last page, and nothing is added to the batch any more.
    pub whole: bool,
    /// How often it was claimed again from its start and no end of that try was reported: whoever tried it may have died of it.
    pub tries: u64,
    /// How often the page's first change failed alone before.
    pub strikes: u64,
}

/// The answer to a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The open batch's name from now on.
    pub id: BatchId,
    /// Some of the rest is still in it: split it again, by that name.
    pub more: bool,
}

/// One flushed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The cache key.
    pub key: Bytes,
    /// The value entry of the row that SQL returned and how long it lives; without one, the next read loads it. That of a counter
    /// says with which batch.
    pub clean: Option<(Bytes, Duration)>,
}

/// The dirty set. Answers are in the order of the questions; no operation is given more than [`PAGE`] keys.
///
/// # Cancel safety
/// A dropped call may still be carried out.
pub trait Journal: Entries {
    /// Looks.
    fn status<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Status>>;

    /// Accepts all changes or none. `not_after` is a moment of [`Runtime::now`](crate::runtime::Runtime::now), past which the
    /// server refuses. It is sent once: an error with an unknown outcome is final, and is told once nothing of it can land any
    /// more.
    fn accept<'a>(
        &'a self,
        shard: &'a Shard,
        changes: &'a [Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> BoxFuture<'a, Result<Accepted>>;

    /// Counters as they stand: of each shard, at one moment.
    fn count<'a>(&'a self, asks: &'a [(Shard, Vec<Bytes>)]) -> BoxFuture<'a, Result<Vec<Counted>>>;

    /// Ends once all that these shards hold by now is as safe as the level says, and not before that was counted. Nothing is changed:
    /// what is not confirmed by `not_after` stays accepted.
    fn confirm<'a>(&'a self, level: Level, of: &'a [Confirm], not_after: Duration) -> BoxFuture<'a, Result<()>>;

    /// What the server does not do, now, of what the namespace and its level need of it: each as the error with which to refuse.
    fn unmet<'a>(&'a self, declaration: &'a Declaration, level: Level) -> BoxFuture<'a, Result<Vec<Error>>>;

    /// What became of changes that were accepted in incarnation `inc`.
    fn settled<'a>(&'a self, shard: &'a Shard, inc: u64, changes: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<Vec<Settled>>>;

    /// Takes or keeps the flush lease for so long; with no time, gives it up. True if it is this holder's now. It saves work and
    /// gives no safety.
    fn lead<'a>(&'a self, shard: &'a Shard, holder: Id, hold: Duration) -> BoxFuture<'a, Result<bool>>;

    /// This holder is there for so long from now on; with no time, it leaves. Says who is there, at most
    /// [`MOST`](crate::entry::members::MOST), in the order of their ids. It saves work and gives no safety.
    fn present<'a>(&'a self, namespace: &'a str, holder: Id, hold: Duration) -> BoxFuture<'a, Result<Vec<Id>>>;

    /// Takes the shard into a new epoch.
    fn install<'a>(&'a self, shard: &'a Shard, install: &'a Install) -> BoxFuture<'a, Result<Installed>>;

    /// The page of the open batch that starts at `from`. Freezes due changes into it, whole keys at a time, until it is as large
    /// as it may be or nothing is due; from then on it stays as it is. `None` if there is no open batch and nothing is due.
    fn claim<'a>(&'a self, at: &'a At, from: u64, freeze: Freeze) -> BoxFuture<'a, Result<Option<Claimed>>>;

    /// SQL has these changes of the batch. The batch ends with its last one. Says how many it still holds; 0 also if it is not
    /// the open batch (any more).
    fn acknowledge<'a>(&'a self, at: &'a At, batch: BatchId, acks: &'a [Ack]) -> BoxFuture<'a, Result<u64>>;

    /// Sets changes of the open batch aside as dead letters. Says how many it still holds; 0 also if it is not the open batch (any
    /// more). What was refused only if the batch was frozen in an earlier epoch: in its own, a try of it may yet land. Increments that
    /// were refused stay where the counter has a letter already.
    fn park<'a>(&'a self, at: &'a At, batch: BatchId, park: Park<'a>) -> BoxFuture<'a, Result<u64>>;

    /// The first `keep` changes of the open batch become a batch of its own name, a page of the rest is dirty again, where nothing
    /// newer is. Only if it was frozen in an earlier epoch, or is being split already: in its own, a try of it may yet land. `None`
    /// if it is not the open batch (any more).
    fn split<'a>(&'a self, at: &'a At, batch: BatchId, keep: u64) -> BoxFuture<'a, Result<Option<Split>>>;

    /// The tries of the open batch have ended, if only in failure: nobody died of them.
    fn ended<'a>(&'a self, at: &'a At, batch: BatchId) -> BoxFuture<'a, Result<()>>;

    /// The only change of the open batch failed: it is dirty again, is not due for so long, and is frozen alone from now on. With
    /// `counts`, the failure is one more of its own. Only if the batch was frozen in an earlier epoch. False if it is not the open batch
    /// (any more), or holds more.
    fn delay<'a>(&'a self, at: &'a At, batch: BatchId, pause: Duration, counts: bool) -> BoxFuture<'a, Result<bool>>;

    /// In a recovery: at most [`PAGE`] of the keys that are dirty, from the `from`-th on.
    fn dirty<'a>(&'a self, at: &'a At, from: u64) -> BoxFuture<'a, Result<Vec<Bytes>>>;

    /// In a recovery: drops the dirty changes of these keys, and their dead letters, or with a cause sets them aside as ambiguous,
    /// and marks their letters so; those of keys that are in the open batch stay, for they are newer.
    fn supersede<'a>(&'a self, at: &'a At, keys: &'a [Bytes], cause: Option<&'a str>) -> BoxFuture<'a, Result<()>>;

    /// In a recovery: a part of the open batch is dropped or dissolved. Says how many it still holds.
    fn release<'a>(&'a self, at: &'a At, batch: BatchId, how: Release<'a>) -> BoxFuture<'a, Result<u64>>;

    /// Ends a recovery: the shard is a new incarnation, on this server.
    fn resume<'a>(&'a self, at: &'a At, install: &'a Install) -> BoxFuture<'a, Result<()>>;

    /// A page of dead letters, in the order in which they were accepted, after the letter of that version and key. At most [`PAGE`],
    /// and no further one after 4 MiB.
    fn dead_letters<'a>(
        &'a self,
        shard: &'a Shard,
        after: Option<&'a (Version, Bytes)>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>>;

    /// Makes dead letters of these keys and versions dirty again, as if they were accepted now.
    fn redrive<'a>(
        &'a self,
        shard: &'a Shard,
        letters: &'a [(Bytes, Version)],
        bounds: Bounds,
    ) -> BoxFuture<'a, Result<Vec<Redriven>>>;

    /// Removes dead letters of these keys and versions. Says how many there were.
    fn discard<'a>(&'a self, shard: &'a Shard, letters: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<u64>>;
}
