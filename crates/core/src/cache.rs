//! The Redis side: a copy. Bytes only, atomic per key, nothing atomic across keys, object-safe.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::Result;

/// A boxed future, as object-safe traits need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A cache key or an entry.
pub type Bytes = Vec<u8>;

/// 16 random bytes: the id of a fill lease, or a writer's barrier token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl From<u128> for Id {
    fn from(n: u128) -> Self {
        Id(n.to_be_bytes())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a plain read finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A value entry.
    Hit(Bytes),
    /// The value entry of an accepted change that is not in SQL yet: if it cannot be read, SQL must not be asked instead.
    Dirty(Bytes),
    /// Anything else.
    Miss,
}

/// A reader's request for the right to fill.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which key.
    pub key: Bytes,
    /// Under which id, if it is a new lease.
    pub id: Id,
    /// The value that lies there was seen to be damaged: treat it as nothing.
    pub discard: bool,
}

/// For how long a fill lease is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Nobody takes it over before that.
    pub owner: Duration,
    /// Then it is gone, and with it the right to fill. Much longer than `owner`: a slow loader's result stays good.
    pub key: Duration,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// A value lies there by now.
    Hit(Bytes),
    /// An accepted change lies there by now.
    Dirty(Bytes),
    /// Load from SQL by a statement that starts after this answer, then fill under this id.
    Granted(Id),
    /// Somebody else is loading.
    Busy,
    /// A writer is committing, or the key belongs to somebody else: load from SQL, do not fill.
    Bypass,
}

/// A loaded value for the cache.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Of which key.
    pub key: Bytes,
    /// Under which lease it was loaded.
    pub lease: Id,
    /// The value entry.
    pub entry: Bytes,
    /// How long it lives.
    pub ttl: Duration,
}

/// The answer to one key's begin. All but `Placed` are errors at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The barrier stands.
    Placed,
    /// It arrived after its caller had been answered.
    Late,
    /// Too many writers are between begin and finish on this key.
    Full,
    /// The key belongs to another kind or format.
    Foreign,
}

/// The time limits of a begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginBy {
    /// How long the barrier stands, counted from the moment the server places it.
    pub within: Duration,
    /// Past this moment of [`Runtime::now`](crate::runtime::Runtime::now), the server refuses to place it. An adapter turns it
    /// into the server's own clock, erring towards refusal.
    pub not_after: Duration,
}

/// The end of one key's write.
#[derive(Clone, Debug)]
pub struct Finish {
    /// Of which key.
    pub key: Bytes,
    /// What to publish and how long it lives; `None` invalidates.
    pub publish: Option<(Bytes, Duration)>,
}

/// The answer to a [`Finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The value lies in the cache.
    Published,
    /// The next read is a miss.
    Voided,
}

/// How a namespace is written, as recorded beside its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The namespace's name.
    pub namespace: String,
    /// `strict`, `eventual` or `write-back`: one eventual writer would break every strict reader.
    pub mode: &'static str,
    /// Refuse a cache whose eviction policy could remove a key without an expiry: a barrier, an accepted change.
    pub no_eviction: bool,
    /// Refuse a cache that forgets everything when it restarts.
    pub persistence: bool,
}

/// What the read path needs; the same for every strategy. Answers are in the order of the questions.
///
/// An `Err` is never a miss. Every call ends by the adapter's own time limit.
pub trait Entries: Send + Sync + 'static {
    /// Records how the namespace is written, and checks what that needs of the server.
    ///
    /// Refused with `Invalid` if another mode is recorded, or if barriers could be evicted.
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>>;

    /// Reads.
    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>>;

    /// Asks for fill leases.
    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>>;

    /// Fills; a fill whose lease is broken does nothing.
    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>>;

    /// Removes values, voids leases, keeps writers that are under way from publishing.
    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>>;

    /// One page of the keys that start with `stem`: the keys, and the cursor of the next page, 0 at the end. Starting from 0,
    /// every key that was there from the first page to the last is returned at least once.
    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>>;
}

/// What look-aside writers need besides.
pub trait Barriers: Entries {
    /// Places a barrier on every key, or fails: then some may stand, and the caller must not commit but finish them.
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>>;

    /// Ends a write on every key. Idempotent.
    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>>;
}
