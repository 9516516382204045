//! The threads that SQLite's calls run on, and what lives as long as these.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use diesel_async::sync_connection_wrapper::SpawnBlocking;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::lock::Lock;

/// What the connections of one pool share.
#[derive(Clone)]
pub(super) struct Shared {
    /// Held by every connection, and by every call that nobody waits for any more.
    pub(super) _lock: Option<Arc<Lock>>,
    /// One for each call under way, given up ones included: these would add up without a bound.
    pub(super) calls: Arc<Semaphore>,
}

/// The threads of the tokio runtime that may block. A call that nobody waits for any more runs to its end.
pub(super) struct Threads {
    handle: Handle,
    shared: Option<Shared>,
}

impl Threads {
    pub(super) fn of(handle: Handle, shared: Option<Shared>) -> Self {
        Threads { handle, shared }
    }
}

impl SpawnBlocking for Threads {
    fn spawn_blocking<'a, R: Send + 'static>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<R, Box<dyn StdError + Send + Sync + 'static>>> + Send + 'a>> {
        let (handle, shared) = (self.handle.clone(), self.shared.clone());
        Box::pin(async move {
            let turn = match &shared {
                // Never closed.
                Some(shared) => shared.calls.clone().acquire_owned().await.ok(),
                None => None,
            };
            let call = handle.spawn_blocking(move || {
                let done = task();
                drop((turn, shared));
                done
            });
            call.await.map_err(Into::into)
        })
    }

    fn get_runtime() -> Self {
        Threads::of(Handle::current(), None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn calls_that_were_given_up_count_until_they_end() {
        let shared = Shared { _lock: None, calls: Arc::new(Semaphore::new(2)) };
        let calls = shared.calls.clone();
        let mut threads = Threads::of(Handle::current(), Some(shared));
        let (begun, begins) = mpsc::channel();
        let started = Arc::new(AtomicUsize::new(0));
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (end, ended) = mpsc::channel::<()>();
            let (begun, started) = (begun.clone(), started.clone());
            let mut call = threads.spawn_blocking(move || {
                started.fetch_add(1, SeqCst);
                // The test may have ended.
                let _ = begun.send(());
                let _ = ended.recv();
            });
            // Looked at once, then given up.
            let is_done = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready())).await;
            assert!(!is_done, "nobody has ended it");
            ends.push(end);
        }
        for _ in 0..2 {
            begins.recv().expect("two have begun");
        }
        let next = threads.spawn_blocking(|| ());
        let mut next = Box::pin(next);
        let waits = poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await;
        assert_eq!(calls.available_permits(), 0, "invariant violated: given-up calls are bounded");
        assert!(waits && started.load(SeqCst) == 2, "invariant violated: given-up calls are bounded");
        drop(ends);
        next.await.expect("it runs when they have ended");
    }
}
