//! The project's commands: `cargo xtask --help`.

mod child;
mod clock;
mod interrupt;
mod itest;
mod services;
mod tally;
mod workspace;

use std::process;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and measures Writeway")]
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
    },
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
        Command::Itest { install } => itest::run(install),
        Command::Clear { redis_prefix, database } => services::clear(redis_prefix.as_deref(), database.as_deref()),
    }
}
