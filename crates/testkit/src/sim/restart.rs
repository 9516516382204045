//! What the journal's server may do on its own: evict what is clean, and restart, with or without its last changes.

use std::sync::{Arc, Mutex};

use writeway_core::cache::Bytes;
use writeway_core::entry::held::Held;

use super::journal::{JournalState, Loss};
use super::locked;
use crate::explorer::{Adversary, World};

pub(super) struct Evict(pub(super) Arc<Mutex<JournalState>>);

fn victims(state: &JournalState) -> Vec<(Bytes, Bytes)> {
    let clean = |held: &Held| matches!(held, Held::Clean { .. });
    let of = |(stem, shard): (&Bytes, &writeway_core::entry::shard::ShardState)| {
        let keys = shard.entries.iter().filter(|(_, held)| clean(held)).map(|(key, _)| (stem.clone(), key.clone()));
        keys.collect::<Vec<_>>()
    };
    state.shards.iter().flat_map(of).collect()
}

impl Adversary for Evict {
    fn ways(&self, _: u64) -> usize {
        victims(&locked(&self.0)).len()
    }

    fn act(&self, way: usize, _: u64) -> String {
        let mut state = locked(&self.0);
        let Some((stem, key)) = victims(&state).into_iter().nth(way) else { return String::new() };
        if let Some(shard) = state.shards.get_mut(&stem) {
            shard.entries.remove(&key);
        }
        format!("the journal's server evicts {}", String::from_utf8_lossy(&key))
    }
}

/// How many of the last changes may be missing.
const MISSING: usize = 6;

pub(super) struct Restart {
    pub(super) world: World,
    pub(super) journal: Arc<Mutex<JournalState>>,
}

impl Adversary for Restart {
    fn ways(&self, _: u64) -> usize {
        // All there, empty, some missing.
        let state = locked(&self.journal);
        let (past, confirmed) = (state.past.len(), state.confirmed);
        1 + usize::from(confirmed == 0) + past.saturating_sub(confirmed.max(1)).min(MISSING)
    }

    fn act(&self, way: usize, _: u64) -> String {
        self.world.count(|counts| counts.restarts += 1);
        let at = self.world.tick();
        let mut state = locked(&self.journal);
        state.starts += 1;
        state.current = state.starts;
        if way == 0 {
            return "the journal's server restarts with all it had".to_owned();
        }
        let missing = way - usize::from(state.confirmed == 0);
        let kept = if missing == 0 { 0 } else { state.past.len() - missing };
        state.past.truncate(kept);
        state.shards = state.past.last().cloned().unwrap_or_default();
        state.lost = Some(Loss { at, kept: unflushed(&state) });
        if missing == 0 {
            return "the journal's server restarts empty".to_owned();
        }
        format!("the journal's server restarts without its last {missing} changes")
    }
}

pub(super) struct Alternate {
    pub(super) world: World,
    pub(super) journal: Arc<Mutex<JournalState>>,
}

impl Adversary for Alternate {
    fn ways(&self, _: u64) -> usize {
        let state = locked(&self.journal);
        if state.other.is_some() { 1 } else { 1 + state.past.len().saturating_sub(1).min(MISSING) }
    }

    fn act(&self, way: usize, _: u64) -> String {
        self.world.count(|counts| counts.restarts += 1);
        let at = self.world.tick();
        let mut state = locked(&self.journal);
        let in_use = (state.current, state.shards.clone());
        let told = if let Some((identity, shards)) = state.other.take() {
            (state.current, state.shards) = (identity, shards);
            "the journal's former server is in use again".to_owned()
        } else {
            state.starts += 1;
            state.current = state.starts;
            let kept = state.past.len().saturating_sub(way + 1);
            state.shards = state.past.get(kept).cloned().unwrap_or_default();
            format!("a copy of the journal's server is in use, without its last {way} changes")
        };
        state.other = Some(in_use);
        state.lost = Some(Loss { at, kept: unflushed(&state) });
        told
    }
}

/// The changes that lie there, each key's last one.
fn unflushed(state: &JournalState) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    for shard in state.shards.values() {
        found.extend(shard.frozen.iter().map(|(key, frozen)| (key.clone(), frozen.change.value.clone())));
        found.extend(shard.entries.iter().filter_map(|(key, held)| match held {
            Held::Dirty(change) => Some((key.clone(), change.value.clone())),
            Held::Clean { .. } | Held::Foreign(_) => None,
        }));
    }
    found
}
