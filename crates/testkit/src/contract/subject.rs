//! What a contract is tried on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use writeway_core::cache::{Ask, Barriers, BeginBy, BoxFuture, Bytes, Fill, Finish, Finished, Hold, Id, Lease, Lookup};
use writeway_core::entry::{FORMAT, MAGIC, VALUE, VALUE_HEADER};
use writeway_core::error::Result;
use writeway_core::runtime::Runtime;
use writeway_core::store::Store;

use super::ok;
use crate::explorer::Violation;

/// The bytes beneath a cache port, where a test can get at them. Keys are those of the port: an adapter's prefix is added here.
pub trait Raw: Send + Sync {
    /// Puts bytes under a key, without an expiry.
    fn put_raw<'a>(&'a self, key: &'a [u8], bytes: &'a [u8]) -> BoxFuture<'a, ()>;
    /// The bytes under a key.
    fn get_raw<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Option<Bytes>>;
    /// True if the key expires by itself.
    fn expires<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, bool>;
}

/// A cache on trial.
pub struct CacheSubject {
    pub(super) cache: Arc<dyn Barriers>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) raw: Option<Box<dyn Raw>>,
    /// No other run of the contract on the same server uses it.
    pub(super) name: String,
    /// Long against a call, short against a test.
    pub(super) unit: Duration,
}

impl CacheSubject {
    /// With the clock that the cache's time-outs go by: `Tokio`, or a simulated one.
    #[must_use]
    pub fn new(cache: impl Barriers, runtime: Arc<impl Runtime>) -> Self {
        let name = format!("contract-{:x}", runtime.random());
        CacheSubject { cache: Arc::new(cache), runtime, raw: None, name, unit: Duration::from_millis(100) }
    }

    /// With access to the bytes: then what is said of foreign and damaged entries is tried, too.
    #[must_use]
    pub fn raw(mut self, raw: impl Raw + 'static) -> Self {
        self.raw = Some(Box::new(raw));
        self
    }

    /// The unit of all waiting. Defaults to 100 ms.
    #[must_use]
    pub fn unit(mut self, unit: Duration) -> Self {
        self.unit = unit;
        self
    }

    pub(super) fn key(&self, check: &str, n: u32) -> Bytes {
        format!("{}-{check}:{n}", self.name).into_bytes()
    }

    pub(super) fn id(&self) -> Id {
        Id::from(self.runtime.random())
    }

    /// Nobody takes it over, and it does not go by itself.
    pub(super) fn long_hold(&self) -> Hold {
        Hold { owner: self.unit * 100, key: self.unit * 200 }
    }

    pub(super) fn long(&self) -> Duration {
        self.unit * 200
    }

    pub(super) async fn wait(&self, units: u32) {
        // A little more: server and client may round differently.
        self.runtime.sleep(self.unit * units + self.unit / 2).await;
    }

    pub(super) async fn get(&self, key: &Bytes) -> std::result::Result<Option<Bytes>, Violation> {
        match ok("get", self.cache.get(std::slice::from_ref(key)).await)?.pop() {
            Some(Lookup::Hit(entry)) => Ok(Some(entry)),
            _ => Ok(None),
        }
    }

    pub(super) async fn lease(&self, key: &Bytes, id: Id, hold: Hold) -> std::result::Result<Lease, Violation> {
        let leases = ok("lease", self.cache.lease(&[Ask { key: key.clone(), id, discard: false }], hold).await)?;
        leases.into_iter().next().ok_or(Violation { invariant: "lease", detail: "no answer to the ask".into() })
    }

    pub(super) async fn fill(&self, key: &Bytes, lease: Id, entry: &Bytes) -> std::result::Result<(), Violation> {
        let fill = Fill { key: key.clone(), lease, entry: entry.clone(), ttl: self.long() };
        ok("fill", self.cache.fill(&[fill]).await)
    }

    /// Puts a value there, as a reader does.
    pub(super) async fn store(&self, key: &Bytes, entry: &Bytes) -> std::result::Result<(), Violation> {
        let id = self.id();
        super::expect("lease before a fill", self.lease(key, id, self.long_hold()).await?, Lease::Granted(id))?;
        self.fill(key, id, entry).await?;
        super::expect("get after a fill", self.get(key).await?, Some(entry.clone()))
    }

    pub(super) async fn begin(&self, key: &Bytes, token: Id, within: Duration) -> Result<()> {
        let by = BeginBy { within, not_after: self.runtime.now() + self.long() };
        self.cache.begin(std::slice::from_ref(key), token, by).await
    }

    pub(super) async fn finish(&self, key: &Bytes, token: Id, entry: Option<&Bytes>) -> std::result::Result<Finished, Violation> {
        let publish = entry.map(|entry| (entry.clone(), self.long()));
        let finished = ok("finish", self.cache.finish(&[Finish { key: key.clone(), publish }], token).await)?;
        finished.into_iter().next().ok_or(Violation { invariant: "finish", detail: "no answer to the end".into() })
    }
}

impl fmt::Debug for CacheSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheSubject").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Bytes that a cache takes for a value; their hash is the caller's business.
pub(super) fn value(text: &str) -> Bytes {
    let mut entry = vec![MAGIC, VALUE, FORMAT];
    entry.resize(VALUE_HEADER, 0);
    entry.extend_from_slice(text.as_bytes());
    entry
}

/// A store on trial: a table whose rows hold a number under a key.
pub struct StoreSubject<S: Store> {
    /// The table. The keys from `first_key` on, a few hundred of them, belong to the contract.
    pub store: S,
    /// The clock to wait by.
    pub runtime: Arc<dyn Runtime>,
    /// The n-th key.
    pub key: fn(u32) -> S::Key,
    /// A row of that key.
    pub row: fn(u32, u64) -> S::Row,
    /// The number in a row.
    pub value: fn(&S::Row) -> u64,
    /// The first key of the contract.
    pub first_key: u32,
    /// For how long a second writer is watched to be sure that it waits.
    pub patience: Duration,
    /// What the server's time-outs are surely below, where it has any: commits later than that must not land.
    pub commit_within: Option<Duration>,
    /// There is one writer at a time, whatever the rows.
    pub one_writer: bool,
}

impl<S: Store> fmt::Debug for StoreSubject<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSubject").field("first_key", &self.first_key).finish_non_exhaustive()
    }
}
