//! The project's commands: `cargo xtask --help`.

// The commands
mod bench;
mod bugs;
mod ci;
mod itest;
mod tidy;
mod up;
// What they stand on
mod child;
mod clock;
mod copy;
mod interrupt;
mod progress;
mod services;
mod sources;
mod suites;
mod tally;
mod toolchain;
mod workspace;

use std::path::PathBuf;
use std::process;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, tests and measures Writeway")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all tests, with Redis and PostgreSQL: given by REDIS_URL and DATABASE_URL, found here, or installed
    Itest {
        /// Get what is missing from the system's package manager
        #[arg(long)]
        install: bool,
        /// Also what takes long: a thousand kills, a million rows, larger explorations
        #[arg(long)]
        long: bool,
        /// Instead: all faults at random, for so many minutes
        #[arg(long, value_name = "MINUTES", conflicts_with = "long")]
        soak: Option<u32>,
    },
    /// Measure the strategies against each other and against raw access: with servers, or embedded where there are none
    Bench(bench::Arguments),
    /// Run one gate, or all of them
    Ci {
        job: Option<ci::Job>,
        /// Get what a job is missing: servers, cargo-deny, toolchains
        #[arg(long)]
        install: bool,
    },
    /// Seed the bugs in bugs/ one by one, and see each found by the test that it names
    Bugs {
        /// Only these, by the names of their files without .patch
        names: Vec<String>,
        /// Get missing servers from the system's package manager
        #[arg(long)]
        install: bool,
    },
    /// Check what no compiler checks
    Tidy,
    /// Start a private Redis and PostgreSQL in the background, to play with; prints how to reach them: eval "$(cargo xtask up)"
    Up {
        /// Get missing servers from the system's package manager
        #[arg(long)]
        install: bool,
    },
    /// End what `up` started, and remove its data
    Down,
    /// Own the servers of `up`
    #[command(hide = true)]
    Keep { dir: PathBuf, redis: PathBuf, postgres: PathBuf },
    /// Clear out what a run made in servers that were given
    #[command(hide = true)]
    Clear {
        #[arg(long)]
        redis_prefix: Option<String>,
        #[arg(long)]
        database: Option<String>,
    },
}

fn main() {
    let outcome = interrupt::listen().and_then(|()| run(Arguments::parse().command));
    if let Err(error) = outcome {
        eprintln!("error: {error:#}");
        process::exit(if interrupt::is_asked() { interrupt::EXIT_CODE } else { 1 });
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Itest { install, soak: Some(minutes), .. } => itest::soak(install, minutes),
        Command::Itest { install, long, soak: None } => itest::run(install, long),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Ci { job, install } => ci::run(job, install),
        Command::Bugs { names, install } => bugs::run(&names, install),
        Command::Tidy => tidy::run(),
        Command::Up { install } => up::up(install),
        Command::Down => up::down(),
        Command::Keep { dir, redis, postgres } => up::keep(&dir, &redis, &postgres),
        Command::Clear { redis_prefix, database } => services::clear(redis_prefix.as_deref(), database.as_deref()),
    }
}
