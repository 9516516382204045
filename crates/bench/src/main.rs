//! The load generator behind `cargo xtask bench`: the strategies against each other, and against the same work done raw.
//!
//! It reads `REDIS_URL`, `DATABASE_URL` and, if set, `WRITEWAY_PREFIX`, and removes what it made on both servers.

// What is run
mod keys;
mod plan;
mod subject;
mod table;
mod workload;

// How it is measured
mod cases;
mod clock;
mod compare;
mod count;
mod load;
mod loss;
mod ratios;
mod raw;
mod servers;
mod staleness;

// What is told
mod column;
mod environment;
mod progress;
mod report;
mod summary;
mod tables;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tokio::task::JoinSet;

use environment::Environment;
use plan::Plan;
use progress::Progress;
use report::Report;
use servers::Servers;

/// Compares the strategies on the servers of `REDIS_URL` and `DATABASE_URL`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Less of everything: ends within a minute.
    #[arg(long)]
    quick: bool,
    /// Where the figures go; by default a file of its own under target/bench.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// One half of the run.
    #[arg(long, value_name = "PART")]
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
    let prefix = std::env::var("WRITEWAY_PREFIX").unwrap_or_else(|_| "writeway".to_owned());
    let plan = if arguments.quick { Plan::quick() } else { Plan::long() };
    if let Some(kind) = arguments.victim {
        let servers = Servers::join(of("REDIS_URL")?, of("DATABASE_URL")?, prefix).await?;
        return loss::be_killed(&servers, &plan, kind).await;
    }
    count::install()?;
    let mut servers = Servers::connect(of("REDIS_URL")?, of("DATABASE_URL")?, &prefix).await?;
    let measured = tokio::select! {
        measured = measure(&mut servers, plan, arguments.only) => measured,
        interrupted = tokio::signal::ctrl_c() => Err(interrupted.err().map_or_else(|| anyhow::anyhow!("interrupted"), Into::into)),
    };
    let cleaned = servers.clean_up().await;
    let report = measured?;
    tables::print(&report);
    println!("{}", report.save(arguments.json.as_deref())?.display());
    let broken = report.broken();
    anyhow::ensure!(broken.is_empty(), "stale in strict mode, or an acknowledged write is gone: {}", broken.join("; "));
    cleaned
}

async fn measure(servers: &mut Servers, mut plan: Plan, only: Option<Part>) -> Result<Report> {
    match only {
        Some(Part::Comparison) => plan.ratio_rounds = 0,
        Some(Part::Ratios) => plan.rounds = 0,
        None => {}
    }
    let environment = Environment::read(servers).await?;
    let mut progress = Progress::new(plan.steps());
    let (mut comparisons, mut losses, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    if plan.rounds > 0 {
        comparisons = compare::compare(servers, &plan, &mut progress).await?;
        losses = loss::measure(servers, &plan, &mut progress).await?;
    }
    if plan.ratio_rounds > 0 {
        ratios = ratios::measure(cases::prepare(servers, &plan).await?, &plan, &mut progress).await?;
    }
    progress.done();
    Ok(Report::new(environment, plan, comparisons, losses, ratios))
}
