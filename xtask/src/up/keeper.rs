//! The process that owns the servers of `up`, in a session of its own: no terminal that closes reaches it.
//!
//! **Invariant:** the servers end with the keeper, however it ends; their watchdogs see to that. And the keeper ends when
//! nobody could find it any more, as after `cargo clean`.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd::setsid;
use writeway_testkit::servers::{Postgres, Redis, until};

use super::home::{Home, Running, State};
use crate::{clock, interrupt};

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Others try the lock for a moment, to see whether it is held.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOG_TAIL_LINES: usize = 20;

/// Runs the hidden command `keep` in the background.
pub(super) fn start(home: &Home, redis: &Path, postgres: &Path) -> Result<Child> {
    let log = File::create(home.log())?;
    let mut command = Command::new(env::current_exe().context("find our own binary")?);
    command.arg("keep").args([home.dir(), redis, postgres]).current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("start the keeper")
}

/// The last lines that a keeper said.
pub(super) fn log_tail(home: &Home) -> String {
    let log = fs::read_to_string(home.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// The hidden command `keep`: starts both, and keeps them until it is asked to end.
pub(crate) fn keep(dir: &Path, redis: &Path, postgres: &Path) -> Result<()> {
    setsid().context("begin a session")?;
    let home = Home::new(dir.to_owned())?;
    let _kept = until("the keeper's lock", LOCK_LIMIT, || home.keep())?;
    let keeper = i32::try_from(process::id())?;
    home.write(&State { keeper, servers: None })?;
    let served = serve(&home, keeper, redis, postgres);
    // The servers and their directories are gone by now.
    if is_ours(&home, keeper) {
        home.forget()?;
    }
    served
}

fn serve(home: &Home, keeper: i32, redis: &Path, postgres: &Path) -> Result<()> {
    let redis = Redis::start(redis)?;
    interrupt::check()?;
    let postgres = Postgres::start(postgres)?;
    let servers = Running {
        redis_url: redis.url(),
        database_url: postgres.url(),
        ports: vec![redis.port(), postgres.port()],
        dirs: vec![redis.dir().to_owned(), postgres.dir().to_owned()],
    };
    home.write(&State { keeper, servers: Some(servers) })?;
    while !interrupt::is_asked() {
        if !is_ours(home, keeper) {
            bail!("the state is gone, so nobody could end this keeper any more");
        }
        clock::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

fn is_ours(home: &Home, keeper: i32) -> bool {
    home.state().is_some_and(|state| state.keeper == keeper)
}
