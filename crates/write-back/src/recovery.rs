//! Opening a shard: a new epoch, and, on a server that is not the one it was, the comparison with SQL.
//!
//! 1. Learn the server's identity, before SQL is asked: what is installed below is installed on that server or not at all.
//! 2. SQL: the fence's epoch + 1. It waits for a flush under way; from here on no flush of an earlier epoch takes effect. Then the
//!    batch log, in a later statement: from the last entry that the shard knows. A server that is new and holds no change needs none.
//! 3. Install the epoch. That is all on the server that the shard was installed on last, unless the log shows that another was in use
//!    since: it names a batch that was frozen in an epoch which this server does not know. A server may come back as it was: a
//!    failover that is undone, two addresses by turns.
//! 4. On another (Redis restarted, failed over, was restored, is empty), or one that comes back, the shard accepts and answers
//!    nothing until the end:
//!    * `own` is the last batch that it knows, `known` the last epoch. An entry of the log is *later* if its batch is after `own` or its
//!      epoch after `known`: from here on numbers were given twice. If the log does not reach back to what is common, nothing that
//!      was restored can be judged: all of it is set aside.
//!    * The open batch: of what the log has of it, the changes are dropped, and what was frozen into it in the part that was lost:
//!      dirty keys that the log names in it. If it was split in the part that was lost, the log has it under a later number of the same
//!      epoch. What the log lacks of it is dirty again; so is all of a batch that the log does not name. It is not kept: another state
//!      of the server may have given it up, and would not know that it is in SQL after all if the log said so under the old name.
//!    * A dirty key that the log names in a later batch is superseded: whole keys are flushed, so what SQL has is newer. So is a dead
//!      letter of that key. On a server that comes back it is set aside: it may be newer.
//!    * Last: a new incarnation on this server. Clean entries and fill leases of earlier ones are nothing from here on.
//!
//! Each step may be cut short: the next open begins again, and finds less to do.

use std::collections::HashSet;

use tracing::field::Empty;
use writeway_core::cache::Bytes;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{At, BatchId, Found, Install, Installed, PAGE, Release, Status};
use writeway_core::span::within;
use writeway_core::store::{FencedStore, Logged, Opened};

use crate::engine::Engine;
use crate::stats::Counters;

/// Why a restored change was set aside.
const AMBIGUOUS: &str = "restored by a cache server that is older than the batch log reaches: sql may have something newer";

/// The same where both sides went on.
const DIVERGED: &str = "two cache servers were in use at a time: sql has another change of the key, accepted by the other";

/// After so many pages the flush lease is renewed.
const RENEW: u32 = 16;

/// What becomes of what a restored server holds.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    open: Open,
    dirty: Fate,
}

/// The open batch.
#[derive(Debug, PartialEq, Eq)]
enum Open {
    /// There is none.
    Nothing,
    /// SQL has these keys of it. What was frozen further than is known here is dirty yet.
    InSql { id: BatchId, keys: Vec<Bytes>, whole: bool },
    /// It is not in SQL, and never will be under this name.
    Dissolve(BatchId),
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// These keys have something newer in SQL.
    Superseded(HashSet<Bytes>),
    /// Of these keys something was accepted on either server: nobody can tell which is newer.
    Diverged(HashSet<Bytes>),
    /// Nobody can tell.
    Ambiguous,
}

/// Step 4, as a function of what the server holds and what SQL knows.
fn plan(found: &Found, opened: Opened, diverged: bool) -> Plan {
    let is_common = |logged: &Logged| logged.id.batch <= found.batch && logged.id.epoch <= found.epoch;
    // Numbers that were given twice hide what was trimmed between them.
    let reused = opened.log.iter().any(|logged| !is_common(logged) && logged.id.batch <= found.batch);
    let over = found.open.map_or(found.batch, |_| found.batch.min(found.first.saturating_sub(1)));
    let reaches = match opened.log.first() {
        Some(first) => is_common(first) || first.id.batch == 1 || (first.id.batch == over + 1 && !reused),
        None => opened.batch <= over,
    };
    // Unless it is in effect as it is, nothing was frozen after it in its epoch: what has that epoch is the part that a split left.
    let of_open = |logged: &&Logged| found.open.is_some_and(|id| id.epoch == logged.id.epoch && found.first <= logged.id.batch);
    let logged = opened.log.iter().filter(|_| reaches).find(of_open);
    let part = logged.map(|logged| logged.id);
    let open = match (found.open, logged) {
        (Some(id), Some(logged)) => Open::InSql { id, keys: logged.keys.clone(), whole: found.whole },
        (Some(id), None) => Open::Dissolve(id),
        (None, _) => Open::Nothing,
    };
    // Another server may have split it otherwise: of what it flushed, some is dirty here, and what came since cannot be told apart.
    let otherwise = diverged && part != found.open;
    let is_later = |logged: &Logged| if part == Some(logged.id) { otherwise } else { !is_common(logged) };
    let later = opened.log.into_iter().filter(is_later);
    let dirty = match later.flat_map(|logged| logged.keys).collect() {
        _ if !reaches => Fate::Ambiguous,
        keys if diverged => Fate::Diverged(keys),
        keys => Fate::Superseded(keys),
    };
    Plan { open, dirty }
}

/// Step 3: whether another server was in use since the shard was installed on the one that it knows.
fn has_diverged(status: &Status, opened: &Opened) -> bool {
    let elsewhere = opened.log.iter().any(|logged| logged.id.epoch > status.epoch);
    // Somebody opened the shard who did not come so far as to tell this server; or it was another server's, where they may have
    // flushed less of the open batch, or given it up.
    let unclear = status.open > 0 && opened.epoch > status.epoch + 1;
    status.installed && (elsewhere || unclear)
}

/// A shard that this process has opened.
pub(crate) struct Own {
    pub(crate) at: At,
    /// The last batch that SQL has.
    pub(crate) batch: u64,
}

impl<S: FencedStore> Engine<S> {
    /// Opens the shard for this process: the epoch in which it may flush, and the last batch that SQL has.
    ///
    /// # Errors
    /// `Fenced` if somebody else opened it at the same time, or the server changed meanwhile: look again.
    pub(crate) async fn open(&self, shard: usize) -> Result<Own> {
        let span = tracing::debug_span!("open", shard = ?self.shards[shard], ended = Empty);
        within(span, self.open_anew(shard)).await
    }

    async fn open_anew(&self, shard: usize) -> Result<Own> {
        let status = self.status(shard).await?;
        // What is new and holds no change needs no judging, however long the log is.
        let judged = status.installed || status.dirty + status.open + status.dead > 0;
        let log = judged.then_some(BatchId { epoch: status.known, batch: status.over });
        let asked = self.in_sql(shard, self.settings.flush_timeout * 2, self.reads.store.open(&self.shards[shard], log)).await;
        let opened = asked.unwrap_or_else(|| Err(Error::unavailable("sql did not open the shard in time")))?;
        let diverged = has_diverged(&status, &opened).then_some(status.epoch);
        let install = Install { identity: status.identity, epoch: opened.epoch, batch: opened.batch, diverged };
        let (at, batch) = (At { shard: self.shards[shard].clone(), epoch: opened.epoch }, opened.batch);
        match self.ask(self.journal.install(&at.shard, &install)).await? {
            Installed::Ready => Ok(Own { at, batch }),
            Installed::Refused => Err(Error::fenced()),
            Installed::Recover(found) => {
                // It held nothing at the look: the log was not read. The open batch that it began with may be gone by now.
                if log.is_none() && (found.dirty > 0 || (found.open.is_some() && self.status(shard).await?.open > 0)) {
                    return Err(Error::fenced());
                }
                let span = tracing::debug_span!("recovery", shard = ?at.shard, epoch = at.epoch, ended = Empty);
                within(span, self.recover(shard, &at, &install, &found, opened)).await?;
                Ok(Own { at, batch })
            }
        }
    }

    async fn recover(&self, shard: usize, at: &At, install: &Install, found: &Found, opened: Opened) -> Result<()> {
        // Whoever had it open before may have accepted what was never flushed.
        let is_new = opened.epoch == 1 && *found == Found::default();
        let elsewhere = opened.log.iter().any(|logged| logged.id.epoch > found.epoch);
        let plan = plan(found, opened, install.diverged.is_some());
        let returned = self.recover_open(at, &plan.open).await?;
        let (kept, superseded, quarantined) = self.recover_dirty(shard, at, &plan.dirty).await?;
        self.recover_letters(at, &plan.dirty).await?;
        self.ask(self.journal.resume(at, install)).await?;
        Counters::add(&self.counters.superseded, superseded);
        Counters::add(&self.counters.quarantined, quarantined);
        // The same server, and nobody flushed from another after all.
        let nothing_happened = install.diverged.is_some() && !elsewhere && returned == 0;
        if !is_new && !nothing_happened {
            Counters::add(&self.counters.loss_possible, 1);
            tracing::warn!(
                name: "recovery.done", shard = ?at.shard, kept, superseded, quarantined,
                "redis is another server, or an older state: what had been accepted and not flushed may be lost"
            );
        }
        Ok(())
    }

    /// Says how much of a batch of which SQL has something was not.
    async fn recover_open(&self, at: &At, open: &Open) -> Result<u64> {
        let (id, in_sql, mut left) = match open {
            Open::Nothing => return Ok(0),
            Open::Dissolve(id) => (*id, false, 1),
            Open::InSql { id, keys, whole } => {
                // All of it before any is released: from then on the batch counts as whole.
                for page in keys.chunks(PAGE).filter(|_| !whole) {
                    self.ask(self.journal.supersede(at, page, None)).await?;
                }
                let mut left = 0;
                for page in keys.chunks(PAGE) {
                    left = self.ask(self.journal.release(at, *id, Release::Drop(page))).await?;
                }
                (*id, true, left)
            }
        };
        let returned = if in_sql { left } else { 0 };
        while left > 0 {
            left = self.ask(self.journal.release(at, id, Release::Dissolve)).await?;
        }
        Ok(returned)
    }

    /// How many dirty changes were kept, superseded, set aside.
    async fn recover_dirty(&self, shard: usize, at: &At, fate: &Fate) -> Result<(u64, usize, usize)> {
        let (mut from, mut superseded, mut quarantined) = (0, 0, 0);
        for page in 1.. {
            // It may take longer than the flush lease is held: nobody should begin anew meanwhile.
            if page % RENEW == 0 && !self.lead(shard).await? {
                return Err(Error::fenced());
            }
            let keys = self.ask(self.journal.dirty(at, from)).await?;
            let (count, last) = (keys.len(), keys.len() < PAGE);
            let (drop, cause) = judged(fate, keys);
            if !drop.is_empty() {
                self.ask(self.journal.supersede(at, &drop, cause)).await?;
            }
            *if cause.is_some() { &mut quarantined } else { &mut superseded } += drop.len();
            from += (count - drop.len()) as u64;
            if last {
                break;
            }
        }
        Ok((from, superseded, quarantined))
    }

    async fn recover_letters(&self, at: &At, fate: &Fate) -> Result<()> {
        if matches!(fate, Fate::Superseded(newer) | Fate::Diverged(newer) if newer.is_empty()) {
            // All stay, and are not read for that.
            return Ok(());
        }
        let mut after = None;
        loop {
            let letters = self.ask(self.journal.dead_letters(&at.shard, after.as_ref())).await?;
            let Some(last) = letters.last() else { return Ok(()) };
            after = Some((last.version, last.key.clone()));
            let (keys, cause) = judged(fate, letters.into_iter().map(|letter| letter.key).collect());
            if !keys.is_empty() {
                self.ask(self.journal.supersede(at, &keys, cause)).await?;
            }
        }
    }
}

/// Which of these changes do not stay, and why.
fn judged(fate: &Fate, keys: Vec<Bytes>) -> (Vec<Bytes>, Option<&'static str>) {
    match fate {
        Fate::Superseded(newer) => (keys.into_iter().filter(|key| newer.contains(key)).collect(), None),
        Fate::Diverged(newer) => (keys.into_iter().filter(|key| newer.contains(key)).collect(), Some(DIVERGED)),
        Fate::Ambiguous => (keys, Some(AMBIGUOUS)),
    }
}

#[cfg(test)]
mod tests {
    use writeway_core::store::Logged;

    use super::*;

    fn id(epoch: u64, batch: u64) -> BatchId {
        BatchId { epoch, batch }
    }

    fn opened(batch: u64, log: &[(BatchId, &str)]) -> Opened {
        let log = log.iter().map(|(id, keys)| Logged { id: *id, keys: keys.split(' ').map(Into::into).collect() });
        Opened { epoch: 9, batch, log: log.collect() }
    }

    fn planned(batch: u64, open: Option<BatchId>, opened: Opened) -> Plan {
        let first = open.map_or(0, |id| id.batch);
        plan(&Found { epoch: 2, batch, open, first, whole: true, dirty: 1 }, opened, false)
    }

    fn superseded(keys: &str) -> Fate {
        Fate::Superseded(keys.split_whitespace().map(Into::into).collect())
    }

    fn in_sql(epoch: u64, batch: u64, keys: &str) -> Open {
        Open::InSql { id: id(epoch, batch), keys: keys.split(' ').map(Into::into).collect(), whole: true }
    }

    #[test]
    fn a_server_that_lost_nothing_keeps_everything() {
        let kept = Plan { open: Open::Nothing, dirty: superseded("") };
        let returned = Plan { open: Open::Dissolve(id(1, 3)), dirty: superseded("") };
        assert_eq!(planned(3, Some(id(1, 3)), opened(2, &[(id(1, 2), "a")])), returned, "under its old name it is never flushed");
        assert_eq!(planned(2, None, opened(2, &[])), kept, "a log that was trimmed");
    }

    #[test]
    fn a_batch_that_is_in_the_log_is_dropped_and_one_whose_number_was_used_again_is_not() {
        let log = [(id(1, 2), "a"), (id(1, 3), "b")];
        let dropped = Plan { open: in_sql(1, 3, "b"), dirty: superseded("") };
        assert_eq!(planned(3, Some(id(1, 3)), opened(3, &log)), dropped);
        let dissolved = Plan { open: Open::Dissolve(id(2, 3)), dirty: superseded("") };
        assert_eq!(
            planned(3, Some(id(2, 3)), opened(3, &log)),
            dissolved,
            "invariant violated: a batch whose number was used again is dissolved"
        );
    }

    #[test]
    fn a_batch_that_was_frozen_further_in_what_was_lost_takes_its_other_keys_along() {
        let found = Found { epoch: 2, batch: 3, open: Some(id(1, 3)), first: 3, whole: false, dirty: 1 };
        let keys = vec![b"a".to_vec(), b"b".to_vec()];
        let open = plan(&found, opened(3, &[(id(1, 3), "a b")]), false).open;
        assert_eq!(
            open,
            Open::InSql { id: id(1, 3), keys, whole: false },
            "invariant violated: what sql has of a batch is not flushed again"
        );
        assert_eq!(plan(&found, opened(2, &[(id(1, 2), "a b")]), false).open, Open::Dissolve(id(1, 3)), "it is not in sql");
    }

    #[test]
    fn what_a_split_left_of_the_open_batch_is_not_newer_than_what_came_since() {
        let log = [(id(1, 2), "a"), (id(2, 4), "b"), (id(4, 5), "c")];
        let Plan { open, dirty } = planned(3, Some(id(2, 3)), opened(5, &log));
        assert_eq!(open, Open::InSql { id: id(2, 3), keys: vec![b"b".to_vec()], whole: true });
        assert_eq!(dirty, superseded("c"), "invariant violated: what was accepted since the freeze is not superseded by it");
    }

    #[test]
    fn keys_of_later_batches_are_superseded() {
        let log = [(id(1, 2), "a"), (id(1, 3), "b c"), (id(1, 4), "c d")];
        assert_eq!(planned(2, None, opened(4, &log)).dirty, superseded("b c d"));
        assert_eq!(planned(0, None, opened(1, &[(id(1, 1), "a")])).dirty, superseded("a"), "an empty server");
    }

    #[test]
    fn what_another_server_flushed_is_later_whatever_its_number() {
        let log = [(id(1, 2), "a"), (id(3, 3), "b"), (id(3, 4), "c")];
        assert_eq!(
            planned(5, None, opened(4, &log)).dirty,
            superseded("b c"),
            "invariant violated: numbers that were given twice are told apart by their epochs"
        );
    }

    #[test]
    fn what_the_log_does_not_reach_is_ambiguous() {
        assert_eq!(
            planned(1, None, opened(4, &[(id(1, 3), "a"), (id(1, 4), "a")])).dirty,
            Fate::Ambiguous,
            "invariant violated: what the log does not reach is set aside"
        );
        assert_eq!(planned(1, None, opened(4, &[])).dirty, Fate::Ambiguous);
        let dissolved = planned(1, Some(id(1, 1)), opened(4, &[(id(1, 4), "a")]));
        assert_eq!(dissolved, Plan { open: Open::Dissolve(id(1, 1)), dirty: Fate::Ambiguous });
        assert_eq!(planned(5, None, opened(5, &[(id(3, 5), "a")])).dirty, Fate::Ambiguous, "numbers given twice");
        let trimmed = Plan { open: Open::Dissolve(id(2, 3)), dirty: Fate::Ambiguous };
        assert_eq!(planned(3, Some(id(2, 3)), opened(3, &[])), trimmed, "the open batch may have been in effect");
        assert_eq!(planned(3, Some(id(2, 3)), opened(4, &[(id(2, 4), "a")])), trimmed, "or another one behind it");
    }

    #[test]
    fn what_both_servers_took_is_set_aside() {
        let found = Found { epoch: 2, batch: 2, open: None, first: 0, whole: true, dirty: 2 };
        let opened = opened(3, &[(id(1, 2), "a"), (id(3, 3), "b")]);
        let fate = plan(&found, opened, true).dirty;
        assert_eq!(fate, Fate::Diverged([b"b".to_vec()].into()), "invariant violated: what both servers took is set aside");
    }

    #[test]
    fn what_another_server_split_otherwise_is_set_aside() {
        let found = Found { epoch: 7, batch: 5, open: Some(id(2, 5)), first: 3, whole: true, dirty: 1 };
        let Plan { open, dirty } = plan(&found, opened(4, &[(id(1, 2), "z"), (id(2, 4), "a b")]), true);
        assert_eq!(open, Open::InSql { id: id(2, 5), keys: vec![b"a".to_vec(), b"b".to_vec()], whole: true });
        let both = Fate::Diverged([b"a".to_vec(), b"b".to_vec()].into());
        assert_eq!(dirty, both, "invariant violated: what another server flushed of a split batch is not flushed again");
    }

    #[test]
    fn a_server_that_comes_back_is_compared() {
        let status = |epoch, over, open| Status { installed: true, epoch, over, open, ..Status::default() };
        let at = |epoch, batch, log: &[(BatchId, &str)]| Opened { epoch, ..opened(batch, log) };
        assert!(!has_diverged(&status(2, 3, 0), &at(3, 3, &[(id(1, 3), "a")])));
        assert!(!has_diverged(&status(2, 3, 1), &at(3, 4, &[(id(2, 4), "a")])), "flushed before a crash");
        assert!(
            has_diverged(&status(2, 3, 0), &at(4, 4, &[(id(1, 3), "a"), (id(3, 4), "b")])),
            "invariant violated: a server that comes back is compared"
        );
        assert!(has_diverged(&status(2, 3, 1), &at(4, 4, &[(id(2, 4), "a")])), "perhaps by somebody who had less of it");
        assert!(
            has_diverged(&status(2, 3, 1), &at(4, 3, &[(id(1, 3), "a")])),
            "invariant violated: an open batch that another server may have given up is compared"
        );
    }
}
