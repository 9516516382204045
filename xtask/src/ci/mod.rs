//! `cargo xtask ci [job]`: every gate is a job here, so that what CI runs is what anybody can run.

mod api;
mod deny;
mod features;
mod minimal;
mod msrv;
mod package;

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::clock::Stopwatch;
use crate::suites::Suites;
use crate::workspace::{Workspace, cargo};
use crate::{bugs, child, interrupt, itest, tally, tidy};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    /// Formatting
    Fmt,
    /// Lints, with default and with all features
    Clippy,
    /// Tests that need no server
    Test,
    /// The examples in the documentation
    Doctest,
    /// The documentation itself
    Doc,
    /// Every combination of the published crates' features
    Features,
    /// Licences, sources, banned crates, advisories
    Deny,
    /// What would go to the registry, built from there
    Package,
    /// Every seeded bug is found
    Bugs,
    /// What a reviewer would forget
    Tidy,
    /// The oldest Rust that the manifests name; by name only
    Msrv,
    /// The oldest dependencies that the manifests admit; by name only
    Minimal,
    /// Types of other crates in the public API; by name only
    Api,
    /// Tests with servers; by name only
    Itest,
}

/// What runs when no job is named, in the order of how soon they fail: all that needs neither servers nor another toolchain.
const GATES: [Job; 10] =
    [Job::Fmt, Job::Tidy, Job::Clippy, Job::Test, Job::Doctest, Job::Doc, Job::Features, Job::Deny, Job::Package, Job::Bugs];

/// One job, or all gates: these all run, and then it fails if one did.
pub(crate) fn run(job: Option<Job>, install: bool) -> Result<()> {
    if let Some(job) = job {
        return run_job(job, install);
    }
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for job in GATES {
        println!("\n======== {job:?}");
        let watch = Stopwatch::start();
        let outcome = run_job(job, install);
        interrupt::check()?;
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        lines.push(format!("  {word:<8}{:<10}{watch:>12}", format!("{job:?}")));
        if let Err(error) = outcome {
            eprintln!("error: {error:#}");
            failed.push(format!("{job:?}"));
        }
    }
    println!("\nGates\n{}", lines.join("\n"));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn run_job(job: Job, install: bool) -> Result<()> {
    const STRICT: [&str; 3] = ["--", "-D", "warnings"];
    match job {
        Job::Fmt => cargo_does(&["fmt", "--all", "--check"]),
        Job::Clippy => {
            let clippy = ["clippy", "--workspace", "--all-targets"];
            cargo_does(&[&clippy[..], &STRICT].concat())?;
            cargo_does(&[&clippy[..], &["--all-features"], &STRICT].concat())
        }
        Job::Test => tests(|suites| suites.in_process()),
        Job::Doctest => tests(|suites| suites.doc_tests()),
        Job::Doc => cargo_does(&["doc", "--workspace", "--no-deps", "--all-features"]),
        Job::Features => features::run(),
        Job::Deny => deny::run(install),
        Job::Package => package::run(),
        Job::Msrv => msrv::run(install),
        Job::Minimal => minimal::run(install),
        Job::Api => api::run(install),
        Job::Bugs => bugs::run(&[], install),
        Job::Tidy => tidy::run(),
        Job::Itest => itest::run(install, false),
    }
}

fn tests(suite: impl Fn(&Suites<'_>) -> Result<tally::Step>) -> Result<()> {
    let workspace = Workspace::load()?;
    let step = suite(&Suites::new(&workspace, workspace.test_features()))?;
    if tally::print(&[step]).failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

pub(crate) fn cargo_does(arguments: &[impl AsRef<OsStr>]) -> Result<()> {
    succeed(cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Runs it with our own output, which is the progress that is seen.
fn succeed(command: &mut Command) -> Result<()> {
    let status = child::run(command)?;
    if !status.success() {
        let said = [command.get_program()].into_iter().chain(command.get_args()).map(|word| word.to_string_lossy());
        bail!("{} ended with {status}", said.collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
