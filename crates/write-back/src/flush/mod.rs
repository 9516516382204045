//! The flusher: one task per handle, which looks at every shard, flushes those that are due and nobody else flushes, and sleeps.
//!
//! What it does for one shard is a task of its own: a panic in the table's code ends that task, not the flusher. A few shards have
//! their turn at once, so that one is claimed and another acknowledged while a third is in SQL; in SQL there is one at a time,
//! over one connection. Of those that are due, the one whose last turn is longest ago is next. What fails is tried again after a
//! pause that grows; the other shards do not wait for it.

mod apply;
mod judge;
mod plan;
mod trouble;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;
use crate::members::BEAT;
use turn::{Desk, Turn};

/// So many shards have their turn at once.
const TURNS: usize = 4;

/// Runs until `stopped` says so, or is gone with the last handle.
pub(crate) async fn run<S: FencedStore>(engine: Arc<Engine<S>>, mut stopped: watch::Receiver<bool>)
where
    S::Key: Serialize + DeserializeOwned,
{
    let mut desks: Vec<Option<Desk>> = engine.epochs.iter().map(|epoch| Some(Desk::new(*epoch))).collect();
    let (report, mut reports) = mpsc::unbounded_channel();
    let (mut running, mut turns) = (0, 0);
    let mut stopping = false;
    let mut recheck = engine.runtime().now() + engine.settings.recheck;
    loop {
        if !stopping {
            engine.beat().await;
        }
        let now = engine.runtime().now();
        if recheck <= now {
            recheck = now + engine.settings.recheck;
            engine.start_recheck();
        }
        while !stopping && running < TURNS {
            let Some((shard, desk)) = take_due(&mut desks, now) else { break };
            running += 1;
            Turn::start(&engine, shard, desk, &report);
        }
        if stopping && running == 0 {
            break;
        }
        let look = desks.iter().flatten().map(|desk| desk.look).min().filter(|_| running < TURNS && !stopping);
        // Turns that take long keep nobody from hearing that this process is there.
        let next = look.or((running == TURNS).then_some(now + BEAT));
        let event = async {
            tokio::select! {
                biased;
                ended = reports.recv() => Event::Ended(ended),
                _ = stopped.wait_for(|stop| *stop), if !stopping => Event::Stop,
                () = engine.woken(), if !stopping => Event::Woken,
            }
        };
        match until(engine.runtime(), next.unwrap_or(Duration::MAX).min(recheck), event).await {
            Some(Event::Ended(Some(ended))) => {
                let turn::Ended { shard, mut desk } = *ended;
                (running, turns) = (running - 1, turns + 1);
                desk.ended = turns;
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
    engine.leave().await;
    engine.gauges.forget();
}

enum Event {
    Ended(Option<Box<turn::Ended>>),
    Stop,
    Woken,
}

/// Of the shards that are due, the one whose last turn ended longest ago: none waits for those that always are.
fn take_due(desks: &mut [Option<Desk>], now: Duration) -> Option<(usize, Desk)> {
    let due = |place: &Option<Desk>| place.as_ref().filter(|desk| desk.look <= now).map(|desk| desk.ended);
    let ended = desks.iter().enumerate().filter_map(|(shard, place)| Some((due(place)?, shard)));
    let (_, shard) = ended.min()?;
    Some((shard, desks[shard].take()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_are_always_due_have_their_turns_one_after_the_other() {
        let mut desks = vec![Some(Desk::default()); 16];
        let mut ended = 0;
        for _ in 0..3 {
            let mut had: Vec<usize> = Vec::new();
            for _ in 0..16 / TURNS {
                let turns: Vec<_> = (0..TURNS).map(|_| take_due(&mut desks, Duration::ZERO).expect("all are due")).collect();
                // The order of the ends is not that of the starts.
                for (shard, mut desk) in turns.into_iter().rev() {
                    had.push(shard);
                    ended += 1;
                    desk.ended = ended;
                    desks[shard] = Some(desk);
                }
            }
            had.sort_unstable();
            assert_eq!(had, (0..16).collect::<Vec<_>>(), "invariant violated: every shard has its turn");
        }
    }

    #[test]
    fn only_what_is_due_has_a_turn() {
        let [mut later, mut due] = [Desk::default(), Desk::default()];
        (later.look, due.ended) = (Duration::from_secs(1), 9);
        let mut desks = [Some(later), None, Some(due)];
        assert_eq!(take_due(&mut desks, Duration::ZERO).map(|(shard, _)| shard), Some(2));
        assert!(take_due(&mut desks, Duration::ZERO).is_none(), "one is later, two have their turn");
        assert_eq!(take_due(&mut desks, Duration::from_secs(1)).map(|(shard, _)| shard), Some(0));
    }
}
