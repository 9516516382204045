//! `cargo xtask itest`: everything that can be tested here, with real servers where there are any.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::child;
use crate::clock::Stopwatch;
use crate::services::Services;
use crate::tally::{self, Counts, Step};
use crate::workspace::{Workspace, cargo};

/// A crate outside the workspace, as a user's would be.
const OUTSIDE: &str = "tests/outside/Cargo.toml";

/// What server tests read; nobody else may see them, so that a unit test that needs a server is found out.
const SERVER_VARIABLES: [&str; 6] =
    ["REDIS_URL", "DATABASE_URL", "WRITEWAY_PREFIX", "WRITEWAY_REDIS_SERVER", "WRITEWAY_PG_BIN", "WRITEWAY_PG_USER"];

pub(crate) fn run(install: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let services = Services::start(install)?;
    let run = Run { workspace: &workspace, services: &services, features: workspace.test_features() };

    let mut steps = vec![run.in_process()?, run.doc_tests()?];
    for (suite, packages) in workspace.server_tests() {
        steps.push(run.server_suite(suite, &packages)?);
    }
    if workspace.root.join(OUTSIDE).exists() {
        steps.push(run.outside()?);
    }
    steps.extend(run.faults_not_run());
    drop(services);

    let total = tally::print(&steps);
    if total.failed > 0 {
        bail!("the run failed");
    }
    let unserved = steps.iter().any(|step| step.remark.as_ref().is_some_and(|remark| remark.starts_with(NO_SERVERS)));
    if unserved && env::var_os("CI").is_some() {
        bail!("under CI a suite that is skipped for want of servers is a failure");
    }
    Ok(())
}

const NO_SERVERS: &str = "no ";

struct Run<'a> {
    workspace: &'a Workspace,
    services: &'a Services,
    features: String,
}

impl Run<'_> {
    fn in_process(&self) -> Result<Step> {
        let mut command = self.cargo_test(&["--lib", "--bins", "--examples"]);
        for test in self.workspace.in_process_tests() {
            command.args(["--test", test]);
        }
        run_tests("unit, explorer and property tests", &mut command)
    }

    fn doc_tests(&self) -> Result<Step> {
        run_tests("doc tests", &mut self.cargo_test(&["--doc"]))
    }

    fn server_suite(&self, suite: &str, packages: &[&str]) -> Result<Step> {
        let name = format!("{suite} ({})", packages.join(", "));
        let mut command = self.cargo_test(&["--test", suite]);
        if let Some(why) = self.why_not() {
            return list_tests(name, &mut command, why);
        }
        let mut step = run_tests(&name, command.envs(self.services.env()))?;
        if step.counts == Counts::default() {
            step.counts.failed = 1;
            step.remark = Some("held no test".to_owned());
        }
        Ok(step)
    }

    /// Built and run from the workspace's own directory of artifacts.
    fn outside(&self) -> Result<Step> {
        let name = "outside crate".to_owned();
        announce(&name);
        if let Some(why) = self.why_not() {
            return Ok(skipped(name, 1, why));
        }
        let watch = Stopwatch::start();
        let mut command = cargo();
        command.args(["run", "--manifest-path", OUTSIDE, "--target-dir"]).arg(&self.workspace.target_dir);
        let status = child::run(command.current_dir(&self.workspace.root).env("RUST_BACKTRACE", "1").envs(self.services.env()))?;
        let counts = Counts { passed: status.success().into(), ..Counts::default() };
        Ok(Step::ended(name, counts, status, watch.elapsed()))
    }

    /// The same packages and features in every step, so that nothing is built twice.
    fn cargo_test(&self, which: &[&str]) -> Command {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast"]).args(which);
        if !self.features.is_empty() {
            command.args(["--features", &self.features]);
        }
        for variable in SERVER_VARIABLES {
            command.env_remove(variable);
        }
        command.current_dir(&self.workspace.root).env("RUST_BACKTRACE", "1");
        command
    }

    /// Fault tests return early where they cannot start a server of their own; with given servers that is easily overlooked.
    fn faults_not_run(&self) -> Option<Step> {
        let missing = self.services.not_startable();
        let silent = self.services.missing().is_empty() && !missing.is_empty();
        silent.then(|| {
            skipped("tests that start a server".to_owned(), 1, format!("{NO_SERVERS}{} on this machine", missing.join(", no ")))
        })
    }

    fn why_not(&self) -> Option<String> {
        let missing = self.services.missing();
        (!missing.is_empty()).then(|| format!("{NO_SERVERS}{}; --install would get it", missing.join(", no ")))
    }
}

fn run_tests(name: &str, command: &mut Command) -> Result<Step> {
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
fn list_tests(name: String, command: &mut Command, why: String) -> Result<Step> {
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

fn skipped(name: String, tests: u64, why: String) -> Step {
    println!("SKIPPED: {name}: {why}");
    let counts = Counts { skipped: tests.max(1), ..Counts::default() };
    Step { name, counts, took: std::time::Duration::ZERO, remark: Some(why) }
}

fn announce(name: &str) {
    println!("\n==> {name}");
}
