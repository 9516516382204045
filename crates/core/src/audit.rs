//! The audit: takes some of the keys that the cache holds and compares them with SQL. It changes nothing.
//!
//! **Invariant.** What it calls stale was so: a clean value lay in the cache before and after a statement that found another row in
//! SQL, and nobody who takes part changed that row in between.
//!
//! 1. A page of keys: look into the cache, then read their rows from SQL. Equal at one moment is equal: done. What differs may have
//!    been changed between the look and the read, and is only suspected.
//! 2. A suspect is looked at again after a pause: cache, SQL, cache. If the cache does not hold the very same bytes both times, or
//!    SQL agrees by now, somebody wrote it: dropped.
//! 3. The same bytes twice could still be two values: written away and back. In write-back the shard's last version tells, asked
//!    before the first look and after the last one: the same means that nothing was accepted, so a clean row stayed as it was, and a
//!    try in which it moved proves nothing. Look-aside has no such count. Instead the row would have to be written there and back
//!    twice within each of several tries, and to come back to the last byte.
//! 4. Several tries in a row must agree, over half a call's deadline each: whoever changes the table by other means and then
//!    invalidates has had the time for it.
//!
//! In write-back also a dirty entry is suspected whose shard has nothing on its way and nothing set aside: no flusher will ever
//! bring it to SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::cache::{BoxFuture, Bytes, Lookup};
use crate::codec;
use crate::error::{Error, Result};
use crate::journal::Status;
use crate::options::bound;
use crate::read::{Reads, late};
use crate::store::Store;
use crate::tasks::until;

/// So many keys are compared by one statement.
const PAGE: usize = 200;
/// One audit walks through at most so many pages of the cache's keys; the next one goes on from there.
const MAX_PAGES: usize = 1_000;
/// So many tries must agree.
const PROOFS: u32 = 3;
/// Out of so many.
const TRIES: u32 = 8;

/// What an audit found. Every key that was looked at is counted once, in one of the other numbers.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit<K> {
    /// Keys that were looked at.
    pub looked_at: u64,
    /// Clean values that are what SQL has.
    pub equal: u64,
    /// Accepted changes on their way: SQL may have something else, and should.
    pub dirty: u64,
    /// The cache says that there is no such row; which key it is cannot be read back, and it is not compared.
    pub absent: u64,
    /// No value lay there by then: gone, a fill lease, a barrier.
    pub empty: u64,
    /// Bytes that are no value of this key, type and schema. A read takes them for a miss, or, where they were accepted, refuses.
    pub damaged: u64,
    /// They differed and were changed meanwhile, again and again: nothing is said of them.
    pub undecided: u64,
    /// Accepted changes that no shard has on its way: no flusher will bring them to SQL, until a newer change of their row comes.
    pub stranded: u64,
    stale: Vec<K>,
}

impl<K> Audit<K> {
    /// The rows whose clean value in the cache is not what SQL has.
    #[must_use]
    pub fn stale(&self) -> &[K] {
        &self.stale
    }

    /// Nothing was found that must not be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.stale.is_empty() && self.stranded == 0
    }
}

impl<K> Default for Audit<K> {
    fn default() -> Self {
        let (stale, none) = (Vec::new(), 0);
        Audit {
            looked_at: none,
            equal: none,
            dirty: none,
            absent: none,
            empty: none,
            damaged: none,
            undecided: none,
            stranded: none,
            stale,
        }
    }
}

/// Without the keys.
impl<K> fmt::Debug for Audit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Audit");
        out.field("looked_at", &self.looked_at).field("equal", &self.equal).field("dirty", &self.dirty);
        out.field("absent", &self.absent).field("empty", &self.empty).field("damaged", &self.damaged);
        out.field("undecided", &self.undecided).field("stranded", &self.stranded).field("stale", &self.stale.len()).finish()
    }
}

/// Asks the journal for the shard of a cache key; write-back only.
pub type ShardOf<'a> = dyn Fn(&Bytes) -> BoxFuture<'a, Result<Status>> + Send + Sync + 'a;

/// Where in the cache's keys the next audit goes on.
#[derive(Debug, Default)]
pub(crate) struct Bookmark(Mutex<Option<Place>>);

#[derive(Clone, Copy, Debug)]
struct Place {
    stem: usize,
    cursor: u64,
}

/// A key that may be wrong.
struct Suspect<K> {
    at: Bytes,
    /// None of a dirty one: nothing of it is read from SQL.
    key: Option<K>,
    /// As it was first found.
    found: Lookup,
    /// What SQL must not have.
    row: Option<serde_json::Value>,
    proofs: u32,
}

/// One look at suspects from all sides.
struct Sight<K> {
    before: Vec<Option<Status>>,
    first: Vec<Lookup>,
    rows: BTreeMap<K, serde_json::Value>,
    second: Vec<Lookup>,
    after: Vec<Option<Status>>,
}

impl<S: Store> Reads<S> {
    /// Compares up to `sample` of the keys that the cache holds with SQL.
    ///
    /// # Errors
    /// `Invalid` unless `sample` is 1 to 100,000; as [`get`](Reads::get) if a server did not answer within the call's deadline,
    /// which each page has for itself.
    pub async fn audit(&self, sample: usize, shard_of: Option<&ShardOf<'_>>) -> Result<Audit<S::Key>> {
        bound("the audit's sample", sample, 1..=100_000)?;
        let keys: Vec<Bytes> = self.sampled(sample).await?.into_iter().collect();
        let mut audit = Audit { looked_at: keys.len() as u64, ..Audit::default() };
        for page in keys.chunks(PAGE) {
            let suspects = self.compare(page, shard_of, &mut audit).await?;
            self.confirm(suspects, shard_of, &mut audit).await?;
        }
        self.counts.audited.add(audit.equal + audit.stale.len() as u64);
        self.counts.stale.add(audit.stale.len() as u64);
        if audit.is_clean() {
            tracing::debug!(name: "audit.done", found = ?audit, "the cache agrees with sql");
        } else {
            tracing::error!(name: "audit.failed", found = ?audit, "the cache holds what sql does not");
        }
        Ok(audit)
    }

    /// Walks on from where the last audit ended, through whole pages, and takes some of each at random.
    async fn sampled(&self, sample: usize) -> Result<BTreeSet<Bytes>> {
        let stems = self.keys.stems();
        let mark = || self.bookmark.0.lock().unwrap_or_else(PoisonError::into_inner);
        let anywhere = usize::try_from(self.runtime.random() % stems.len() as u128).unwrap_or(0);
        let mut place = mark().unwrap_or(Place { stem: anywhere, cursor: 0 });
        // The stem in whose middle it begins is walked to its end, and last from its beginning.
        let mut ends_left = stems.len() + usize::from(place.cursor > 0);
        let mut taken = BTreeSet::new();
        for _ in 0..MAX_PAGES {
            let page = until(&*self.runtime, self.deadline(), self.cache.scan(&stems[place.stem], place.cursor)).await;
            let (next, mut keys) = page.unwrap_or_else(|| Err(late()))?;
            while keys.len() > sample - taken.len() {
                let nth = self.runtime.random() % keys.len() as u128;
                keys.swap_remove(usize::try_from(nth).unwrap_or(0));
            }
            taken.extend(keys);
            place.cursor = next;
            if next == 0 {
                place.stem = (place.stem + 1) % stems.len();
                ends_left -= 1;
            }
            if ends_left == 0 || taken.len() >= sample {
                break;
            }
        }
        *mark() = Some(place);
        Ok(taken)
    }

    /// Step 1.
    async fn compare(
        &self,
        page: &[Bytes],
        shard_of: Option<&ShardOf<'_>>,
        audit: &mut Audit<S::Key>,
    ) -> Result<Vec<Suspect<S::Key>>> {
        let (mut clean, mut suspects) = (Vec::new(), Vec::new());
        for (at, found) in page.iter().zip(self.looks(page).await?) {
            let suspect = |key, row| Suspect { at: at.clone(), key, row, found: found.clone(), proofs: 0 };
            match &found {
                Lookup::Miss => audit.empty += 1,
                Lookup::Dirty(_) => match shard_of {
                    Some(shard_of) if is_idle(&shard_of(at).await?) => suspects.push(suspect(None, None)),
                    _ => audit.dirty += 1,
                },
                Lookup::Hit(entry) => match self.values.row(at, entry) {
                    None => audit.damaged += 1,
                    Some(None) => audit.absent += 1,
                    Some(Some(row)) => clean.push(suspect(Some(self.store.key(&row)), plain(&row))),
                },
            }
        }
        let rows = self.rows_of(&clean).await?;
        for suspect in clean {
            if suspect.is_in(&rows) {
                audit.equal += 1;
            } else {
                suspects.push(suspect);
            }
        }
        Ok(suspects)
    }

    /// Steps 2 to 4.
    async fn confirm(
        &self,
        mut suspects: Vec<Suspect<S::Key>>,
        shard_of: Option<&ShardOf<'_>>,
        audit: &mut Audit<S::Key>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            if suspects.is_empty() {
                return Ok(());
            }
            self.runtime.sleep(self.call_timeout / 2).await;
            let sight = self.sight(&suspects, shard_of).await?;
            let mut left = Vec::new();
            for (nth, mut suspect) in suspects.into_iter().enumerate() {
                match sight.verdict(nth, &suspect) {
                    Verdict::Changed if suspect.key.is_none() => audit.dirty += 1,
                    Verdict::Changed => audit.undecided += 1,
                    Verdict::Nothing => left.push(suspect),
                    Verdict::Proof => {
                        suspect.proofs += 1;
                        match suspect.key {
                            Some(key) if suspect.proofs == PROOFS => audit.stale.push(key),
                            None if suspect.proofs == PROOFS => audit.stranded += 1,
                            _ => left.push(suspect),
                        }
                    }
                }
            }
            suspects = left;
        }
        let dirty = suspects.iter().filter(|suspect| suspect.key.is_none()).count();
        audit.dirty += dirty as u64;
        audit.undecided += (suspects.len() - dirty) as u64;
        Ok(())
    }

    async fn sight(&self, suspects: &[Suspect<S::Key>], shard_of: Option<&ShardOf<'_>>) -> Result<Sight<S::Key>> {
        let at: Vec<Bytes> = suspects.iter().map(|suspect| suspect.at.clone()).collect();
        let before = statuses(&at, shard_of).await?;
        let first = self.looks(&at).await?;
        let rows = self.rows_of(suspects).await?;
        let second = self.looks(&at).await?;
        let after = statuses(&at, shard_of).await?;
        Ok(Sight { before, first, rows, second, after })
    }

    async fn looks(&self, at: &[Bytes]) -> Result<Vec<Lookup>> {
        if at.is_empty() {
            return Ok(Vec::new());
        }
        let found = until(&*self.runtime, self.deadline(), self.cache.get(at)).await.unwrap_or_else(|| Err(late()))?;
        if found.len() == at.len() { Ok(found) } else { Err(Error::unavailable("the cache did not answer every key")) }
    }

    /// What SQL has of them, by one statement under the cap of loads.
    async fn rows_of(&self, suspects: &[Suspect<S::Key>]) -> Result<BTreeMap<S::Key, serde_json::Value>> {
        let keys: Vec<S::Key> = suspects.iter().filter_map(|suspect| suspect.key.clone()).collect();
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let rows = until(&*self.runtime, self.deadline(), self.fetch_uncounted(&keys)).await.unwrap_or_else(|| Err(late()))?;
        Ok(rows.into_iter().filter_map(|row| Some((self.store.key(&row), plain(&row)?))).collect())
    }
}

enum Verdict {
    /// It is wrong now.
    Proof,
    /// It was changed, or is right by now.
    Changed,
    /// Something was accepted meanwhile: this try says nothing.
    Nothing,
}

impl<K: Ord> Suspect<K> {
    fn is_in(&self, rows: &BTreeMap<K, serde_json::Value>) -> bool {
        self.key.as_ref().and_then(|key| rows.get(key)) == self.row.as_ref()
    }
}

impl<K: Ord> Sight<K> {
    fn verdict(&self, nth: usize, suspect: &Suspect<K>) -> Verdict {
        let (before, after) = (self.before[nth].as_ref(), self.after[nth].as_ref());
        let stayed = self.first[nth] == suspect.found && self.second[nth] == suspect.found;
        let is_wrong = match suspect.key {
            Some(_) => !suspect.is_in(&self.rows),
            None => before.is_some_and(is_idle) && after.is_some_and(is_idle),
        };
        let version = |status: &Status| (status.identity.clone(), status.installed, status.epoch, status.version);
        if !stayed || !is_wrong {
            Verdict::Changed
        } else if before.map(version) == after.map(version) {
            Verdict::Proof
        } else {
            Verdict::Nothing
        }
    }
}

/// Nothing of the shard is on its way, and nothing was set aside.
fn is_idle(status: &Status) -> bool {
    status.installed && status.dirty + status.open + status.dead == 0
}

/// Of each key, its shard; every shard is asked once.
async fn statuses(at: &[Bytes], shard_of: Option<&ShardOf<'_>>) -> Result<Vec<Option<Status>>> {
    let Some(shard_of) = shard_of else { return Ok(vec![None; at.len()]) };
    let (mut known, mut found) = (BTreeMap::<Bytes, Status>::new(), Vec::with_capacity(at.len()));
    for at in at {
        let stem = crate::memory::stem_of(at).unwrap_or_default();
        let status = match known.get(stem) {
            Some(status) => status.clone(),
            None => shard_of(at).await?,
        };
        known.insert(stem.to_vec(), status.clone());
        found.push(Some(status));
    }
    Ok(found)
}

/// A row without the order of its fields.
fn plain(row: &impl serde::Serialize) -> Option<serde_json::Value> {
    codec::decode(&codec::encode(row).ok()?)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
