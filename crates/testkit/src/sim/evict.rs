//! The cache's eviction as an adversary: any key that has an expiry may go at any moment, no other.

use std::sync::{Arc, Mutex};

use writeway_core::cache::Bytes;

use super::cache_state::{CacheState, key_text, slot_text};
use super::locked;
use crate::explorer::Adversary;

pub(super) struct Evict(pub(super) Arc<Mutex<CacheState>>);

fn victims(state: &CacheState, now: u64) -> impl Iterator<Item = &Bytes> {
    let may_go = move |expires: Option<u64>| expires.map_or(state.evicts_barriers, |at| at > now);
    state.slots.iter().filter(move |(_, slot)| may_go(slot.expires)).map(|(key, _)| key)
}

impl Adversary for Evict {
    fn ways(&self, now: u64) -> usize {
        victims(&locked(&self.0), now).count()
    }

    fn act(&self, way: usize, now: u64) -> String {
        let mut state = locked(&self.0);
        let victim = victims(&state, now).nth(way).cloned();
        let gone = victim.and_then(|key| state.slots.remove_entry(&key));
        gone.map_or_else(String::new, |(key, slot)| format!("the cache evicts {}: {}", key_text(&key), slot_text(&slot)))
    }
}
