//! A runtime that a test owns: tokio's clock, also where it is paused, and tasks that can be counted and killed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use writeway_core::cache::BoxFuture;
use writeway_core::runtime::Runtime;

/// Cheap to clone; all clones are one runtime.
#[derive(Clone, Debug)]
pub struct TestRuntime(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    start: Instant,
    random: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl TestRuntime {
    /// To be made inside the tokio runtime whose clock it shows.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the port's form in tests")]
    pub fn new() -> Self {
        let (start, random) = (Instant::now(), AtomicU64::new(1));
        TestRuntime(Arc::new(Owned { start, random, tasks: Mutex::default() }))
    }

    /// Ends all its tasks where they stand, as the death of a process does. The next await of each is its last.
    pub fn kill(&self) {
        self.tasks().drain(..).for_each(|task| task.abort());
    }

    /// How many of its tasks have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        let mut tasks = self.tasks();
        tasks.retain(|task| !task.is_finished());
        tasks.len()
    }

    /// Waits until all its tasks have ended.
    ///
    /// # Panics
    /// After two minutes of its clock.
    pub async fn quiet(&self) {
        let deadline = self.now() + Duration::from_secs(120);
        while self.running() > 0 {
            assert!(self.now() < deadline, "invariant violated: every task ends");
            self.sleep(Duration::from_millis(1)).await;
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TestRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for TestRuntime {
    fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port's form in tests")]
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port's form in tests")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        let task = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks();
        if tasks.len() >= 1_000 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }

    /// Unique in the process, even where several runtimes share one cache: the upper half names the runtime.
    fn random(&self) -> u128 {
        let mine = Arc::as_ptr(&self.0) as usize as u128;
        let nth = u128::from(self.0.random.fetch_add(1, Relaxed));
        mine << 64 | nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) & u128::from(u64::MAX)
    }
}
