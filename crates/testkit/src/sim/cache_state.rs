//! What the simulated Redis holds, and what a trace says of it.

use std::collections::{BTreeMap, BTreeSet};

use writeway_core::cache::{Bytes, Id};
use writeway_core::entry::VALUE_HEADER;
use writeway_core::entry::state::{Slot, State};

/// The keys, and what the checks want to know of those who wrote them.
#[derive(Default)]
pub(super) struct CacheState {
    pub(super) slots: BTreeMap<Bytes, Slot>,
    pub(super) modes: BTreeMap<String, &'static str>,
    /// An eviction policy that takes barriers too.
    pub(super) evicts_barriers: bool,
    pub(super) placed: Vec<Placed>,
    /// The finishes that were sent and have not got through, by token and key: those barriers lapse.
    pub(super) unfinished: BTreeSet<(Id, Bytes)>,
    /// Calls that failed.
    pub(super) failures: u64,
}

/// A barrier that was placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) token: Id,
    /// For which operation.
    pub(crate) op: Option<u64>,
    /// When, in the order of all that happened.
    pub(crate) at: u64,
}

impl CacheState {
    /// One step of one key's state machine.
    pub(super) fn step<T>(&mut self, key: &[u8], now: u64, step: impl FnOnce(&mut Slot) -> T) -> T {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.expire(now);
            let answer = step(slot);
            if slot.state == State::Absent {
                self.slots.remove(key);
            }
            return answer;
        }
        let mut slot = Slot::default();
        let answer = step(&mut slot);
        if slot.state != State::Absent {
            self.slots.insert(key.to_vec(), slot);
        }
        answer
    }
}

/// A key for a person to read.
pub(super) fn key_text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// An entry for a person to read.
pub(super) fn entry_text(entry: &[u8]) -> String {
    match entry.get(VALUE_HEADER..) {
        Some([]) => "(no row)".to_owned(),
        Some(payload) => String::from_utf8_lossy(payload).into_owned(),
        None => format!("{entry:02x?}"),
    }
}

/// A slot for a person to read.
pub(super) fn slot_text(slot: &Slot) -> String {
    match &slot.state {
        State::Absent => "nothing".to_owned(),
        State::Value(entry) => format!("value {}", entry_text(entry)),
        State::Leased { id, .. } => format!("lease {}", id_text(*id)),
        State::Barrier { tokens, poisoned } => {
            let tokens = tokens.iter().map(|&(token, until)| format!("{} until {until}", id_text(token)));
            let tokens = tokens.collect::<Vec<_>>().join(", ");
            format!("barrier {tokens}{}", if *poisoned { " (poisoned)" } else { "" })
        }
        State::Foreign(bytes) => format!("foreign {bytes:02x?}"),
    }
}

/// Ids count up in a simulated world: their number is enough.
pub(super) fn id_text(id: Id) -> String {
    format!("#{}", u128::from_be_bytes(id.0))
}
