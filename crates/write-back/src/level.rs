//! The accept level: what was accepted, or frozen, is confirmed before anybody relies on it.
//!
//! **Invariant.** `Ok` of a write at a level means that all its changes were confirmed at that level after they were accepted. What
//! was accepted and not confirmed is `Unknown`, stays accepted, and is not accepted again behind the caller's back.

use std::time::Duration;

use writeway_core::error::{Error, Outcome, Result};
use writeway_core::journal::{At, Confirm, Level};
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;
use crate::stats::Counters;
use crate::ticket::Part;

impl<S: FencedStore> Engine<S> {
    /// All parts of a write together.
    pub(crate) async fn confirm(&self, parts: &[Part], deadline: Duration) -> Result<()> {
        if self.settings.level == Level::Memory {
            return Ok(());
        }
        let confirm = |part: &Part| Confirm { shard: self.shards[usize::from(part.shard)].clone(), inc: Some(part.inc) };
        let of: Vec<Confirm> = parts.iter().map(confirm).collect();
        let confirmed = self.at_level(&of, deadline).await;
        if confirmed.is_err() {
            Counters::add(&self.counters.unconfirmed, parts.iter().map(|part| part.changes.len()).sum());
        }
        confirmed.map_err(|e| e.with_outcome(Outcome::Unknown))
    }

    /// Before a batch is flushed, if that was asked for: then no state of the server that the level leaves possible lacks what SQL
    /// has.
    pub(crate) async fn confirm_claim(&self, at: &At) -> Result<()> {
        if !self.settings.durable_claims {
            return Ok(());
        }
        // In whatever incarnation: if it is not the one of the claim, the fence refuses the flush.
        let of = Confirm { shard: at.shard.clone(), inc: None };
        self.at_level(&[of], self.deadline()).await
    }

    /// A level that is not reached now, when the handle is made, would leave every write unknown.
    pub(crate) async fn try_level(&self) -> Result<()> {
        if self.settings.level == Level::Memory {
            return Ok(());
        }
        let of = Confirm { shard: self.shards[0].clone(), inc: None };
        let tried = self.at_level(&[of], self.deadline()).await;
        let not_now = "the accept level is not reached within the call_timeout";
        tried.map_err(|e| {
            let e = if e.outcome() == Outcome::Unknown { Error::unavailable(not_now).with_source(e) } else { e };
            self.told(e, "build")
        })
    }

    async fn at_level(&self, of: &[Confirm], deadline: Duration) -> Result<()> {
        let confirmed = until(self.runtime(), deadline, self.journal.confirm(self.settings.level, of, deadline)).await;
        confirmed.unwrap_or_else(|| Err(Error::unknown("accepted, but not confirmed at its level by the call's deadline")))
    }
}
