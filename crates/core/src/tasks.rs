//! Deadlines, and the gate that counts what is still under way.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// Waits for `work` until `deadline` (of [`Runtime::now`]); `None` if the deadline came first. Work that is ready wins.
pub async fn until<T>(runtime: &dyn Runtime, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let left = deadline.saturating_sub(runtime.now());
    tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = runtime.sleep(left) => None,
    }
}

/// Lets calls in until it is closed, and waits for those that are in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    count: usize,
    closed: bool,
}

/// A call that is in; it leaves when dropped.
#[derive(Debug)]
pub struct Pass(Gate);

impl Gate {
    /// An open gate.
    #[must_use]
    pub fn open() -> Self {
        Gate(Arc::new(watch::Sender::new(Inside::default())))
    }

    /// Lets one call in.
    ///
    /// # Errors
    /// `Closed` after [`close`](Gate::close).
    pub fn enter(&self) -> Result<Pass> {
        let entered = self.0.send_if_modified(|inside| {
            inside.count += usize::from(!inside.closed);
            !inside.closed
        });
        if entered { Ok(Pass(self.clone())) } else { Err(Error::closed()) }
    }

    /// For calls that need not be waited for.
    ///
    /// # Errors
    /// `Closed` after [`close`](Gate::close).
    pub fn check(&self) -> Result<()> {
        if self.0.borrow().closed { Err(Error::closed()) } else { Ok(()) }
    }

    /// Lets nobody in any more, waits until all are out or the deadline has come, and says how many are still in.
    pub async fn close(&self, runtime: &dyn Runtime, deadline: Duration) -> usize {
        self.0.send_modify(|inside| inside.closed = true);
        let mut changes = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let empty = async { changes.wait_for(|inside| inside.count == 0).await.is_ok() };
        until(runtime, deadline, empty).await;
        self.0.borrow().count
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.0.send_modify(|inside| inside.count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::runtime::Tokio;

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_waits_for_those_inside() {
        let gate = Gate::open();
        let pass = gate.enter().expect("open");
        assert_eq!(gate.close(&Tokio, Tokio.now()).await, 1);
        assert_eq!(gate.enter().map_err(|e| e.kind()).err(), Some(Kind::Closed));
        drop(pass);
        assert_eq!(gate.close(&Tokio, Tokio.now() + Duration::from_secs(1)).await, 0);
    }

    #[tokio::test]
    async fn ready_work_wins_over_a_deadline_that_has_passed() {
        assert_eq!(until(&Tokio, Duration::ZERO, async { 1 }).await, Some(1));
        assert_eq!(until(&Tokio, Duration::ZERO, std::future::pending::<()>()).await, None);
    }
}
