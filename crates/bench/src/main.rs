//! The load generator behind `cargo xtask bench`: the strategies against each other, and against the same work done raw.
//!
//! With servers it reads `REDIS_URL`, `DATABASE_URL` and, if set, `WRITEWAY_PREFIX`, and removes what it made on both. With
//! `--embedded` it needs none, and makes a file in the directory `WRITEWAY_BENCH_DIR`.

// What is run
mod keys;
mod place;
mod plan;
mod subject;
mod table;
mod workload;

// How it is measured
mod cases;
mod clock;
mod compare;
#[path = "../../core/src/redis/compose.rs"]
mod compose;
mod count;
mod load;
mod loss;
mod ratios;
mod raw;
mod staleness;

// What is told
mod column;
mod earlier;
mod environment;
mod guide;
mod progress;
mod report;
mod summary;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tokio::task::JoinSet;

use earlier::Earlier;
use environment::Environment;
use guide::Guide;
use place::{Embedded, Place, Servers};
use plan::Plan;
use progress::Progress;
use report::Report;

/// Compares the strategies on the servers of `REDIS_URL` and `DATABASE_URL`, or without any.
#[derive(Debug, Parser)]
struct Arguments {
    /// Less of everything: ends within a minute.
    #[arg(long)]
    quick: bool,
    /// Without servers: SQLite in a file, the cache in this process.
    #[arg(long)]
    embedded: bool,
    /// Where the figures go; by default a file of its own under target/bench.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// The figures of an earlier run of the same kind, to be shown beside this run's.
    #[arg(long, value_name = "PATH")]
    compare: Option<PathBuf>,
    /// Also writes the measured table into docs/en/choose.md and docs/ko/choose.md of this directory.
    #[arg(long, conflicts_with = "embedded")]
    guide: bool,
    /// One half of the run.
    #[arg(long, value_name = "PART", conflicts_with = "guide")]
    only: Option<Part>,
    /// Writes, as one of the subjects, until it is killed: a run starts itself so.
    #[arg(long, hide = true)]
    victim: Option<subject::Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The strategies against each other.
    Comparison,
    /// The strategies against the same work done raw.
    Ratios,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // In a task, because the main thread is none of the runtime's workers and would be measured as such.
    let mut tasks = JoinSet::new();
    tasks.spawn(run(arguments));
    tasks.join_next().await.context("the run did not start")??
}

async fn run(arguments: Arguments) -> Result<()> {
    let of = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: try `cargo xtask bench`"));
    let prefix = || std::env::var("WRITEWAY_PREFIX").unwrap_or_else(|_| "writeway".to_owned());
    if let Some(kind) = arguments.victim {
        let plan = arguments.plan();
        return if arguments.embedded {
            loss::be_killed(&Embedded::join().await?, &plan, kind).await
        } else {
            loss::be_killed(&Servers::join(of("REDIS_URL")?, of("DATABASE_URL")?, prefix()).await?, &plan, kind).await
        };
    }
    count::install()?;
    if arguments.embedded {
        run_in(Embedded::make().await?, arguments).await
    } else {
        run_in(Servers::connect(of("REDIS_URL")?, of("DATABASE_URL")?, &prefix()).await?, arguments).await
    }
}

/// Removes what was made, however it ends.
async fn run_in<P: Place>(mut place: P, arguments: Arguments) -> Result<()> {
    let done = tokio::select! {
        done = tell(&mut place, &arguments) => done,
        interrupted = tokio::signal::ctrl_c() => Err(interrupted.err().map_or_else(|| anyhow::anyhow!("interrupted"), Into::into)),
    };
    let cleaned = place.clean_up().await;
    done.and(cleaned)
}

async fn tell<P: Place>(place: &mut P, arguments: &Arguments) -> Result<()> {
    let plan = arguments.plan();
    // What these refuse is refused before anything is measured.
    let earlier = arguments.compare.as_ref().map(|path| Earlier::read(path, P::KIND, plan.name)).transpose()?;
    let guide = arguments.guide.then(|| Guide::find(Path::new(""))).transpose()?;
    let report = measure(place, plan).await?;
    tables::print(&report, earlier.as_ref());
    println!("{}", report.save(arguments.json.as_deref())?.display());
    let broken = report.broken();
    anyhow::ensure!(broken.is_empty(), "stale in strict mode, or an acknowledged write is gone: {}", broken.join("; "));
    guide.map_or(Ok(()), |guide| guide.write(&report))
}

impl Arguments {
    fn plan(&self) -> Plan {
        let mut plan = if self.quick { Plan::quick() } else { Plan::long() };
        match self.only {
            Some(Part::Comparison) => plan.ratio_rounds = 0,
            Some(Part::Ratios) => plan.rounds = 0,
            None => {}
        }
        plan
    }
}

async fn measure<P: Place>(place: &mut P, plan: Plan) -> Result<Report> {
    let environment = Environment::read(place).await?;
    let mut progress = Progress::new(plan.steps(P::CASES));
    let (mut comparisons, mut losses, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    if plan.rounds > 0 {
        comparisons = compare::compare(place, &plan, &mut progress).await?;
        losses = loss::measure(place, &plan, &mut progress).await?;
    }
    if plan.ratio_rounds > 0 {
        ratios = ratios::measure(place.cases(&plan).await?, &plan, &mut progress).await?;
    }
    progress.done();
    Ok(Report::new(P::KIND, environment, plan, comparisons, losses, ratios))
}
