//! `cargo xtask bench`: the comparison, in release, against real servers, or embedded where there are none.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use writeway_testkit::servers::Watchdog;

use crate::child;
use crate::ci::cargo_does;
use crate::services::Services;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Get missing servers from the system's package manager
    #[arg(long)]
    install: bool,
    /// End within a minute
    #[arg(long)]
    quick: bool,
    /// Without servers, also where there are some: SQLite in a file, the cache in the process
    #[arg(long, conflicts_with = "install")]
    embedded: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Show the figures of an earlier run of the same kind beside this one's: the JSON that it wrote
    #[arg(long, value_name = "PATH")]
    compare: Option<PathBuf>,
    /// Also write the measured table into docs/en/choose.md and docs/ko/choose.md; needs servers
    #[arg(long, conflicts_with = "embedded")]
    guide: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::load()?;
    let place = Place::find(arguments)?;
    place.say();

    println!("\n==> build, in release");
    cargo_does(&["build", "--release", "--package", "writeway-bench"])?;

    println!("\n==> bench");
    let mut bench = Command::new(workspace.target_dir.join("release/writeway-bench"));
    bench.args(arguments.quick.then_some("--quick")).args(arguments.guide.then_some("--guide"));
    for (name, path) in [("--json", &arguments.json), ("--compare", &arguments.compare)] {
        if let Some(path) = path {
            bench.arg(name).arg(std::path::absolute(path)?);
        }
    }
    bench.args(place.arguments()).envs(place.env()).current_dir(&workspace.root);
    let status = child::run(&mut bench)?;
    place.say();
    if !status.success() {
        bail!("the bench ended with {status}");
    }
    Ok(())
}

/// Where it is measured. What is made for it is gone with this value.
enum Place {
    Servers(Box<Services>),
    Embedded { why: String, directory: Scratch },
}

impl Place {
    fn find(arguments: &Arguments) -> Result<Self> {
        if arguments.embedded {
            return Self::embedded("as asked for".to_owned());
        }
        let services = Services::start(arguments.install)?;
        let missing = services.missing().join(" and no ");
        if missing.is_empty() {
            return Ok(Place::Servers(Box::new(services)));
        }
        if arguments.guide {
            bail!("the guide's table is measured with servers, and there is no {missing}; --install would get it");
        }
        Self::embedded(format!("there is no {missing}; --install would get it, or set REDIS_URL and DATABASE_URL"))
    }

    fn embedded(why: String) -> Result<Self> {
        Ok(Place::Embedded { why, directory: Scratch::new()? })
    }

    fn say(&self) {
        if let Place::Embedded { why, .. } = self {
            println!("      EMBEDDED, without servers: {why}. Its figures say nothing about runs with servers.");
        }
    }

    fn arguments(&self) -> Option<&'static str> {
        matches!(self, Place::Embedded { .. }).then_some("--embedded")
    }

    fn env(&self) -> Vec<(&'static str, OsString)> {
        match self {
            Place::Servers(services) => services.env().into_iter().map(|(name, value)| (name, value.into())).collect(),
            Place::Embedded { directory, .. } => vec![("WRITEWAY_BENCH_DIR", directory.path.clone().into())],
        }
    }
}

/// A directory that is gone with this value, or when we are killed.
struct Scratch {
    path: PathBuf,
    _removes: Watchdog,
}

impl Scratch {
    fn new() -> Result<Self> {
        let made = tempfile::Builder::new().prefix("writeway-bench-").tempdir().context("make a temporary directory")?;
        let removes = Watchdog::new("TERM", &["rm".as_ref(), "-rf".as_ref(), "--".as_ref(), made.path().as_os_str()])?;
        // From here on the watchdog removes it, so that there is one way only.
        Ok(Self { path: made.keep(), _removes: removes })
    }
}
