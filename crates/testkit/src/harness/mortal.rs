//! A process that dies: the runtime of a handle whose tasks end, all at once, at a chosen poll.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use writeway_core::cache::BoxFuture;
use writeway_core::runtime::{Runtime, Tokio};

/// tokio's time, tasks and chance. Cheap to clone; all clones live and die together.
#[derive(Clone, Debug, Default)]
pub struct MortalRuntime(Arc<Life>);

#[derive(Debug, Default)]
struct Life {
    /// Which life it is; tasks of an earlier one are dead.
    life: AtomicU64,
    polls: AtomicU64,
    /// The poll at which it dies; 0 for never.
    dies_at: AtomicU64,
}

struct Mortal {
    runtime: MortalRuntime,
    life: u64,
    /// Dropped at its death.
    task: Option<BoxFuture<'static, ()>>,
}

impl MortalRuntime {
    /// Dies at the `poll`-th poll of its tasks from now on; 0 for never.
    pub fn dies_at(&self, poll: u64) {
        self.0.polls.store(0, Relaxed);
        self.0.dies_at.store(poll, Relaxed);
    }

    /// How often its tasks were polled since the last [`dies_at`](Self::dies_at).
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.0.polls.load(Relaxed)
    }

    /// How often it died.
    #[must_use]
    pub fn deaths(&self) -> u64 {
        self.0.life.load(Relaxed)
    }
}

impl Runtime for MortalRuntime {
    fn now(&self) -> Duration {
        Tokio.now()
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Tokio.sleep(d)
    }

    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let life = self.deaths();
        Tokio.spawn(name, Box::pin(Mortal { runtime: self.clone(), life, task: Some(task) }));
    }

    fn random(&self) -> u128 {
        Tokio.random()
    }
}

impl Future for Mortal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let life = &self.runtime.0;
        let nth = life.polls.fetch_add(1, Relaxed) + 1;
        if life.dies_at.load(Relaxed) == nth {
            life.dies_at.store(0, Relaxed);
            life.life.fetch_add(1, Relaxed);
        }
        if life.life.load(Relaxed) != self.life {
            self.task = None;
        }
        self.task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(cx))
    }
}
