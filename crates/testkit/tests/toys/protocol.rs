//! A look-aside reader and a writer in a few lines each, straight on the ports, with the usual mistakes to choose from.

use std::sync::Arc;
use std::time::Duration;

use writeway_core::cache::{Ask, Barriers, BeginBy, Bytes, Entries, Fill, Finish, Hold, Id, Lease, Lookup};
use writeway_core::change::{Change, Stored};
use writeway_core::codec::{decode, encode};
use writeway_core::entry::{Opened, Seal};
use writeway_core::error::{Error, Outcome, Result};
use writeway_core::runtime::Runtime;
use writeway_core::store::{Store as _, Transaction};
use writeway_core::tasks::until;
use writeway_testkit::explorer::{SimRuntime, World};
use writeway_testkit::sim::{Cache, Cell, Store};

pub(crate) const WITHIN: Duration = Duration::from_secs(2);
pub(crate) const HOLD: Hold = Hold { owner: Duration::from_millis(300), key: Duration::from_secs(10) };
const TTL: Duration = Duration::from_secs(600);

/// What the toy does other than the protocol says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mistake {
    #[default]
    None,
    /// Reads SQL first and takes the lease only to store it: in effect a plain SET.
    FillsWithoutLease,
    /// COMMIT without a barrier, then an invalidation: write-around, or a cache-aside delete.
    NoBarrier,
    /// After a COMMIT of unknown outcome, removes the barrier.
    CleansUpInDoubt,
    /// Says `NotApplied` when it does not know.
    Guesses,
    /// Forgets the barrier when the COMMIT was refused.
    LeavesItsBarrier,
    /// A begin that may land whenever it likes.
    BeginsWithoutLimit,
    /// Begins transactions that the server never ends.
    NoServerTimeouts,
    /// The same, and does not look at its own clock before COMMIT either.
    NoTimeLimits,
}

#[derive(Clone)]
pub(crate) struct Toy {
    pub(crate) cache: Cache,
    pub(crate) store: Store,
    pub(crate) runtime: Arc<SimRuntime>,
    pub(crate) mistake: Mistake,
}

fn seal() -> Seal {
    Seal::new::<Cell>(0, 1_024)
}

pub(crate) fn cache_key(key: u32) -> Bytes {
    format!("cells:{key}").into_bytes()
}

impl Toy {
    pub(crate) fn new(world: &World, mistake: Mistake) -> Self {
        Toy { cache: world.cache(), store: world.store(&[(1, 0)]), runtime: world.runtime(), mistake }
    }

    fn entry(key: u32, row: Option<Cell>) -> Bytes {
        let payload = row.map(|row| encode(&row).expect("a cell"));
        seal().seal(&cache_key(key), payload.as_deref()).expect("short")
    }

    fn open(key: u32, entry: &[u8]) -> Option<Cell> {
        match seal().open(&cache_key(key), entry).expect("as it was sealed") {
            Opened::Row(payload) => Some(decode(payload).expect("a cell")),
            Opened::Absent(_) => None,
        }
    }

    async fn load(&self, key: u32) -> Result<Option<Cell>> {
        Ok(self.store.fetch(&[key]).await?.pop())
    }

    pub(crate) async fn get(&self, key: u32) -> Result<Option<Cell>> {
        let at = cache_key(key);
        if let Ok(found) = self.cache.get(std::slice::from_ref(&at)).await
            && let [Lookup::Hit(entry)] = found.as_slice()
        {
            return Ok(Self::open(key, entry));
        }
        let too_early = if self.mistake == Mistake::FillsWithoutLease { Some(self.load(key).await?) } else { None };
        let ask = Ask { key: at.clone(), id: Id::from(self.runtime.random()), discard: false };
        let lease = match self.cache.lease(&[ask], HOLD).await.map(|mut leases| leases.remove(0)) {
            Ok(Lease::Hit(entry)) => return Ok(Self::open(key, &entry)),
            Ok(Lease::Granted(id)) => Some(id),
            _ => None,
        };
        let row = if let Some(row) = too_early { row } else { self.load(key).await? };
        if let Some(lease) = lease {
            let _ = self.cache.fill(&[Fill { key: at, lease, entry: Self::entry(key, row), ttl: TTL }]).await;
        }
        Ok(row)
    }

    pub(crate) async fn write(&self, change: Change<u32, Cell>) -> Result<()> {
        let key = if let Change::Put(row) = change { row.key } else { 1 };
        let at = cache_key(key);
        let bounded = !matches!(self.mistake, Mistake::NoServerTimeouts | Mistake::NoTimeLimits);
        let timeouts = bounded.then_some(WITHIN);
        let mut tx = self.store.begin(timeouts).await?;
        let stored = self.store.apply_in(&mut tx, &[change]).await?.remove(0);
        if self.mistake == Mistake::NoBarrier {
            let done = tx.commit().await;
            if !matches!(&done, Err(e) if e.outcome() == Outcome::NotApplied) {
                let _ = self.cache.invalidate(&[at]).await;
            }
            return done;
        }
        let token = Id::from(self.runtime.random());
        let started = self.runtime.now();
        let give_up = started + WITHIN / 2;
        let not_after = if self.mistake == Mistake::BeginsWithoutLimit { give_up * 2 } else { give_up };
        let begun = self.cache.begin(std::slice::from_ref(&at), token, BeginBy { within: WITHIN, not_after });
        let begun = until(&*self.runtime, give_up, begun).await;
        if let Err(e) = begun.unwrap_or_else(|| Err(Error::unavailable("no barrier"))) {
            drop(tx);
            self.finish(at, token, None).await;
            return Err(e.with_outcome(Outcome::NotApplied));
        }
        if self.mistake != Mistake::NoTimeLimits && self.runtime.now() > started + WITHIN * 3 / 4 {
            drop(tx);
            self.finish(at, token, None).await;
            return Err(Error::unavailable("too slow"));
        }
        let publish = match stored {
            Stored::As(row) => Some(Self::entry(key, Some(row))),
            Stored::Gone => Some(Self::entry(key, None)),
            Stored::Unread => None,
        };
        match tx.commit().await {
            Ok(()) => self.finish(at, token, publish).await,
            Err(e) if e.outcome() == Outcome::NotApplied => {
                if self.mistake != Mistake::LeavesItsBarrier {
                    self.finish(at, token, None).await;
                }
                return Err(e);
            }
            Err(e) => {
                if self.mistake == Mistake::CleansUpInDoubt {
                    self.finish(at, token, None).await;
                }
                return Err(if self.mistake == Mistake::Guesses { e.with_outcome(Outcome::NotApplied) } else { e });
            }
        }
        Ok(())
    }

    async fn finish(&self, key: Bytes, token: Id, publish: Option<Bytes>) {
        let publish = publish.map(|entry| (entry, TTL));
        let _ = self.cache.finish(&[Finish { key, publish }], token).await;
    }

    pub(crate) async fn reads(self, key: u32) {
        let read = self.get(key);
        let _ = self.store.witness_read(key, read).await;
    }

    pub(crate) async fn writes(self, change: Change<u32, Cell>) {
        let write = self.write(change.clone());
        let _ = self.store.witness_write(std::slice::from_ref(&change), write).await;
    }
}

pub(crate) fn put(value: u64) -> Change<u32, Cell> {
    Change::Put(Cell { key: 1, value })
}
