//! `cargo xtask ci [job]`: every gate is a job here, so that what CI runs is what anybody can run.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::clock::Stopwatch;
use crate::suites::Suites;
use crate::workspace::{Workspace, cargo};
use crate::{bugs, child, deny, interrupt, itest, tally, tidy};

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
    /// Licences, sources, banned crates, advisories
    Deny,
    /// Every seeded bug is found
    Bugs,
    /// What a reviewer would forget
    Tidy,
    /// Tests with servers; not among the gates that run without a job
    Itest,
}

/// In the order of how soon they fail.
const GATES: [Job; 8] = [Job::Fmt, Job::Tidy, Job::Clippy, Job::Test, Job::Doctest, Job::Doc, Job::Deny, Job::Bugs];

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
        Job::Deny => deny::run(install),
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
    let mut command = cargo();
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    let status = child::run(&mut command)?;
    if !status.success() {
        let said: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        bail!("cargo {} ended with {status}", said.join(" "));
    }
    Ok(())
}
