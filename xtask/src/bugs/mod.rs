//! Seeded bugs: `bugs/*.patch` each break the protocol in one place, and the test that guards the place must notice.
//!
//! A bug is found if its patch applies and compiles, and exactly the test that it names runs, fails, and says
//! `invariant violated: <the invariant that it names>`. Anything else fails the run: a patch that has grown stale, a test that
//! fails for another reason, a test that was renamed.

mod patch;
mod seed;

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use patch::Patch;

use crate::child;
use crate::clock::Stopwatch;
use crate::copy::Copy;
use crate::progress;
use crate::services::Services;
use crate::tally::Counts;
use crate::workspace::{Workspace, cargo};

const BUILD_LIMIT: Duration = Duration::from_secs(900);
const TEST_LIMIT: Duration = Duration::from_secs(300);
const TAIL_LINES: usize = 25;

/// All of them, or those that are named; `install` may get servers for those that need one.
pub(crate) fn run(names: &[String], install: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let patches = patches(&workspace, names)?;
    let services = patches.iter().any(|patch| patch.needs_servers).then(|| Services::start(install)).transpose()?;
    println!("==> {} seeded bugs", patches.len());

    let mut copy = Copy::new(&workspace, "bugs")?;
    let (mut found, mut missed, mut skipped) = (0, 0, 0);
    for patch in &patches {
        let needed = services.as_ref().filter(|_| patch.needs_servers);
        if let Some(missing) = needed.map(Services::missing).filter(|missing| !missing.is_empty()) {
            println!("SKIPPED     {}: no {}", patch.name, missing.join(", no "));
            skipped += 1;
            continue;
        }
        let watch = Stopwatch::start();
        match find(patch, &mut copy, needed)? {
            None => {
                println!("found       {:<40} breaks {} ({watch})", patch.name, patch.breaks);
                found += 1;
            }
            Some(why) => {
                println!("NOT FOUND   {:<40} ({watch}) {why}", patch.name);
                missed += 1;
            }
        }
    }
    copy.sync()?;
    println!("\n{found} passed, {missed} failed, {skipped} skipped");
    if missed > 0 {
        bail!("a seeded bug was not found");
    }
    if skipped > 0 && env::var_os("CI").is_some() {
        bail!("under CI a bug that is skipped for want of servers is a failure");
    }
    Ok(())
}

fn patches(workspace: &Workspace, names: &[String]) -> Result<Vec<Patch>> {
    let dir = workspace.root.join("bugs");
    let mut paths =
        fs::read_dir(dir).context("there are no seeded bugs")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    paths.sort();
    let mut patches = paths.iter().map(|path| Patch::read(path)).collect::<Result<Vec<_>>>()?;
    if let Some(unknown) = names.iter().find(|name| patches.iter().all(|patch| patch.name != **name)) {
        bail!("there is no bugs/{unknown}.patch");
    }
    patches.retain(|patch| names.is_empty() || names.contains(&patch.name));
    Ok(patches)
}

/// `None` when the bug was found, else what went wrong.
fn find(patch: &Patch, copy: &mut Copy, services: Option<&Services>) -> Result<Option<String>> {
    copy.sync()?;
    if let Err(error) = seed::apply(copy, patch) {
        return Ok(Some(format!("{error:#}")));
    }
    let mut build = cargo_test(patch, copy);
    let building = format!("building {}", patch.name);
    let (built, said) = progress::during(&building, || child::run_quietly(build.arg("--no-run"), BUILD_LIMIT))?;
    if !built.success() {
        return Ok(Some(format!("does not compile:\n{}", tail(&said))));
    }
    let mut command = cargo_test(patch, copy);
    command.envs(services.iter().flat_map(|services| services.env()));
    command.args(["--", &patch.test, "--exact", "--nocapture"]);
    let watch = Stopwatch::start();
    let testing = format!("testing {}", patch.name);
    let (_, said) = progress::during(&testing, || child::run_quietly(&mut command, TEST_LIMIT))?;
    if watch.elapsed() > TEST_LIMIT {
        return Ok(Some(format!("the test did not end within {} s", TEST_LIMIT.as_secs())));
    }
    Ok(judge(&said, &patch.breaks).map(|why| format!("{why}:\n{}", tail(&said))))
}

/// What is wrong with this output of the one test, if anything.
fn judge(said: &str, invariant: &str) -> Option<String> {
    let mut counts = Counts::default();
    said.lines().for_each(|line| counts += Counts::read(line));
    let violated = |line: &str| line.split_once("invariant violated: ").is_some_and(|(_, rest)| is_named(rest, invariant));
    match counts {
        Counts { failed: 1, passed: 0, .. } if said.lines().any(violated) => None,
        Counts { failed: 1, passed: 0, .. } => Some(format!("the test fails, but not by `invariant violated: {invariant}`")),
        Counts { failed: 0, passed: 0, .. } => Some("no such test ran".to_owned()),
        Counts { failed: 0, .. } => Some("the test passes".to_owned()),
        _ => Some("more than one test ran".to_owned()),
    }
}

/// `name` at the start of `text`, and not just the start of a longer name.
fn is_named(text: &str, name: &str) -> bool {
    text.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_'))
}

fn cargo_test(patch: &Patch, copy: &Copy) -> Command {
    let mut command = cargo();
    command.args(["test", "--package", &patch.package]);
    match patch.target.as_str() {
        "--lib" => command.arg("--lib"),
        target => command.args(["--test", target]),
    };
    // Whether this test needs it or not, so that all patches share one build.
    command.args(["--features", "postgres,sqlite"]);
    command.current_dir(copy.tree()).env("CARGO_TARGET_DIR", copy.target_dir()).env("RUST_BACKTRACE", "0");
    command
}

fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let indented = lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("            {line}"));
    indented.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "test result: FAILED. 0 passed; 1 failed; 0 ignored";

    #[test]
    fn only_the_named_invariant_counts() {
        assert_eq!(judge(&format!("invariant violated: no-stale-fill: 3 != 4\n{FAILED}"), "no-stale-fill"), None);
        assert!(judge(&format!("invariant violated: no-stale-fill-ever\n{FAILED}"), "no-stale-fill").is_some());
        assert!(judge(&format!("assertion failed\n{FAILED}"), "no-stale-fill").is_some());
        assert!(judge("invariant violated: no-stale-fill\ntest result: ok. 1 passed; 0 failed", "no-stale-fill").is_some());
        assert!(judge("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out", "x").is_some());
    }
}
