//! The one place of the commands that reads the clock: they report how long real work took.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// How long something has taken so far; shows as `3.2 s` or `2 min 05 s`.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "what is timed is a real process, not code on the Runtime port")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl fmt::Display for Stopwatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&human(self.elapsed()))
    }
}

pub(crate) fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{:.1} s", time.as_secs_f64()) } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}

#[expect(clippy::disallowed_methods, reason = "waits for a real process")]
pub(crate) fn sleep(time: Duration) {
    thread::sleep(time);
}
