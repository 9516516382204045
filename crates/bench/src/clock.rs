//! The clocks of the bench: the libraries take theirs from a port, a load generator measures.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since the first call.
#[expect(clippy::disallowed_methods, reason = "what is measured here is real time")]
pub(crate) fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
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
