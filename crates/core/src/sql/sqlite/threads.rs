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
