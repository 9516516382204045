//! Row locks that really wait. Nobody is served in order: whose turn it is after a release is the explorer's choice.

use std::collections::BTreeMap;
use std::task::Waker;

use super::history::Place;

#[derive(Default)]
pub(super) struct Locks {
    held: BTreeMap<Place, u64>,
    waiting: Vec<Waiting>,
}

struct Waiting {
    tx: u64,
    place: Place,
    waker: Waker,
}

impl Locks {
    /// Takes a row's lock, or waits for it.
    pub(super) fn take(&mut self, tx: u64, place: Place, waker: &Waker) -> bool {
        self.forget(tx);
        let holder = *self.held.entry(place).or_insert(tx);
        if holder != tx {
            self.waiting.push(Waiting { tx, place, waker: waker.clone() });
        }
        holder == tx
    }

    /// It waits no longer.
    pub(super) fn forget(&mut self, tx: u64) {
        self.waiting.retain(|waiting| waiting.tx != tx);
    }

    /// Ends a transaction's locks and waits; all who waited for them are to be woken.
    pub(super) fn release(&mut self, tx: u64) -> Vec<Waker> {
        self.waiting.retain(|waiting| waiting.tx != tx);
        let freed = self.held.iter().filter(|(_, holder)| **holder == tx).map(|(place, _)| *place).collect::<Vec<_>>();
        self.held.retain(|_, holder| *holder != tx);
        self.waiting.extract_if(.., |waiting| freed.contains(&waiting.place)).map(|waiting| waiting.waker).collect()
    }
}
