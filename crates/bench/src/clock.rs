//! The clocks of the bench: the libraries take theirs from a port, a load generator measures.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since the first call.
#[expect(clippy::disallowed_methods, reason = "what is measured here is real time")]
pub(crate) fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// How long this process' threads have been on a core, where the kernel tells (Linux). Unlike the time on the wall it is not
/// stretched by what else runs.
pub(crate) fn on_core() -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        // A thread may end meanwhile.
        let Ok(figures) = std::fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        sum += Duration::from_nanos(figures.split(' ').next()?.parse().ok()?);
    }
    Some(sum)
}

/// For the report's date.
#[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
pub(crate) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long `work` took.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = now();
    let done = work.await;
    (done, now() - started)
}
