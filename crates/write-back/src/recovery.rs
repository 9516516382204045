//! Opening a shard: a new epoch, and, on a server that is not the one it was, the comparison with SQL.
//!
//! 1. Learn the server's identity, before SQL is asked: what is installed below is installed on that server or not at all.
//! 2. SQL: the fence's epoch + 1. It waits for a flush under way; from here on no flush of an earlier epoch takes effect. If the
//!    server is not the one that the shard was installed on, and holds changes, then the batch log, in a later statement: from the
//!    last entry that is not after what the shard knows.
//! 3. Install the epoch. On the same server that is all.
//! 4. On another (Redis restarted, failed over, was restored, is empty), the shard accepts and answers nothing until the end:
//!    * `own` is the last batch that it knows. If the log does not reach back to `own + 1`, nothing that was restored can be
//!      judged: all of it is set aside.
//!    * The open batch: if the log has it, drop it, and what was frozen into it in the part that was lost: dirty keys that the log
//!      names in it; else, if its number was used by another since, its changes are dirty again;
//!      else keep it.
//!    * A dirty key that the log names in a batch after `own` is superseded: whole keys are flushed, so what SQL has is newer.
//!    * Last: a new incarnation on this server. Clean entries and fill leases of earlier ones are nothing from here on.
//!
//! Each step may be cut short: the next open begins again, and finds less to do.

use std::collections::HashSet;

use tracing::field::Empty;
use writeway_core::cache::Bytes;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{At, BatchId, Found, Install, Installed, PAGE, Release};
use writeway_core::span::within;
use writeway_core::store::{FencedStore, Opened};

use crate::engine::Engine;
use crate::stats::Counters;

/// Why a restored change was set aside.
const AMBIGUOUS: &str = "restored by a cache server that is older than the batch log reaches: sql may have something newer";

/// After so many pages the flush lease is renewed.
const RENEW: u32 = 16;

/// What becomes of what a restored server holds.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    open: Option<(BatchId, Release)>,
    /// Of an open batch that SQL has and that was frozen further than is known here: all its keys. What is dirty of them, and not
    /// frozen, is in SQL.
    frozen_later: Vec<Bytes>,
    dirty: Fate,
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// These keys have something newer in SQL.
    Superseded(HashSet<Bytes>),
    /// Nobody can tell.
    Ambiguous,
}

/// Step 4, as a function of what the server holds and what SQL knows.
fn plan(found: &Found, opened: Opened) -> Plan {
    let own = found.batch;
    let reaches = opened.batch <= own || opened.log.first().is_some_and(|first| first.id.batch <= own + 1);
    let logged = opened.log.iter().find(|logged| found.open == Some(logged.id));
    let how = if logged.is_some() { Release::Drop } else { Release::Dissolve };
    let open = found.open.filter(|id| logged.is_some() || id.batch <= opened.batch).map(|id| (id, how));
    let frozen_later = logged.filter(|_| !found.whole).map_or_else(Vec::new, |logged| logged.keys.clone());
    let later = opened.log.into_iter().filter(|logged| logged.id.batch > own);
    let dirty = if reaches { Fate::Superseded(later.flat_map(|logged| logged.keys).collect()) } else { Fate::Ambiguous };
    Plan { open, frozen_later, dirty }
}

impl<S: FencedStore> Engine<S> {
    /// Opens the shard for this process: the epoch in which it may flush.
    ///
    /// # Errors
    /// `Fenced` if somebody else opened it at the same time, or the server changed meanwhile: look again.
    pub(crate) async fn open(&self, shard: usize) -> Result<At> {
        let span = tracing::debug_span!("open", shard = ?self.shards[shard], ended = Empty);
        within(span, self.open_anew(shard)).await
    }

    async fn open_anew(&self, shard: usize) -> Result<At> {
        let status = self.status(shard).await?;
        // What holds no change needs no judging, however long the log is.
        let log = (!status.installed && status.dirty + status.open > 0).then_some(status.over);
        let asked = self.in_sql(self.settings.flush_timeout * 2, self.reads.store.open(&self.shards[shard], log)).await;
        let opened = asked.unwrap_or_else(|| Err(Error::unavailable("sql did not open the shard in time")))?;
        let install = Install { identity: status.identity, epoch: opened.epoch, batch: opened.batch };
        let at = At { shard: self.shards[shard].clone(), epoch: opened.epoch };
        match self.ask(self.journal.install(&at.shard, &install)).await? {
            Installed::Ready => Ok(at),
            Installed::Refused => Err(Error::fenced()),
            // It held nothing at the look: the log was not read.
            Installed::Recover(found) if log.is_none() && (found.dirty > 0 || found.open.is_some()) => Err(Error::fenced()),
            Installed::Recover(found) => {
                let span = tracing::debug_span!("recovery", shard = ?at.shard, epoch = at.epoch, ended = Empty);
                within(span, self.recover(shard, &at, &install, &found, opened)).await?;
                Ok(at)
            }
        }
    }

    async fn recover(&self, shard: usize, at: &At, install: &Install, found: &Found, opened: Opened) -> Result<()> {
        // Whoever had it open before may have accepted what was never flushed.
        let is_new = opened.epoch == 1 && *found == Found::default();
        let plan = plan(found, opened);
        for page in plan.frozen_later.chunks(PAGE) {
            self.ask(self.journal.supersede(at, page, None)).await?;
        }
        if let Some((batch, how)) = plan.open {
            while self.ask(self.journal.release(at, batch, how)).await? > 0 {}
        }
        let (mut from, mut superseded, mut quarantined) = (0, 0, 0);
        for page in 1.. {
            // It may take longer than the flush lease is held: nobody should begin anew meanwhile.
            if page % RENEW == 0 && !self.lead(shard).await? {
                return Err(Error::fenced());
            }
            let keys = self.ask(self.journal.dirty(at, from)).await?;
            let (count, last) = (keys.len(), keys.len() < PAGE);
            let (drop, cause) = match &plan.dirty {
                Fate::Superseded(newer) => (keys.into_iter().filter(|key| newer.contains(key)).collect::<Vec<_>>(), None),
                Fate::Ambiguous => (keys, Some(AMBIGUOUS)),
            };
            if !drop.is_empty() {
                self.ask(self.journal.supersede(at, &drop, cause)).await?;
            }
            *if cause.is_some() { &mut quarantined } else { &mut superseded } += drop.len();
            from += (count - drop.len()) as u64;
            if last {
                break;
            }
        }
        self.ask(self.journal.resume(at, install)).await?;
        Counters::add(&self.counters.superseded, superseded);
        Counters::add(&self.counters.quarantined, quarantined);
        if !is_new {
            Counters::add(&self.counters.loss_possible, 1);
            tracing::warn!(
                name: "recovery.done", shard = ?at.shard, kept = from, superseded, quarantined,
                "redis is another server, or an older state: what had been accepted and not flushed may be lost"
            );
        }
        Ok(())
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
        plan(&Found { batch, open, whole: true, dirty: 1 }, opened)
    }

    fn superseded(keys: &str) -> Fate {
        Fate::Superseded(keys.split_whitespace().map(Into::into).collect())
    }

    #[test]
    fn a_server_that_lost_nothing_keeps_everything() {
        let open = Some(id(1, 3));
        assert_eq!(
            planned(3, open, opened(2, &[(id(1, 2), "a")])),
            Plan { open: None, frozen_later: Vec::new(), dirty: superseded("") }
        );
        assert_eq!(
            planned(2, None, opened(2, &[])),
            Plan { open: None, frozen_later: Vec::new(), dirty: superseded("") },
            "a log that was trimmed"
        );
    }

    #[test]
    fn a_batch_that_is_in_the_log_is_dropped_and_one_whose_number_was_used_again_is_not() {
        let log = [(id(1, 2), "a"), (id(1, 3), "b")];
        let dropped = Plan { open: Some((id(1, 3), Release::Drop)), frozen_later: Vec::new(), dirty: superseded("") };
        assert_eq!(planned(3, Some(id(1, 3)), opened(3, &log)), dropped);
        let dissolved = Plan { open: Some((id(2, 3), Release::Dissolve)), frozen_later: Vec::new(), dirty: superseded("") };
        assert_eq!(
            planned(3, Some(id(2, 3)), opened(3, &log)),
            dissolved,
            "invariant violated: a batch whose number was used again is dissolved"
        );
    }

    #[test]
    fn a_batch_that_was_frozen_further_in_what_was_lost_takes_its_other_keys_along() {
        let found = Found { batch: 3, open: Some(id(1, 3)), whole: false, dirty: 1 };
        let later = plan(&found, opened(3, &[(id(1, 3), "a b")])).frozen_later;
        assert_eq!(later, [b"a".to_vec(), b"b".to_vec()], "invariant violated: what sql has of a batch is not flushed again");
        assert_eq!(plan(&Found { whole: true, ..found }, opened(3, &[(id(1, 3), "a b")])).frozen_later, Vec::<Bytes>::new());
        assert_eq!(plan(&found, opened(2, &[(id(1, 2), "a b")])).frozen_later, Vec::<Bytes>::new(), "it is not in sql");
    }

    #[test]
    fn keys_of_later_batches_are_superseded() {
        let log = [(id(1, 2), "a"), (id(1, 3), "b c"), (id(1, 4), "c d")];
        assert_eq!(planned(2, None, opened(4, &log)).dirty, superseded("b c d"));
        assert_eq!(planned(0, None, opened(1, &[(id(1, 1), "a")])).dirty, superseded("a"), "an empty server");
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
        assert_eq!(
            dissolved,
            Plan { open: Some((id(1, 1), Release::Dissolve)), frozen_later: Vec::new(), dirty: Fate::Ambiguous }
        );
    }
}
