//! `cargo xtask bench`: the comparison, in release, against real servers.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::child;
use crate::ci::cargo_does;
use crate::services::Services;
use crate::workspace::Workspace;

pub(crate) fn run(install: bool, quick: bool, json: Option<PathBuf>) -> Result<()> {
    let workspace = Workspace::load()?;
    let services = Services::start(install)?;
    let missing = services.missing();
    if !missing.is_empty() {
        let way = if install { "" } else { "; --install would get it, or set REDIS_URL and DATABASE_URL" };
        bail!("a comparison needs servers, and there is no {}{way}", missing.join(", no "));
    }

    println!("\n==> build, in release");
    cargo_does(&["build", "--release", "--package", "writeway-bench"])?;

    println!("\n==> bench");
    let mut bench = Command::new(workspace.target_dir.join("release/writeway-bench"));
    bench.args(quick.then_some("--quick"));
    if let Some(path) = json {
        bench.arg("--json").arg(path);
    }
    let status = child::run(bench.envs(services.env()))?;
    if !status.success() {
        bail!("the bench ended with {status}");
    }
    Ok(())
}
