//! cargo-deny: what may be in the dependency tree. The rules are in `deny.toml`.

use std::time::Duration;

use anyhow::{Result, bail};

use super::cargo_does;
use crate::child;
use crate::progress;
use crate::workspace::cargo;

const LIMIT: Duration = Duration::from_secs(300);

/// What cargo-deny says when it cannot get the advisories; everything else is a finding.
const UNREACHABLE: [&str; 3] = ["failed to fetch advisory database", "failed to load advisory database", "failed to clone"];

pub(crate) fn run(install: bool) -> Result<()> {
    let (found, _) = child::run_quietly(cargo().args(["deny", "--version"]), LIMIT)?;
    if !found.success() {
        if !install {
            bail!("cargo-deny is not here; --install would get it, as would cargo install cargo-deny --locked");
        }
        cargo_does(&["install", "cargo-deny", "--locked"])?;
    }
    cargo_does(&["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])?;

    let mut advisories = cargo();
    advisories.args(["deny", "check", "advisories"]);
    let (clean, said) = progress::during("advisories", || child::run_quietly(&mut advisories, LIMIT))?;
    if clean.success() {
        println!("advisories ok");
    } else if UNREACHABLE.iter().any(|words| said.contains(words)) {
        println!("SKIPPED: advisories: their database cannot be fetched from here\n{said}");
    } else {
        bail!("advisories:\n{said}");
    }
    Ok(())
}
