//! How far the run is, on standard error: a bar for a person, a line a step for a log.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock;

pub(crate) struct Progress {
    bar: ProgressBar,
    started: Duration,
    last_line: Option<String>,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Self {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        Progress { bar, started: clock::now(), last_line: None }
    }

    /// A step starts. `what` is what it belongs to: a log gets one line for each, not for each step.
    pub(crate) fn step(&mut self, what: &str, detail: &str) {
        self.bar.inc(1);
        self.bar.set_message(format!("{what}: {detail}"));
        if self.bar.is_hidden() && self.last_line.as_deref() != Some(what) {
            eprintln!("{:4} s  {what}", (clock::now() - self.started).as_secs());
            self.last_line = Some(what.to_owned());
        }
    }

    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
