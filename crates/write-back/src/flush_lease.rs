//! Who flushes a shard: as a rule its owner, see `members`. It saves work and gives no safety: that comes from the fence in SQL alone.

use std::time::Duration;

use writeway_core::error::Result;
use writeway_core::store::FencedStore;

use crate::engine::Engine;

impl<S: FencedStore> Engine<S> {
    /// Takes or keeps the shard's flush lease. False if another process has it.
    pub(crate) async fn lead(&self, shard: usize) -> Result<bool> {
        self.ask(self.journal.lead(&self.shards[shard], self.holder, self.settings.hold())).await
    }

    /// Gives it up, so that another process need not wait for its end.
    pub(crate) async fn resign(&self, shard: usize) {
        // What is not given up lapses.
        let _ = self.ask(self.journal.lead(&self.shards[shard], self.holder, Duration::ZERO)).await;
    }
}
