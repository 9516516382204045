//! Counters as they stand: what is cached of SQL, the open batch, and what was added since, in one look.
//!
//! **Invariant.** What a look says counts every acknowledged increment once. A row of SQL that was read with the fence's batch *b*, in
//! one snapshot, has the increments of all batches up to *b* and none of a later one. So it is a base to which those of the open
//! batch are added if its number is greater than *b*, and those that are in no batch; but it is too old for a look that comes
//! after a later batch was acknowledged, for then that one's are nowhere.

use super::ShardState;
use crate::cache::{Bytes, Lookup};
use crate::entry::held::{Held, is_dirty};
use crate::entry::increments::base_of;
use crate::error::Result;
use crate::journal::{Count, Counted, Identity};

impl ShardState {
    /// `Journal::count`, of one shard.
    ///
    /// # Errors
    /// `Fenced`
    pub fn count(&mut self, identity: &Identity, keys: &[Bytes], now: u64) -> Result<Counted> {
        let meta = self.ready(identity)?;
        let (inc, acked) = (meta.inc, meta.acked);
        let open = meta.open.map_or(0, |open| open.id.batch);
        let counts = keys.iter().map(|key| {
            let base = self.step(&base_of(key), now, |held| Held::get(held.as_ref(), inc));
            let pending = match self.entries.get(key) {
                Some(Held::Dirty(dirty)) => Some(dirty.value.clone()),
                // Increments that only a newer release can read.
                Some(Held::Foreign(bytes)) if is_dirty(bytes) => Some(bytes.clone()),
                _ => None,
            };
            Count {
                base: if let Lookup::Hit(base) = base { Some(base) } else { None },
                frozen: self.frozen.get(key).map(|frozen| frozen.change.value.clone()),
                pending,
            }
        });
        let counts = counts.collect();
        Ok(Counted { acked, open, counts })
    }
}
