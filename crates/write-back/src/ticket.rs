//! What became of a write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_core::error::{Error, Kind, Result};
use writeway_core::journal::{PAGE, Settled, Version};
use writeway_core::retry::backoff;
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;

/// An accepted write, on its way to SQL.
#[must_use = "a ticket that nobody waits for is fine: drop it by name"]
pub struct Ticket<S: FencedStore> {
    engine: Arc<Engine<S>>,
    receipt: Receipt,
}

/// A [`Ticket`] without its handle, to be kept or sent to another process: give it to
/// [`durable`](crate::WriteBack::durable) there. It holds the keys of the rows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    namespace: String,
    parts: Vec<Part>,
}

/// What one accept did to one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) shard: u16,
    pub(crate) inc: u64,
    pub(crate) changes: Vec<(Vec<u8>, Version)>,
}

impl<S: FencedStore> Ticket<S> {
    pub(crate) fn new(engine: Arc<Engine<S>>, parts: Vec<Part>) -> Self {
        let namespace = engine.name.as_ref().into();
        Ticket { engine, receipt: Receipt { namespace, parts } }
    }

    /// Ends when the changes, or later ones of the same rows, are committed in SQL. Waits no longer than `max_delay`, two flushes
    /// and the takeover from a process that died may take; it can be asked again.
    ///
    /// # Errors
    /// `Unavailable` and `NotApplied` if they are not in SQL yet. `Rejected` if one was set aside as a dead letter. `Unavailable`
    /// and `Unknown` if Redis was restored or replaced meanwhile and does not know them any more.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn durable(&self) -> Result<()> {
        self.engine.durable(&self.receipt).await
    }

    /// To be kept, or sent to another process.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        self.receipt.clone()
    }
}

impl<S: FencedStore> Engine<S> {
    pub(crate) async fn durable(&self, receipt: &Receipt) -> Result<()> {
        let during = |e: Error| self.told(e, "durable");
        if *receipt.namespace != *self.name {
            return Err(during(Error::invalid("the receipt is of another namespace")));
        }
        let deadline = self.runtime().now() + self.settings.patience();
        for part in &receipt.parts {
            let shard = usize::from(part.shard);
            if shard >= self.shards.len() {
                return Err(during(Error::invalid("the receipt is of a shard that does not exist")));
            }
            for page in part.changes.chunks(PAGE) {
                self.settle(shard, part.inc, page, deadline).await.map_err(during)?;
            }
        }
        Ok(())
    }

    async fn settle(&self, shard: usize, inc: u64, page: &[(Vec<u8>, Version)], deadline: Duration) -> Result<()> {
        let mut flushed = self.flushed.subscribe();
        for attempt in 0.. {
            let why = match self.ask(self.journal.settled(&self.shards[shard], inc, page)).await {
                Ok(settled) => match settled.into_iter().fold(Settled::Durable, worst) {
                    Settled::Durable => return Ok(()),
                    Settled::Pending => Error::unavailable("not in sql yet"),
                    Settled::Dead => return Err(Error::rejected("sql refused the change, which was set aside as a dead letter")),
                    Settled::Unknown => {
                        return Err(Error::unknown("the journal was restored or replaced and does not hold the change any more"));
                    }
                },
                Err(e) if matches!(e.kind(), Kind::Fenced | Kind::Unavailable | Kind::Overloaded) => e,
                Err(e) => return Err(e),
            };
            let pause = backoff(attempt, self.settings.tick() / 8, self.runtime().random());
            let next = self.runtime().now() + pause.min(self.settings.tick());
            if next >= deadline {
                return Err(why);
            }
            // A batch of this process, or a look in vain at those of others.
            until(self.runtime(), next, flushed.changed()).await;
        }
        unreachable!("the deadline comes")
    }
}

/// What is true of several changes together.
fn worst(a: Settled, b: Settled) -> Settled {
    let rank = |settled: Settled| match settled {
        Settled::Durable => 0,
        Settled::Pending => 1,
        Settled::Unknown => 2,
        Settled::Dead => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// Without the keys.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: usize = self.parts.iter().map(|part| part.changes.len()).sum();
        f.debug_struct("Receipt").field("namespace", &self.namespace).field("changes", &changes).finish()
    }
}

impl<S: FencedStore> fmt::Debug for Ticket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.receipt.fmt(f)
    }
}
