//! Which types and traits of other crates the public API names: those of `xtask/public-api.txt`, no more and no less.
//!
//! Each of them is a promise: a breaking release of that crate is a breaking release of ours.

mod foreign;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::succeed;
use crate::toolchain::{self, NIGHTLY};
use crate::workspace::{Package, Workspace};

const ALLOWED: &str = "xtask/public-api.txt";

pub(super) fn run(install: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let ours: BTreeSet<String> = workspace.published().map(|package| package.name.replace('-', "_")).collect();
    let mut found = BTreeSet::new();
    for package in workspace.published() {
        println!("==> the public API of {}", package.name);
        let api = document(&workspace, package, install)?;
        found.extend(foreign::names(&api, &ours)?.into_iter().map(|name| format!("{} {name}", package.name)));
    }
    let path = workspace.root.join(ALLOWED);
    let allowed = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let differences = differences(&allowed, &found);
    if !differences.is_empty() {
        bail!("{ALLOWED} and the public API differ; + is to be added there, - to be removed:\n{}", differences.join("\n"));
    }
    println!("      names {} types and traits of other crates, all allowed", found.len());
    Ok(())
}

/// What rustdoc knows about a crate. Only a nightly rustdoc says it as JSON.
fn document(workspace: &Workspace, package: &Package, install: bool) -> Result<Value> {
    let target = workspace.target_dir.join("api");
    let mut command = toolchain::cargo(NIGHTLY, install)?;
    command.args(["rustdoc", "--package", &package.name, "--lib", "--all-features", "--target-dir"]).arg(&target);
    command.args(["--", "-Z", "unstable-options", "--output-format", "json"]);
    succeed(command.current_dir(&workspace.root))?;
    read(&target.join("doc").join(format!("{}.json", package.name.replace('-', "_"))))
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Lines of `allowed` that start with `#` are remarks.
fn differences(allowed: &str, found: &BTreeSet<String>) -> Vec<String> {
    let lines: Vec<&str> = allowed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let known: BTreeSet<&str> = lines.iter().copied().collect();
    let added = found.iter().filter(|name| !known.contains(name.as_str())).map(|name| format!("+ {name}"));
    let removed = known.iter().filter(|name| !found.contains(**name)).map(|name| format!("- {name}"));
    let unsorted = (!lines.is_sorted()).then(|| "the lines are not sorted".to_owned());
    added.chain(removed).chain(unsorted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_in_either_direction_is_told() {
        let found = BTreeSet::from(["a bb8::Pool".to_owned(), "a redis::Value".to_owned()]);
        assert_eq!(differences("# why\n\na bb8::Pool\na redis::Value\n", &found), Vec::<String>::new());
        assert_eq!(differences("a bb8::Pool\n", &found), ["+ a redis::Value"]);
        assert_eq!(differences("a bb8::Pool\na redis::Value\na x::Y\n", &found), ["- a x::Y"]);
        assert_eq!(differences("a redis::Value\na bb8::Pool\n", &found), ["the lines are not sorted"]);
    }
}
