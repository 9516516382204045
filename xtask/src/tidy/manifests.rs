//! Rules about manifests: one place for versions and lints, and a core that stands on few crates.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Complaints, Project};
use crate::workspace::{Workspace, cargo};

/// What the core may stand on. To add one is a decision: write it down in `docs/decisions/`.
const CORE_STANDS_ON: [&str; 14] = [
    "bb8",
    "diesel",
    "diesel-async",
    "fastrand",
    "libsqlite3-sys",
    "metrics",
    "redis",
    "rustls",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tracing",
    "xxhash-rust",
];

/// Crates in the tree of one strategy with Redis and PostgreSQL.
const MAX_TREE: usize = 150;

pub(super) fn complaints(project: &Project, workspace: &Workspace) -> Result<Complaints> {
    let mut complaints = Vec::new();
    for (path, text) in project.with_extension("toml") {
        let is_member = path.ends_with("Cargo.toml")
            && (path.starts_with("crates/") || path.starts_with("xtask/") || path.starts_with("examples/"));
        if is_member {
            complaints.extend(member(path, text));
        }
    }
    for dependency in &workspace.dependencies_of("writeway-core") {
        if !CORE_STANDS_ON.contains(&dependency.as_str()) {
            complaints.push(format!("crates/core/Cargo.toml: {dependency} is not among what the core may stand on"));
        }
    }
    let tree = tree(project)?;
    if tree > MAX_TREE {
        complaints.push(format!("Cargo.lock: {tree} crates in the tree of writeway-through, and {MAX_TREE} are the limit"));
    }
    Ok(complaints)
}

fn member(path: &str, text: &str) -> Complaints {
    let mut complaints = Vec::new();
    let mut section = "";
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            if section.contains("dependencies.") {
                complaints.push(format!("{path}:{number}: one line for a dependency"));
            }
        } else if section.ends_with("dependencies") && line.contains('=') && !line.starts_with('#') {
            let inherits =
                line.contains(".workspace = true") || line.contains("workspace = true,") || line.contains("workspace = true }");
            if !inherits {
                complaints.push(format!("{path}:{number}: versions and paths are the workspace's: `workspace = true`"));
            }
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        complaints.push(format!("{path}: must inherit the workspace's lints"));
    }
    complaints
}

/// How many crates a user of one strategy builds.
fn tree(project: &Project) -> Result<usize> {
    let mut command: Command = cargo();
    command.args(["tree", "--package", "writeway-through", "--features", "postgres"]);
    command.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]).current_dir(&project.root);
    let output = command.output().context("run cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim_end_matches(" (*)")).collect::<BTreeSet<_>>().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_with_a_version_of_its_own_is_noticed() {
        let good = "[dependencies]\na.workspace = true\nb = { workspace = true, optional = true }\n\n[lints]\nworkspace = true\n";
        assert_eq!(member("x", good).len(), 0);
        assert_eq!(member("x", &good.replace("a.workspace = true", "a = \"1\"")).len(), 1);
        assert_eq!(member("x", "[dev-dependencies.a]\nversion = \"1\"\n").len(), 2);
        assert_eq!(member("x", "").len(), 1);
    }
}
