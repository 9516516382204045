//! Writes: accepted by Redis, brought to SQL later.
//!
//! 1. The row is encoded and checked: what could not be flushed is refused before any I/O.
//! 2. One script accepts it: within the bounds it becomes the key's dirty entry, with the next version of its shard.
//!    At a level above `Memory`, all that it accepted is then confirmed at that level, or its outcome is unknown.
//! 3. The flusher of whichever process holds the shard's flush lease freezes it into a batch, copies and all.
//! 4. One transaction brings the batch to SQL, together with its number.
//! 5. The dirty entry becomes a clean one, unless a newer change has taken its place.
//!
//! Steps 3 to 5 are in `flush`; what each crash leaves is there too.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::field::Empty;
use writeway_core::change::Changes;
use writeway_core::entry::increments::is_increments;
use writeway_core::error::{Error, Outcome, Result};
use writeway_core::journal::Accept;
use writeway_core::span::within;
use writeway_core::store::FencedStore;

use crate::handle::WriteBack;
use crate::ticket::Ticket;

impl<S: FencedStore> WriteBack<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Inserts the row or replaces it. `Ok` means accepted by Redis; [`Ticket::durable`] waits for SQL.
    ///
    /// # Errors
    /// [`outcome`](Error::outcome) says whether it is accepted. `Invalid` if the row does not survive serialising or is longer
    /// than `max_value_bytes`: found before any I/O. `Overloaded` if a bound is reached: at once, or by the call's deadline.
    /// `Unavailable` with `Unknown` if Redis did not answer: it may be accepted, and nothing of it lands later; or if it accepted and
    /// did not confirm at the accept level in time: it is on its way to SQL all the same. `Unavailable` with `NotApplied` if it was
    /// not asked, while its contents are compared with SQL, or while its settings are wrong and
    /// [`on_drift`](crate::WriteBackBuilder::on_drift) refuses. `Rejected` if the key belongs to another
    /// strategy or a newer release, `Invalid` if it holds another kind of data or cannot be encoded. `Closed` after
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Cancel safety
    /// Dropped before its end, it may or may not be accepted.
    pub async fn put(&self, row: S::Row) -> Result<Ticket<S>> {
        self.accept("put", Changes::new().put(row)).await
    }

    /// Removes the row, if there is one. `Ok` means accepted by Redis.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: &S::Key) -> Result<Ticket<S>> {
        self.accept("delete", Changes::new().delete(key.clone())).await
    }

    /// Accepts several changes; of several changes of one key the last counts. They are accepted shard by shard and flushed
    /// batch by batch: not atomically.
    ///
    /// # Errors
    /// As [`put`](Self::put); with `Unknown` also where some of the changes are accepted and others are not.
    ///
    /// # Cancel safety
    /// Dropped before its end, any of them may or may not be accepted.
    pub async fn write(&self, changes: Changes<S::Key, S::Row>) -> Result<Ticket<S>> {
        self.accept("write", changes).await
    }

    pub(crate) async fn accept(&self, attempt: &'static str, changes: Changes<S::Key, S::Row>) -> Result<Ticket<S>> {
        let engine = &self.engine;
        let _pass = engine.gate.enter().map_err(|e| engine.told(e, attempt))?;
        let started = engine.runtime().now();
        let span = tracing::debug_span!("write", namespace = &*engine.name, attempt, changes = changes.len(), ended = Empty);
        let accepted = within(span, self.accept_by_shard(attempt, changes)).await;
        engine.counters.writes.answered(engine.runtime(), started, &accepted);
        accepted
    }

    async fn accept_by_shard(&self, attempt: &'static str, changes: Changes<S::Key, S::Row>) -> Result<Ticket<S>> {
        let engine = &self.engine;
        let told = |e: Error| engine.told(e, attempt);
        engine.watch.check(engine.settings.on_drift).map_err(told)?;
        let reads = &engine.reads;
        let schema = reads.store.schema();
        let is_single = changes.len() == 1;
        let mut shards = BTreeMap::<usize, Vec<Accept>>::new();
        for (key, change) in changes.coalesce(|row| reads.store.key(row)) {
            let (shard, at) = engine.keys.place(&key).map_err(told)?;
            let is_there = |row: &S::Row| engine.keys.encode(&reads.store.key(row)).is_ok_and(|its| its == at);
            let value = engine.form.write(&at, &change, &is_there).map_err(told)?;
            shards.entry(shard).or_default().push(Accept { key: at, schema, value });
        }
        let (deadline, mut parts) = (engine.deadline(), Vec::new());
        for (shard, mut changes) in shards {
            let accepted = match changes.pop() {
                // A call of its own, of which there may be others at the same time.
                Some(change) if is_single && is_increments(&change.value) => {
                    engine.accept_together(shard, change, deadline).await
                }
                last => {
                    changes.extend(last);
                    engine.accept(shard, &changes, deadline).await
                }
            };
            match accepted {
                Ok(accepted) => parts.extend(accepted),
                Err(e) if parts.is_empty() => return Err(told(e)),
                Err(e) => return Err(told(e).with_outcome(Outcome::Unknown)),
            }
        }
        engine.confirm(&parts, deadline).await.map_err(told)?;
        Ok(Ticket::new(engine.clone(), parts))
    }
}
