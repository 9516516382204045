//! Breaks the copy by a patch.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::patch::Patch;
use crate::copy::Copy;

/// Where a bug may sit: in what we publish, not in what tests it.
const SEEDED: [&str; 4] = ["crates/core/src/", "crates/write-through/src/", "crates/write-around/src/", "crates/write-back/src/"];

pub(super) fn apply(copy: &Copy<'_>, patch: &Patch) -> Result<()> {
    for line in git_apply(copy, &["--numstat"], patch)?.lines() {
        let touched = line.split('\t').nth(2).unwrap_or(line);
        ensure!(SEEDED.iter().any(|dir| touched.starts_with(dir)), "touches {touched}, and only {SEEDED:?} may be broken");
    }
    git_apply(copy, &["--check"], patch).context("does not apply")?;
    git_apply(copy, &[], patch).context("does not apply")?;
    Ok(())
}

/// The copy may lie inside a repository, whose git would look for the patched files at its own root: hence the ceiling.
fn git_apply(copy: &Copy<'_>, options: &[&str], patch: &Patch) -> Result<String> {
    let mut git = Command::new("git");
    git.arg("apply").args(options).arg(&patch.path).current_dir(copy.tree()).env("GIT_CEILING_DIRECTORIES", copy.home());
    let output = git.output().context("run git apply")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
