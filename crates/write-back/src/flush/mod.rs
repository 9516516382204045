//! The flusher: one task per handle, which looks at every shard, flushes those that are due and nobody else flushes, and sleeps.
//!
//! What it does for one shard is a task of its own: a panic in the table's code ends that task, not the flusher. A few shards have
//! their turn at once, so that one is claimed and another acknowledged while a third is in SQL; in SQL there is one at a time,
//! over one connection. What fails is tried again after a pause that grows; the other shards do not wait for it.

mod apply;
mod plan;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;
use turn::{Desk, Turn};

/// So many shards have their turn at once.
const TURNS: usize = 4;

/// Runs until `stopped` says so, or is gone with the last handle.
pub(crate) async fn run<S: FencedStore>(engine: Arc<Engine<S>>, mut stopped: watch::Receiver<bool>)
where
    S::Key: Serialize + DeserializeOwned,
{
    let mut desks: Vec<Option<Desk>> = engine.shards.iter().map(|_| Some(Desk::default())).collect();
    let (report, mut reports) = mpsc::unbounded_channel();
    let mut running = 0;
    let mut stopping = false;
    loop {
        let now = engine.runtime().now();
        for (shard, place) in desks.iter_mut().enumerate() {
            if stopping || running == TURNS {
                break;
            }
            if let Some(desk) = place.take_if(|desk| desk.look <= now) {
                running += 1;
                Turn::start(&engine, shard, desk, &report);
            }
        }
        if stopping && running == 0 {
            break;
        }
        let next = desks.iter().flatten().map(|desk| desk.look).min().filter(|_| running < TURNS && !stopping);
        let event = async {
            tokio::select! {
                biased;
                ended = reports.recv() => Event::Ended(ended),
                _ = stopped.wait_for(|stop| *stop), if !stopping => Event::Stop,
                () = engine.woken(), if !stopping => Event::Woken,
            }
        };
        match until(engine.runtime(), next.unwrap_or(Duration::MAX), event).await {
            Some(Event::Ended(Some(turn::Ended { shard, desk }))) => {
                running -= 1;
                desks[shard] = Some(desk);
            }
            Some(Event::Stop) => stopping = true,
            Some(Event::Woken) => desks.iter_mut().flatten().for_each(Desk::wake),
            // The sender lives here, so the channel does not end.
            Some(Event::Ended(None)) | None => {}
        }
    }
    for (shard, _) in desks.iter().enumerate().filter(|(_, desk)| desk.as_ref().is_some_and(|desk| desk.leads)) {
        engine.resign(shard).await;
    }
}

enum Event {
    Ended(Option<turn::Ended>),
    Stop,
    Woken,
}
