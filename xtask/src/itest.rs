//! `cargo xtask itest`: everything that can be tested here, with real servers where there are any.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::child;
use crate::clock::Stopwatch;
use crate::services::Services;
use crate::suites::{self, Suites};
use crate::tally::{self, Counts, Step};
use crate::workspace::{Workspace, cargo};

/// Crates outside the workspace, as a user's would be, each with one dependency of ours; and whether it needs servers.
const OUTSIDE: [(&str, bool); 3] = [("through", true), ("back", true), ("embedded", false)];

/// With `long`, also what is left out of every day's run.
pub(crate) fn run(install: bool, long: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let services = Services::start(install)?;
    let suites = Suites::new(&workspace, workspace.test_features()).long(long);
    let run = Run { workspace: &workspace, services: &services, suites };

    let mut steps = vec![run.suites.in_process()?, run.suites.doc_tests()?];
    for (suite, packages) in workspace.server_tests() {
        steps.push(run.server_suite(suite, &packages)?);
    }
    for (outside, needs_servers) in OUTSIDE {
        steps.push(run.outside(outside, needs_servers)?);
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

/// Only the soak: all faults at random for so many minutes, with what it saw printed.
pub(crate) fn soak(install: bool, minutes: u32) -> Result<()> {
    let workspace = Workspace::load()?;
    let services = Services::start(install)?;
    if let Some(missing) = services.not_startable().first() {
        bail!("a soak needs servers of its own, and there is no {missing} here; --install would get it");
    }
    let suites = Suites::new(&workspace, workspace.test_features());
    let mut command = suites.cargo_test(&["--test", SOAK.0]);
    command.envs(services.env()).env("WRITEWAY_SOAK", minutes.to_string()).args(["--", "--nocapture", SOAK.1]);
    let step = suites::run("soak", &mut command)?;
    let ran = step.counts.passed > 0;
    if tally::print(&[step]).failed > 0 || !ran {
        bail!("the soak failed");
    }
    Ok(())
}

/// The suite and the tests in it.
const SOAK: (&str, &str) = ("it_crash", "soak::");

const NO_SERVERS: &str = "no ";

struct Run<'a> {
    workspace: &'a Workspace,
    services: &'a Services,
    suites: Suites<'a>,
}

impl Run<'_> {
    fn server_suite(&self, suite: &str, packages: &[&str]) -> Result<Step> {
        let name = format!("{suite} ({})", packages.join(", "));
        let mut command = self.suites.cargo_test(&["--test", suite]);
        if let Some(why) = self.why_not() {
            return suites::list(name, &mut command, why);
        }
        let mut step = suites::run(&name, command.envs(self.services.env()))?;
        if step.counts == Counts::default() {
            step.counts.failed = 1;
            step.remark = Some("held no test".to_owned());
        }
        Ok(step)
    }

    /// Built and run in the workspace's own directory of artifacts, with the versions of the workspace's lock file.
    fn outside(&self, outside: &str, needs_servers: bool) -> Result<Step> {
        let name = format!("outside crate ({outside})");
        suites::announce(&name);
        if let Some(why) = self.why_not().filter(|_| needs_servers) {
            return Ok(suites::skipped(name, 1, why));
        }
        let watch = Stopwatch::start();
        let root = &self.workspace.root;
        let manifest = root.join("tests/outside").join(outside).join("Cargo.toml");
        let lock = manifest.with_file_name("Cargo.lock");
        if !lock.exists() {
            fs::copy(root.join("Cargo.lock"), lock).context("copy the lock file")?;
        }
        let mut command = cargo();
        command.args(["run", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&self.workspace.target_dir);
        let status = child::run(command.current_dir(root).env("RUST_BACKTRACE", "1").envs(self.services.env()))?;
        let counts = Counts { passed: status.success().into(), ..Counts::default() };
        Ok(Step::ended(name, counts, status, watch.elapsed()))
    }

    /// Fault tests return early where they cannot start a server of their own; with given servers that is easily overlooked.
    fn faults_not_run(&self) -> Option<Step> {
        let missing = self.services.not_startable();
        let silent = self.services.missing().is_empty() && !missing.is_empty();
        silent.then(|| {
            suites::skipped(
                "tests that start a server".to_owned(),
                1,
                format!("{NO_SERVERS}{} on this machine", missing.join(", no ")),
            )
        })
    }

    fn why_not(&self) -> Option<String> {
        let missing = self.services.missing();
        (!missing.is_empty()).then(|| format!("{NO_SERVERS}{}; --install would get it", missing.join(", no ")))
    }
}
