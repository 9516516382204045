//! A journal whose calls follow a script.

use std::sync::Arc;
use std::time::Duration;

use writeway_back::MemoryJournal;
use writeway_back::error::{Error, Result};
use writeway_core::cache::{Ask, BoxFuture, Bytes, Declaration, Entries, Fill, Hold, Id, Lease, Lookup};
use writeway_core::journal::{
    Accept, Accepted, Ack, At, BatchId, Bounds, Claimed, Confirm, Counted, DeadLetter, Freeze, Install, Installed, Journal,
    Level, Park, Redriven, Release, Settled, Shard, Split, Status, Version,
};
use writeway_testkit::double::Script;

/// The journal in the process, with a [`Script`] in front of `status` and `accept`.
pub(crate) struct ScriptedJournal {
    pub(crate) journal: MemoryJournal,
    pub(crate) script: Script,
}

impl From<ScriptedJournal> for Arc<dyn Journal> {
    fn from(journal: ScriptedJournal) -> Self {
        Arc::new(journal)
    }
}

/// Calls that no script holds up.
macro_rules! pass {
    ($(fn $name:ident($($arg:ident: $t:ty),*) -> $answer:ty;)+) => { $(
        fn $name<'a>(&'a self, $($arg: $t),*) -> BoxFuture<'a, Result<$answer>> {
            self.journal.$name($($arg),*)
        }
    )+ };
}

impl Entries for ScriptedJournal {
    pass! {
        fn declare(declaration: &'a Declaration) -> ();
        fn get(keys: &'a [Bytes]) -> Vec<Lookup>;
        fn lease(asks: &'a [Ask], hold: Hold) -> Vec<Lease>;
        fn fill(fills: &'a [Fill]) -> ();
        fn invalidate(keys: &'a [Bytes]) -> ();
        fn scan(stem: &'a [u8], cursor: u64) -> (u64, Vec<Bytes>);
    }
}

// The journal in the process acts when it is called, not when its future is polled: hence the blocks around the calls.
impl Journal for ScriptedJournal {
    fn status<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Status>> {
        Box::pin(self.script.play("status", 1, async move { self.journal.status(shard).await }))
    }

    fn accept<'a>(
        &'a self,
        shard: &'a Shard,
        changes: &'a [Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> BoxFuture<'a, Result<Accepted>> {
        let accept = async move { self.journal.accept(shard, changes, bounds, not_after).await };
        Box::pin(self.script.play("accept", changes.len(), accept))
    }

    /// In place of a server that has levels.
    fn confirm<'a>(&'a self, _: Level, of: &'a [Confirm], _: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.script.play("confirm", of.len(), async { Ok(()) }))
    }

    fn unmet<'a>(&'a self, _: &'a Declaration, _: Level) -> BoxFuture<'a, Result<Vec<Error>>> {
        let unmet = async { Ok(Vec::new()) };
        Box::pin(async move { self.script.play("unmet", 1, unmet).await.or_else(|e| Ok(vec![e])) })
    }

    pass! {
        fn settled(shard: &'a Shard, inc: u64, changes: &'a [(Bytes, Version)]) -> Vec<Settled>;
        fn count(asks: &'a [(Shard, Vec<Bytes>)]) -> Vec<Counted>;
        fn lead(shard: &'a Shard, holder: Id, hold: Duration) -> bool;
        fn present(namespace: &'a str, holder: Id, hold: Duration) -> Vec<Id>;
        fn install(shard: &'a Shard, install: &'a Install) -> Installed;
        fn claim(at: &'a At, from: u64, freeze: Freeze) -> Option<Claimed>;
        fn acknowledge(at: &'a At, batch: BatchId, acks: &'a [Ack]) -> u64;
        fn park(at: &'a At, batch: BatchId, park: Park<'a>) -> u64;
        fn split(at: &'a At, batch: BatchId, keep: u64) -> Option<Split>;
        fn ended(at: &'a At, batch: BatchId) -> ();
        fn delay(at: &'a At, batch: BatchId, pause: Duration, counts: bool) -> bool;
        fn dirty(at: &'a At, from: u64) -> Vec<Bytes>;
        fn supersede(at: &'a At, keys: &'a [Bytes], cause: Option<&'a str>) -> ();
        fn release(at: &'a At, batch: BatchId, how: Release<'a>) -> u64;
        fn resume(at: &'a At, install: &'a Install) -> ();
        fn dead_letters(shard: &'a Shard, after: Option<&'a (Version, Bytes)>) -> Vec<DeadLetter>;
        fn redrive(shard: &'a Shard, letters: &'a [(Bytes, Version)], bounds: Bounds) -> Vec<Redriven>;
        fn discard(shard: &'a Shard, letters: &'a [(Bytes, Version)]) -> u64;
    }
}
