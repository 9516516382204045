//! Ctrl-C and its like: the first asks the run to end and clean up, the second ends it at once.
//!
//! Even then nothing stays: the watchdogs of servers and steps outlive us for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// What a shell reports for a command that Ctrl-C ended.
pub(crate) const EXIT_CODE: i32 = 130;

pub(crate) fn listen() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal only sets the flag, the next one finds it set.
        flag::register_conditional_shutdown(signal, EXIT_CODE, Arc::clone(&ASKED)).context("listen for signals")?;
        flag::register(signal, Arc::clone(&ASKED)).context("listen for signals")?;
    }
    Ok(())
}

pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// # Errors
/// When somebody asked the run to end.
pub(crate) fn check() -> Result<()> {
    if is_asked() {
        bail!("interrupted");
    }
    Ok(())
}
