//! `cargo xtask up` and `down`: a private Redis and PostgreSQL to play with, in the background.
//!
//! `up` says on stdout how to reach them and nothing else, so that `eval "$(cargo xtask up)"` works.

mod home;
mod keeper;

use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use writeway_testkit::servers::until;

use crate::clock::Stopwatch;
use crate::interrupt;
use crate::services;
use crate::workspace::Workspace;

use home::{Home, Running};

pub(crate) use keeper::keep;

const START_LIMIT: Duration = Duration::from_secs(150);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const STATE_LIMIT: Duration = Duration::from_secs(5);

/// Starts both, or finds them started; `install` allows the system's package manager.
pub(crate) fn up(install: bool) -> Result<()> {
    let home = Home::new(Workspace::load()?.target_dir.join("up"))?;
    let _alone = home.alone()?;
    if let Some(servers) = running(&home)? {
        eprintln!("Redis and PostgreSQL run already");
        say(&servers);
        return Ok(());
    }
    home.clear_leftovers()?;

    let binaries = services::Binaries::find(install, true, true)?;
    let (Some(redis), Some(postgres)) = (&binaries.redis, &binaries.postgres) else {
        bail!("there is no {} here; cargo xtask up --install would get it", binaries.missing().join(", no "));
    };
    eprintln!("      Redis from {}", redis.display());
    eprintln!("      PostgreSQL from {}", postgres.display());
    let watch = Stopwatch::start();
    let mut keeper = keeper::start(&home, redis, postgres)?;
    match started(&home, &mut keeper) {
        Ok(servers) => {
            eprintln!("      ready in {watch}");
            say(&servers);
            Ok(())
        }
        Err(error) => {
            ask_to_end(i32::try_from(keeper.id())?)?;
            until("the keeper to end", STOP_LIMIT, || Ok(keeper.try_wait()?))?;
            home.clear_leftovers()?;
            Err(error)
        }
    }
}

/// Ends what `up` started, and returns when all of it is gone.
pub(crate) fn down() -> Result<()> {
    let home = Home::new(Workspace::load()?.target_dir.join("up"))?;
    let _alone = home.alone()?;
    let ran = end(&home)?;
    home.clear_leftovers()?;
    println!("{}", if ran { "Redis and PostgreSQL have ended; their data is gone" } else { "nothing runs that `up` started" });
    Ok(())
}

/// What the keeper keeps, if there is one; waits for one that is still starting.
fn running(home: &Home) -> Result<Option<Running>> {
    until("the servers that another `up` began to start", START_LIMIT, || {
        interrupt::check()?;
        if !home.is_kept()? {
            return Ok(Some(None));
        }
        Ok(home.state().and_then(|state| state.servers).map(Some))
    })
}

fn started(home: &Home, keeper: &mut Child) -> Result<Running> {
    until("Redis and PostgreSQL to start", START_LIMIT, || {
        interrupt::check()?;
        if let Some(status) = keeper.try_wait()? {
            bail!("the servers did not start ({status}):\n{}", keeper::log_tail(home));
        }
        Ok(home.state().and_then(|state| state.servers))
    })
}

/// Asks the keeper to end and waits for it; false if there is none.
fn end(home: &Home) -> Result<bool> {
    if !home.is_kept()? {
        return Ok(false);
    }
    let named = until("the keeper to say who it is", STATE_LIMIT, || Ok(home.state()));
    let keeper = named.with_context(|| format!("somebody holds the lock in {}", home.dir().display()))?.keeper;
    ask_to_end(keeper)?;
    until("Redis and PostgreSQL to end", STOP_LIMIT, || Ok((!home.is_kept()?).then_some(())))?;
    Ok(true)
}

fn ask_to_end(keeper: i32) -> Result<()> {
    match kill(Pid::from_raw(keeper), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("ask process {keeper} to end")),
    }
}

fn say(servers: &Running) {
    println!("export REDIS_URL={}", servers.redis_url);
    println!("export DATABASE_URL={}", servers.database_url);
    eprintln!("They listen on this machine only, without passwords, and run until `cargo xtask down`, which removes their data.");
}
