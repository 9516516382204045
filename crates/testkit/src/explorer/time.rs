//! Logical time, and the [`Runtime`] that production code sees.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use writeway_core::cache::BoxFuture;
use writeway_core::runtime::Runtime;

use super::state::{Owner, Phase, Sleeper};
use super::world::World;

/// The world's clock, tasks and chance. Chance is a counter: the same run draws the same numbers.
pub struct SimRuntime {
    world: World,
}

impl SimRuntime {
    pub(super) fn new(world: World) -> Self {
        SimRuntime { world }
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Duration {
        Duration::from_millis(self.world.now_ms())
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        // Rounded up: a sleep never ends early.
        let ms = millis(d).saturating_add(u64::from(!d.subsec_nanos().is_multiple_of(1_000_000)));
        let at = self.world.now_ms().saturating_add(ms);
        Box::pin(Sleep { world: self.world.clone(), at, id: None, paid: false })
    }

    /// The task joins the process of the one that spawns it, and is polled to its first call right after that one's step.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let mut state = self.world.lock();
        if state.phase == Phase::Closed || state.processes[state.process].dead {
            // A dead process starts nothing. Dropping the task may look at the world.
            drop(state);
            return drop(task);
        }
        let owner = Owner::Process(state.process);
        state.add_task(name.into(), owner, None, task);
    }

    fn random(&self) -> u128 {
        let mut state = self.world.lock();
        state.random += 1;
        state.random
    }
}

/// Whole milliseconds; later than any scenario is soon enough.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX >> 1)
}

/// Ends when the clock has reached its moment.
pub(super) struct Sleep {
    world: World,
    at: u64,
    id: Option<u64>,
    paid: bool,
}

impl Sleep {
    /// The time limit of a call whose fault was paid for.
    pub(super) fn paid(world: World, at: u64) -> Self {
        Sleep { world, at, id: None, paid: true }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.lock();
        if state.clock >= self.at {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| state.fresh_id());
        let (at, paid, waker) = (self.at, self.paid, cx.waker().clone());
        match state.sleepers.iter_mut().find(|sleeper| sleeper.id == id) {
            Some(sleeper) => sleeper.waker = waker,
            None => state.sleepers.push(Sleeper { id, at, paid, waker }),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.world.lock().sleepers.retain(|sleeper| sleeper.id != id);
        }
    }
}
