//! Changes that were set aside: list them, drive them again, discard them.
//!
//! A letter stands for the last change of its row that SQL refused. It goes when a newer change of the row is in SQL. To edit one,
//! put the row as it should be.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use writeway_core::cache::Bytes;
use writeway_core::change::Change;
use writeway_core::error::{Error, Outcome, Result};
use writeway_core::journal::{self, PAGE, Reason, Redriven, Version};
use writeway_core::retry::backoff;
use writeway_core::store::FencedStore;

use crate::engine::Engine;
use crate::handle::WriteBack;

/// The first pause before a full or fenced shard is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// A change that was set aside.
pub struct DeadLetter<S: FencedStore> {
    shard: usize,
    key: Bytes,
    version: Version,
    readable: bool,
    /// The change; `None` if this process cannot read it: it is damaged, or of another schema version.
    pub change: Option<Change<S::Key, S::Row>>,
    /// Why it was set aside.
    pub reason: Reason,
    /// The same in words, with what SQL said: at most 500 bytes, which may quote the row.
    pub cause: String,
    /// How often it failed alone.
    pub tries: u64,
    /// When it was set aside, by the clock of Redis.
    pub at: SystemTime,
}

/// What became of dead letters that were driven again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redrive {
    /// Accepted again: they are on their way to SQL.
    pub driven: u64,
    /// A newer change of the row is on its way. The letter goes once that is in SQL.
    pub superseded: u64,
    /// There was no such letter any more.
    pub gone: u64,
    /// They stay: this process cannot read them, SQL may have something newer, the key belongs to another strategy, or their sum with
    /// what is on its way does not fit 64 bits.
    pub left: u64,
}

impl<S: FencedStore> WriteBack<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// A page of dead letters, shard by shard, in the order in which they were accepted: after the given one, or from the first. At
    /// most 200; none if there are no more.
    ///
    /// # Errors
    /// `Unavailable` if Redis did not answer. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn dead_letters(&self, after: Option<&DeadLetter<S>>) -> Result<Vec<DeadLetter<S>>> {
        let engine = &self.engine;
        engine.gate.check()?;
        let mut place = after.map(|letter| (letter.version, letter.key.clone()));
        for shard in after.map_or(0, |letter| letter.shard)..engine.shards.len() {
            let page = engine.letters(shard, place.take()).await.map_err(|e| engine.told(e, "dead_letters"))?;
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    /// Accepts these letters again, in the order given, as the newest changes of their rows; their tickets are pending again. What
    /// fails once more is set aside once more. Of those that are [`Reason::Ambiguous`] SQL may have something newer, which is then
    /// overwritten.
    ///
    /// # Errors
    /// `Overloaded` if a bound is reached until the `call_timeout`, `Unavailable` if Redis did not answer; `Unknown` if letters before
    /// may have been accepted again: it is safe to repeat it. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Dropped before its end, some may be accepted again and others not.
    pub async fn redrive(&self, letters: &[DeadLetter<S>]) -> Result<Redrive> {
        let engine = &self.engine;
        let _pass = engine.gate.enter().map_err(|e| engine.told(e, "redrive"))?;
        let mut done = Redrive::default();
        for of_shard in letters.chunk_by(|one, next| one.shard == next.shard) {
            engine.redrive(of_shard, &mut done).await.map_err(|e| engine.told(e, "redrive"))?;
        }
        Ok(done)
    }

    /// Accepts again all that SQL refused, as there are letters now, shard by shard in the order in which they were accepted. What is
    /// damaged or ambiguous stays for a person to decide.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    /// As [`redrive`](Self::redrive).
    pub async fn redrive_all(&self) -> Result<Redrive> {
        let engine = &self.engine;
        let _pass = engine.gate.enter().map_err(|e| engine.told(e, "redrive_all"))?;
        let mut done = Redrive::default();
        for shard in 0..engine.shards.len() {
            engine.redrive_shard(shard, &mut done).await.map_err(|e| engine.told(e, "redrive_all"))?;
        }
        Ok(done)
    }

    /// Removes these letters: their changes are gone for good, and their tickets say that they are durable. Says how many there were;
    /// one that was replaced by a later letter of its row stays.
    ///
    /// # Errors
    /// `Unavailable` if Redis did not answer: some may be gone. `Closed` after [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Dropped before its end, some may be gone.
    pub async fn discard(&self, letters: &[DeadLetter<S>]) -> Result<u64> {
        let engine = &self.engine;
        let _pass = engine.gate.enter().map_err(|e| engine.told(e, "discard"))?;
        let mut count = 0;
        for page in letters.chunk_by(|one, next| one.shard == next.shard).flat_map(|letters| letters.chunks(PAGE)) {
            let places: Vec<_> = page.iter().map(DeadLetter::place).collect();
            let shard = &engine.shards[page[0].shard];
            let gone = engine.ask(engine.journal.discard(shard, &places)).await.map_err(|e| engine.told(e, "discard"))?;
            tracing::info!(name: "letter.discarded", ?shard, count = gone, "dead letters were discarded");
            count += gone;
        }
        Ok(count)
    }
}

impl<S: FencedStore> Engine<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    async fn letters(&self, shard: usize, after: Option<(Version, Bytes)>) -> Result<Vec<DeadLetter<S>>> {
        let page = self.ask(self.journal.dead_letters(&self.shards[shard], after.as_ref())).await?;
        Ok(page.into_iter().map(|letter| self.letter(shard, letter)).collect())
    }

    fn letter(&self, shard: usize, letter: journal::DeadLetter) -> DeadLetter<S> {
        let readable = letter.schema == self.reads.store.schema();
        let change = if readable { self.form.read(&letter.key, &letter.value) } else { None };
        DeadLetter {
            shard,
            key: letter.key,
            version: letter.version,
            readable: change.is_some(),
            change,
            reason: letter.reason,
            cause: letter.cause,
            tries: letter.tries,
            at: SystemTime::UNIX_EPOCH + letter.at,
        }
    }

    /// All letters of one shard that were there when it began: what is set aside meanwhile comes after them.
    async fn redrive_shard(&self, shard: usize, done: &mut Redrive) -> Result<()> {
        let last = self.status(shard).await?.version;
        let mut after = None;
        loop {
            let mut page = self.letters(shard, after.take()).await?;
            page.retain(|letter| letter.version <= last);
            let Some(end) = page.last() else { return Ok(()) };
            after = Some((end.version, end.key.clone()));
            let (refused, others): (Vec<_>, Vec<_>) = page.into_iter().partition(|letter| letter.reason == Reason::Refused);
            done.left += others.len() as u64;
            self.redrive(&refused, done).await?;
        }
    }

    /// Letters of one shard.
    async fn redrive(&self, letters: &[DeadLetter<S>], done: &mut Redrive) -> Result<()> {
        let readable: Vec<_> = letters.iter().filter(|letter| letter.readable).map(DeadLetter::place).collect();
        done.left += (letters.len() - readable.len()) as u64;
        for page in readable.chunks(PAGE) {
            let driven = self.redrive_page(letters[0].shard, page, done).await;
            driven.map_err(|e| if done.driven > 0 { e.with_outcome(Outcome::Unknown) } else { e })?;
        }
        Ok(())
    }

    /// Waits for room, until the `call_timeout`.
    async fn redrive_page(&self, shard: usize, page: &[(Bytes, Version)], done: &mut Redrive) -> Result<()> {
        let (deadline, mut left) = (self.deadline(), page.to_vec());
        for attempt in 0.. {
            let answers = self.ask(self.journal.redrive(&self.shards[shard], &left, self.bounds)).await?;
            let mut full = Vec::new();
            for (letter, answer) in left.into_iter().zip(answers) {
                match answer {
                    Redriven::Dirty => done.driven += 1,
                    Redriven::Superseded => done.superseded += 1,
                    Redriven::Gone => done.gone += 1,
                    Redriven::Foreign | Redriven::Unfit => done.left += 1,
                    Redriven::Full(_) => full.push(letter),
                }
            }
            self.urge(shard);
            let pause = backoff(attempt, PAUSE, self.runtime().random());
            if full.is_empty() {
                break;
            }
            if self.runtime().now() + pause >= deadline {
                return Err(Error::overloaded("too much is on its way to sql for dead letters to be driven again"));
            }
            left = full;
            self.runtime().sleep(pause).await;
        }
        Ok(())
    }
}

impl<S: FencedStore> DeadLetter<S> {
    fn place(&self) -> (Bytes, Version) {
        (self.key.clone(), self.version)
    }
}

/// Without the row and what may quote it.
impl<S: FencedStore> fmt::Debug for DeadLetter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeadLetter { reason, tries, at, version, .. } = self;
        let mut letter = f.debug_struct("DeadLetter");
        letter.field("version", version).field("reason", reason).field("tries", tries).field("at", at).finish_non_exhaustive()
    }
}
