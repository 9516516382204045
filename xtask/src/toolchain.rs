//! Rust toolchains other than the one that runs us, by rustup.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::child;

const LIMIT: Duration = Duration::from_secs(120);

/// The compiler's own JSON, and cargo's unstable options.
pub(crate) const NIGHTLY: &str = "nightly";

/// The cargo of `toolchain`; `install` allows rustup to get it.
pub(crate) fn cargo(toolchain: &str, install: bool) -> Result<Command> {
    if child::run_quietly(Command::new("rustup").arg("--version"), LIMIT).is_err() {
        bail!("this job runs the toolchain {toolchain} by rustup, and rustup is not here");
    }
    let (found, _) = child::run_quietly(rustup_run(toolchain).arg("--version"), LIMIT)?;
    if !found.success() {
        if !install {
            bail!("the toolchain {toolchain} is not here; --install would get it, as would rustup toolchain install {toolchain}");
        }
        println!("      getting the toolchain {toolchain}");
        let mut rustup = Command::new("rustup");
        let status = child::run(rustup.args(["toolchain", "install", toolchain, "--profile", "minimal", "--no-self-update"]))?;
        if !status.success() {
            bail!("rustup could not get the toolchain {toolchain} ({status})");
        }
    }
    Ok(rustup_run(toolchain))
}

/// `--install` is not rustup's to decide: without it, an older rustup would get what is missing unasked.
fn rustup_run(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]).env("RUSTUP_AUTO_INSTALL", "0");
    command
}
