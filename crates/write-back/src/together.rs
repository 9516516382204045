//! Increments of one process that meet at a shard: accepted together.
//!
//! **Invariant.** As of every accept: it is sent once, and after its caller was answered nothing of it lands.
//!
//! 1. A call queues its increments and waits for the shard's baton, or for whoever takes them along.
//! 2. Who has the baton takes what is queued by then, adds up what is of one key, and sends it as one accept, which the server refuses
//!    past the earliest deadline among them. Where others are along, a task does it: a call that is dropped must not take them with it.
//!    What such a call left is not sent; a call with little time left goes alone, and does not take the others' time.
//! 3. Accepted: each has the version of its key. Not answered: each is unknown. Anything else, and nothing was accepted: each goes
//!    alone, as if it had met nobody, so that one that does not fit costs only itself.
//! 4. A call whose time is over takes its increments out of the queue. If they are not there any more they were sent: unknown.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};
use writeway_core::entry::increments::combine;
use writeway_core::error::{Error, Outcome, Result};
use writeway_core::journal::{Accept, Accepted, PAGE, Version};
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;
use crate::stats::Counters;
use crate::ticket::Part;

/// Of one shard.
#[derive(Default)]
pub(crate) struct Queue {
    /// Who has it may send.
    baton: Arc<tokio::sync::Mutex<()>>,
    waiting: Mutex<Vec<Waiting>>,
    /// Calls so far.
    calls: AtomicU64,
}

/// Increments that are not sent yet.
struct Waiting {
    call: u64,
    change: Accept,
    deadline: Duration,
    told: oneshot::Sender<Told>,
}

/// What became of them.
enum Told {
    Accepted {
        inc: u64,
        version: Version,
    },
    Unknown(Error),
    /// Nothing yet.
    Alone,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing panics under it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first page.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(PAGE);
        waiting.drain(..count).collect()
    }

    /// Whether the increments of a call were not sent, and never will be.
    fn withdraw(&self, call: u64) -> bool {
        let mut waiting = self.waiting();
        let place = waiting.iter().position(|waiting| waiting.call == call);
        place.map(|place| waiting.remove(place)).is_some()
    }
}

impl<S: FencedStore> Engine<S> {
    /// Accepts increments of one key, with those of others that are there.
    pub(crate) async fn accept_together(self: &Arc<Self>, shard: usize, change: Accept, deadline: Duration) -> Result<Vec<Part>> {
        let (queue, key) = (&self.queues[shard], change.key.clone());
        let (told, mut answer) = oneshot::channel();
        let call = queue.calls.fetch_add(1, Relaxed);
        queue.waiting().push(Waiting { call, change: change.clone(), deadline, told });
        // More than a page may be queued: then it is sent by a later turn.
        let told = async {
            loop {
                let baton = tokio::select! {
                    biased;
                    told = &mut answer => return told,
                    baton = queue.baton.clone().lock_owned() => baton,
                };
                self.send_queued(shard, baton).await;
            }
        };
        match until(self.runtime(), deadline, told).await {
            Some(Ok(Told::Accepted { inc, version })) => {
                let shard = self.shards[shard].number;
                Ok(vec![Part { shard, inc, changes: vec![(key, version)] }])
            }
            Some(Ok(Told::Alone)) => self.accept(shard, std::slice::from_ref(&change), deadline).await,
            Some(Ok(Told::Unknown(e))) => Err(e),
            None if queue.withdraw(call) => Err(Error::unavailable("the accept would have come too late")),
            Some(Err(_)) | None => Err(Error::unknown("no answer to the accept by the call's deadline")),
        }
    }

    /// Sends a page of what is queued.
    async fn send_queued(self: &Arc<Self>, shard: usize, baton: OwnedMutexGuard<()>) {
        let group = self.queues[shard].take();
        if group.len() < 2 {
            return self.send(shard, group).await;
        }
        let engine = self.clone();
        let sent = async move {
            engine.send(shard, group).await;
            drop(baton);
        };
        self.runtime().spawn("accept", Box::pin(sent));
    }

    /// Steps 2 and 3.
    async fn send(&self, shard: usize, group: Vec<Waiting>) {
        let soon = self.runtime().now() + self.reads.call_timeout / 8;
        let (mut page, mut members) = (Vec::<Accept>::new(), Vec::new());
        let (mut places, mut not_after) = (HashMap::new(), Duration::MAX);
        for Waiting { change, deadline, told, .. } in group {
            if told.is_closed() {
                continue;
            }
            if deadline < soon {
                let _ = told.send(Told::Alone);
                continue;
            }
            let place = *places.entry(change.key.clone()).or_insert(page.len());
            match page.get_mut(place) {
                None => page.push(change),
                Some(before) => match combine(&before.value, &change.value) {
                    Some(sum) => before.value = sum,
                    None => {
                        // Its caller may be gone.
                        let _ = told.send(Told::Alone);
                        continue;
                    }
                },
            }
            not_after = not_after.min(deadline);
            members.push((place, told));
        }
        if page.is_empty() {
            return;
        }
        let accepted = self.journal.accept(&self.shards[shard], &page, self.bounds, not_after);
        let accepted = until(self.runtime(), not_after, accepted).await;
        if let Some(Ok(Accepted::As { dirty, dirty_bytes, .. })) = accepted {
            Counters::add(&self.counters.accepted, members.len());
            self.wake_under_pressure(dirty, dirty_bytes);
        }
        for (place, told) in members {
            let _ = told.send(match &accepted {
                Some(Ok(Accepted::As { versions, inc, .. })) => match versions.get(place) {
                    Some(version) => Told::Accepted { inc: *inc, version: *version },
                    None => Told::Unknown(Error::unknown("the journal tells no version of a change")),
                },
                Some(Err(e)) if e.outcome() == Outcome::Unknown => Told::Unknown(e.clone()),
                None => Told::Unknown(Error::unknown("no answer to the accept by the call's deadline")),
                Some(Ok(_) | Err(_)) => Told::Alone,
            });
        }
    }
}
