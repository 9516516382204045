//! Bounded waiting in real time, which is the only time that another process lives in.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const BETWEEN_REMARKS: Duration = Duration::from_secs(5);

/// Looks until there is something to see, or `limit` has passed; says on stderr every five seconds that it still waits.
///
/// # Errors
/// What `look` answers, or that `limit` passed.
#[expect(clippy::disallowed_methods, reason = "an operating system process cannot be simulated")]
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let mut next_remark = BETWEEN_REMARKS;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        let waited = started.elapsed();
        if waited > limit {
            bail!("gave up on {what} after {} s", limit.as_secs());
        }
        if waited > next_remark {
            eprintln!("      still waiting for {what}: {} s of at most {} s", waited.as_secs(), limit.as_secs());
            next_remark += BETWEEN_REMARKS;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}
