//! The workspace's tests in pieces, each run by one `cargo test` and counted from what libtest says.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::child;
use crate::clock::Stopwatch;
use crate::tally::{Counts, Step};
use crate::workspace::{Workspace, cargo};

/// What server tests read; nobody else may see them, so that a unit test that needs a server is found out.
const SERVER_VARIABLES: [&str; 6] =
    ["REDIS_URL", "DATABASE_URL", "WRITEWAY_PREFIX", "WRITEWAY_REDIS_SERVER", "WRITEWAY_PG_BIN", "WRITEWAY_PG_USER"];

/// Set for those tests that have a longer form.
const LONG: &str = "WRITEWAY_LONG";

pub(crate) struct Suites<'a> {
    workspace: &'a Workspace,
    features: String,
    long: bool,
}

impl<'a> Suites<'a> {
    /// The same features in every piece, so that nothing is built twice.
    pub(crate) fn new(workspace: &'a Workspace, features: String) -> Self {
        Self { workspace, features, long: false }
    }

    /// Tests that have a longer form run it.
    pub(crate) fn long(self, long: bool) -> Self {
        Self { long, ..self }
    }

    /// All that needs no server: libraries, binaries, examples, and the test targets of that kind.
    pub(crate) fn in_process(&self) -> Result<Step> {
        let mut command = self.cargo_test(&["--lib", "--bins", "--examples"]);
        for test in self.workspace.in_process_tests() {
            command.args(["--test", test]);
        }
        run("unit, explorer and property tests", &mut command)
    }

    pub(crate) fn doc_tests(&self) -> Result<Step> {
        run("doc tests", &mut self.cargo_test(&["--doc"]))
    }

    /// `cargo test` over the workspace, with no server in sight.
    pub(crate) fn cargo_test(&self, which: &[&str]) -> Command {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]).args(which);
        if !self.features.is_empty() {
            command.args(["--features", &self.features]);
        }
        for variable in SERVER_VARIABLES {
            command.env_remove(variable);
        }
        if self.long {
            command.env(LONG, "1");
        }
        command.current_dir(&self.workspace.root).env("RUST_BACKTRACE", "1");
        command
    }
}

pub(crate) fn run(name: &str, command: &mut Command) -> Result<Step> {
    announce(name);
    let watch = Stopwatch::start();
    let mut counts = Counts::default();
    let status = child::run_reading(command, |line| {
        println!("{line}");
        counts += Counts::read(line);
    })?;
    Ok(Step::ended(name.to_owned(), counts, status, watch.elapsed()))
}

/// Builds a suite that cannot run, and counts what is lost by that.
pub(crate) fn list(name: String, command: &mut Command, why: String) -> Result<Step> {
    announce(&name);
    let watch = Stopwatch::start();
    let mut tests = 0;
    let status = child::run_reading(command.args(["--", "--list", "--format=terse"]), |line| {
        tests += u64::from(line.ends_with(": test"));
    })?;
    if !status.success() {
        return Ok(Step::ended(name, Counts::default(), status, watch.elapsed()));
    }
    Ok(skipped(name, tests, why))
}

pub(crate) fn skipped(name: String, tests: u64, why: String) -> Step {
    println!("SKIPPED: {name}: {why}");
    let counts = Counts { skipped: tests.max(1), ..Counts::default() };
    Step { name, counts, took: Duration::ZERO, remark: Some(why) }
}

pub(crate) fn announce(name: &str) {
    println!("\n==> {name}");
}
