//! The published crates compile with the oldest versions of their dependencies that their manifests admit.
//!
//! In a copy of the workspace that holds nothing else: what tests and commands depend on must not lift what a user gets.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::succeed;
use crate::copy::Copy;
use crate::toolchain::{self, NIGHTLY};
use crate::workspace::{Workspace, cargo};

pub(super) fn run(install: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let mut resolver = toolchain::cargo(NIGHTLY, install)?;
    let mut copy = Copy::new(&workspace, "minimal")?;
    copy.sync()?;
    let members: Vec<&Path> = workspace.published().map(|package| package.dir.as_path()).collect();
    rewrite(&copy.tree().join("Cargo.toml"), |manifest| with_members(manifest, &members))?;
    for member in &members {
        rewrite(&copy.tree().join(member).join("Cargo.toml"), without_dev_dependencies)?;
    }

    println!("==> resolve to the oldest versions");
    succeed(resolver.args(["update", "-Z", "direct-minimal-versions"]).current_dir(copy.tree()))?;
    println!("==> check");
    let mut check = cargo();
    check.args(["check", "--workspace", "--lib", "--all-features", "--locked", "--target-dir"]).arg(copy.target_dir());
    succeed(check.current_dir(copy.tree())).context("if an old dependency is to blame, raise its lower bound in Cargo.toml")
}

fn rewrite(path: &Path, change: impl Fn(&str) -> String) -> Result<()> {
    let manifest = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    fs::write(path, change(&manifest)).with_context(|| path.display().to_string())
}

/// `members` stands in one line, as everybody writes it.
fn with_members(manifest: &str, members: &[&Path]) -> String {
    let line = format!("members = {members:?}");
    lines(manifest.lines().map(|old| if old.starts_with("members = ") { &line } else { old }))
}

/// Neither the section nor the targets that use it.
fn without_dev_dependencies(manifest: &str) -> String {
    const DROPPED: [&str; 4] = ["[dev-dependencies]", "[[test]]", "[[example]]", "[[bench]]"];
    let mut dropping = false;
    lines(manifest.lines().filter(|line| {
        if line.starts_with('[') {
            dropping = DROPPED.contains(&line.trim_end());
        }
        !dropping
    }))
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_user_gets_is_left() {
        let manifest = "[package]\nname = \"a\"\n\n[dev-dependencies]\nb.workspace = true\n\n[[test]]\nname = \"t\"\n\n[lints]\nworkspace = true\n";
        assert_eq!(without_dev_dependencies(manifest), "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n");
        let root = "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\nexclude = [\"x\"]\n";
        let members = [Path::new("crates/core"), Path::new("crates/a")];
        assert_eq!(with_members(root, &members), "[workspace]\nmembers = [\"crates/core\", \"crates/a\"]\nexclude = [\"x\"]\n");
    }
}
