//! A batch that fails: halved, its last change held back or set aside.
//!
//! **Invariant.** No try of a batch takes effect once it was halved, or its change held back or set aside; and nothing is set aside
//! while SQL does not answer.
//!
//! 1. From the third try on, SQL must take a write of the fence first (*probe*): an outage ends here, whatever came before.
//! 2. *claim* counts the try, so that it is known also if this process does not survive it; that it ended, if only in failure, is
//!    reported (*ended*).
//! 3. [`judge`](super::judge) decides. To try it again needs nothing more.
//! 4. For anything else the shard is opened anew: a new epoch. No flush of an earlier one lands any more, and SQL says whether one
//!    did: then it is only acknowledged.
//! 5. *split*: the first half becomes a batch of its own number and is tried at once, the rest is dirty again, where nothing newer
//!    is. *delay*: the change is dirty again, and due later, alone. *park*: it is a dead letter.
//!
//! The first tries of a halved or delayed change mix with newer ones as any other; each step may be cut short, and the next
//! flusher decides again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use writeway_core::error::{Error, Kind, Result};
use writeway_core::journal::{At, BatchId, Claimed, Park, Reason, Split};
use writeway_core::store::{Blame, FencedStore};

use super::judge::{Case, LONGEST_PAUSE, Next, judge};
use super::turn::Desk;
use crate::engine::Engine;
use crate::stats::Counters;

/// So much of what SQL said is kept with a dead letter.
const CAUSE_BYTES: usize = 500;
/// The cause where nobody lived to tell.
const DIED: &str = "whoever tried to flush it did not survive";

/// What a process knows of the batches that failed it.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// The batch that is being tried, or failed last.
    tried: Option<BatchId>,
    /// How often, in a row.
    failures: u64,
    /// Why, the last time.
    failed: Option<(Blame, String)>,
    /// Why it had failed before the try that is under way.
    before: Option<(Blame, String)>,
    /// The first half of another, not tried yet.
    untried: Option<BatchId>,
    /// The same, tried or not.
    part: Option<BatchId>,
    /// So many keys a batch may hold until enough has landed since a split: another bad row need not be looked for from the start.
    limit: Option<u64>,
    /// How many batches had landed when a row was last suspected though nobody blamed it.
    suspected_at: Option<u64>,
}

impl Trouble {
    /// A try begins. Should it not return, the table's code panicked.
    pub(super) fn begin(&mut self, batch: BatchId) {
        if self.tried != Some(batch) {
            self.end();
        }
        self.tried = Some(batch);
        self.failures += 1;
        self.before = self.failed.take();
        self.untried = None;
        self.failed = Some((Blame::Row, "the table's code, or that of its rows, panicked".to_owned()));
    }

    /// It ended otherwise than in failure.
    pub(super) fn end(&mut self) {
        (self.tried, self.failures, self.failed, self.before) = (None, 0, None, None);
    }

    /// It was not tried after all.
    pub(super) fn undo(&mut self) {
        self.failures = self.failures.saturating_sub(1);
        self.failed = self.before.take();
    }

    /// A batch landed: the next may be twice as large.
    pub(super) fn landed(&mut self, max_keys: u64) {
        self.limit = self.limit.map(|limit| limit.saturating_mul(2)).filter(|limit| *limit < max_keys);
    }

    /// How many keys the next batch may hold.
    pub(super) fn limit(&self, max_keys: u64) -> u64 {
        self.limit.map_or(max_keys, |limit| limit.min(max_keys))
    }

    /// It has failed more than once: SQL is asked before it is tried again.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 1
    }

    fn fail(&mut self, blame: Blame, cause: String) {
        self.failed = Some((blame, cause));
    }

    fn of(&self, batch: BatchId) -> Option<&(Blame, String)> {
        self.failed.as_ref().filter(|_| self.tried == Some(batch))
    }
}

impl<S: FencedStore> Engine<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Step 1.
    pub(super) async fn probe(&self, shard: usize, at: &At) -> Result<()> {
        let timeout = self.settings.flush_timeout;
        let unanswered = || Err(Error::unavailable("sql does not answer"));
        match self.in_sql(shard, timeout, self.reads.store.probe(at, self.settings.within())).await.unwrap_or_else(unanswered) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::fenced()),
            Err(e) => Err(e),
        }
    }

    /// Step 3.
    pub(super) fn judge(&self, claimed: &Claimed, count: usize, dead: u64, trouble: &Trouble) -> Next {
        let landed = self.counters.batches.get();
        judge(Case {
            failures: if trouble.tried == Some(claimed.id) { trouble.failures } else { 0 },
            deaths: claimed.tries,
            alone: count == 1,
            strikes: claimed.strikes,
            blame: trouble.of(claimed.id).map(|(blame, _)| *blame),
            untried: trouble.untried == Some(claimed.id),
            searching: trouble.part == Some(claimed.id),
            landed: trouble.suspected_at.is_none_or(|at| landed > at),
            room: dead < self.max_dead,
        })
    }

    /// Notes why a try failed, and reports that it ended.
    pub(super) async fn tried_in_vain(&self, at: &At, id: BatchId, trouble: &mut Trouble, e: &Error) {
        if matches!(e.kind(), Kind::Fenced | Kind::Closed) {
            return trouble.undo();
        }
        trouble.fail(self.blame(e), cause(e));
        // Unheard, it counts as one that nobody survived: there must be several of those.
        let _ = self.ask(self.journal.ended(at, id)).await;
    }

    /// Steps 4 and 5, of a batch of so many changes.
    pub(super) async fn resolve(&self, shard: usize, desk: &mut Desk, claimed: &Claimed, count: usize, next: Next) -> Result<()> {
        let id = claimed.id;
        let opened = self.open(shard).await?;
        let at = opened.at;
        desk.at = Some(at.clone());
        if opened.batch >= id.batch {
            // It is in effect: SQL will say so again, and then it is acknowledged.
            desk.trouble.end();
            desk.trouble.untried = Some(id);
            return Ok(());
        }
        match next {
            Next::Flush => {}
            Next::Split => self.split(&at, id, count, &mut desk.trouble).await?,
            Next::Delay { pause, counts } => {
                self.note_suspicion(id, &mut desk.trouble);
                if self.ask(self.journal.delay(&at, id, pause, counts)).await? {
                    let failures = (claimed.strikes + u64::from(counts)).max(1);
                    Counters::add(&self.counters.delayed, 1);
                    tracing::warn!(name: "change.delayed", shard = ?at.shard, failures, ?pause, "a change fails alone");
                }
            }
            Next::Park => {
                self.note_suspicion(id, &mut desk.trouble);
                let cause = desk.trouble.of(id).map_or(DIED, |(_, cause)| cause.as_str()).to_owned();
                let keys: Vec<_> = claimed.items.iter().map(|item| item.key.clone()).collect();
                let park = Park { keys: &keys, reason: Reason::Refused, cause: &cause };
                if self.ask(self.journal.park(&at, id, park)).await? > 0 {
                    // A counter with a letter: until that is dealt with, what was added since waits.
                    self.ask(self.journal.delay(&at, id, LONGEST_PAUSE, true)).await?;
                    Counters::add(&self.counters.delayed, 1);
                    tracing::warn!(name: "change.waits", shard = ?at.shard, "sql refuses increments of a counter that has a dead letter");
                } else {
                    Counters::add(&self.counters.parked, 1);
                    tracing::error!(name: "change.parked", shard = ?at.shard, "sql refuses a change, which is set aside as a dead letter");
                }
            }
        }
        desk.trouble.end();
        Ok(())
    }

    async fn split(&self, at: &At, id: BatchId, count: usize, trouble: &mut Trouble) -> Result<()> {
        let (mut batch, mut more) = (id, true);
        while more {
            match self.ask(self.journal.split(at, batch, count as u64 / 2)).await? {
                Some(split) => Split { id: batch, more } = split,
                None => return Err(Error::fenced()),
            }
        }
        Counters::add(&self.counters.splits, 1);
        tracing::info!(name: "flush.split", shard = ?at.shard, rows = count, "a batch fails: its first half is tried alone");
        (trouble.untried, trouble.part) = (Some(batch), Some(batch));
        trouble.limit = Some((count as u64 / 2).max(1));
        Ok(())
    }

    /// A row is suspected that nobody blamed: no other is, until something lands.
    fn note_suspicion(&self, id: BatchId, trouble: &mut Trouble) {
        if matches!(trouble.of(id), Some((Blame::Table | Blame::Server, _))) {
            trouble.suspected_at = Some(self.counters.batches.get());
        }
    }
}

/// In words, with what SQL said.
fn cause(e: &Error) -> String {
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    let mut end = text.len().min(CAUSE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_says_what_sql_said_and_is_bounded() {
        let e = Error::rejected("SQL refused a row").with_source(std::io::Error::other("value too long"));
        assert_eq!(cause(&e), "SQL refused a row: value too long");
        let long = Error::rejected("é".repeat(CAUSE_BYTES));
        assert!(cause(&long).len() <= CAUSE_BYTES);
    }
}
