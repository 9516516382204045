//! The directory by which `up`, `down` and the keeper know of each other.
//!
//! The keeper holds a lock for as long as it lives, so nobody takes a file that was left behind for a keeper: the kernel
//! releases the lock of whoever is gone. What the state says is believed only while the lock is held.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};
use writeway_testkit::servers::until;

/// What the watchdogs of a keeper that was killed take at most, and a little more.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(12);
/// So are the directories of servers called; nothing else is ever removed.
const DIR_PREFIX: &str = "writeway-";

pub(super) struct Home {
    dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) keeper: i32,
    /// `None` while they are being started.
    pub(super) servers: Option<Running>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) redis_url: String,
    pub(super) database_url: String,
    pub(super) ports: Vec<u16>,
    pub(super) dirs: Vec<PathBuf>,
}

impl Home {
    pub(super) fn new(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("keeper.log")
    }

    /// Only one `up` or `down` at a time; waits for another.
    pub(super) fn alone(&self) -> Result<Flock<File>> {
        match try_lock(&self.dir.join("command.lock"))? {
            Some(alone) => Ok(alone),
            None => {
                eprintln!("      waiting for another `up` or `down`");
                let file = File::create(self.dir.join("command.lock"))?;
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).context("lock")
            }
        }
    }

    /// The keeper's lock, unless there is a keeper.
    pub(super) fn keep(&self) -> Result<Option<Flock<File>>> {
        try_lock(&self.dir.join("keeper.lock"))
    }

    /// Whether there is a keeper.
    pub(super) fn is_kept(&self) -> Result<bool> {
        Ok(self.keep()?.is_none())
    }

    /// What a keeper wrote last, be it there or not; a file that makes no sense is none.
    pub(super) fn state(&self) -> Option<State> {
        State::parse(&fs::read_to_string(self.state_path()).ok()?)
    }

    /// The old state or the new one, never a part.
    pub(super) fn write(&self, state: &State) -> Result<()> {
        let new = self.dir.join("state.new");
        fs::write(&new, state.text()).and_then(|()| fs::rename(&new, self.state_path())).context("write the state")
    }

    pub(super) fn forget(&self) -> Result<()> {
        match fs::remove_file(self.state_path()) {
            Err(error) if self.state_path().exists() => Err(error).context("remove the state"),
            _ => Ok(()),
        }
    }

    /// Without a keeper: waits till the watchdogs of one that was killed are done. Nobody does their work after a reboot, so
    /// what is left then, with nobody at the ports, is removed here.
    pub(super) fn clear_leftovers(&self) -> Result<()> {
        let servers = self.state().and_then(|state| state.servers);
        let left = || servers.iter().flat_map(|servers| &servers.dirs).filter(|dir| dir.exists());
        if until("what a killed keeper left", LEFTOVER_LIMIT, || Ok((left().count() == 0).then_some(()))).is_err() {
            for port in servers.iter().flat_map(|servers| &servers.ports) {
                if TcpStream::connect(("127.0.0.1", *port)).is_ok() {
                    bail!("a server of a keeper that is gone still listens on port {port}: end it by hand");
                }
            }
            for dir in left().filter(|dir| is_ours(dir)) {
                fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
            }
        }
        self.forget()
    }

    fn state_path(&self) -> PathBuf {
        self.dir.join("state.json")
    }
}

fn is_ours(dir: &Path) -> bool {
    dir.is_absolute() && dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DIR_PREFIX))
}

fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    let file = File::create(path).with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        let state: Value = serde_json::from_str(text).ok()?;
        let keeper = i32::try_from(state["keeper"].as_i64()?).ok().filter(|pid| *pid > 1)?;
        let servers = match &state["servers"] {
            Value::Null => None,
            servers => Some(Running::parse(servers)?),
        };
        Some(Self { keeper, servers })
    }

    fn text(&self) -> String {
        let servers = self.servers.as_ref().map(|servers| {
            json!({
                "redis_url": servers.redis_url,
                "database_url": servers.database_url,
                "ports": servers.ports,
                "dirs": servers.dirs,
            })
        });
        format!("{:#}\n", json!({ "keeper": self.keeper, "servers": servers }))
    }
}

impl Running {
    fn parse(servers: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
        Some(Self {
            redis_url: text(&servers["redis_url"])?,
            database_url: text(&servers["database_url"])?,
            ports: servers["ports"].as_array()?.iter().map(port).collect::<Option<_>>()?,
            dirs: servers["dirs"].as_array()?.iter().map(|dir| text(dir).map(PathBuf::from)).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let root = tempfile::tempdir().unwrap();
        let home = Home::new(root.path().join("up")).unwrap();
        (root, home)
    }

    fn state(dirs: &[&Path]) -> State {
        let servers = Running {
            redis_url: "redis://127.0.0.1:1/".to_owned(),
            database_url: "postgres://postgres@127.0.0.1:2/postgres".to_owned(),
            ports: vec![1, 2],
            dirs: dirs.iter().map(|dir| (*dir).to_owned()).collect(),
        };
        State { keeper: 4711, servers: Some(servers) }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let (_root, home) = home();
        assert_eq!(home.state(), None);
        for state in [State { keeper: 4711, servers: None }, state(&[Path::new("/tmp/writeway-x")])] {
            home.write(&state).unwrap();
            assert_eq!(home.state(), Some(state));
        }
        home.forget().unwrap();
        assert_eq!(home.state(), None);
        home.forget().unwrap();
    }

    #[test]
    fn a_state_that_makes_no_sense_is_none() {
        let good = state(&[]).text();
        assert!(State::parse(&good).is_some());
        for bad in
            ["", "{", "{}", "{\"keeper\": 1}", "{\"keeper\": -5}", &good.replace("\"redis_url\"", "\"redis\""), &good[..20]]
        {
            assert_eq!(State::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn there_is_one_keeper_and_it_is_there_while_it_lives() {
        let (_root, home) = home();
        assert!(!home.is_kept().unwrap());
        let lock = home.keep().unwrap().unwrap();
        assert!(home.is_kept().unwrap());
        assert!(home.keep().unwrap().is_none());
        drop(lock);
        assert!(!home.is_kept().unwrap());
    }

    #[test]
    fn a_state_that_was_left_is_forgotten_once_its_directories_are_gone() {
        let (root, home) = home();
        home.write(&state(&[&root.path().join("writeway-gone")])).unwrap();
        home.clear_leftovers().unwrap();
        assert_eq!(home.state(), None);
    }

    #[test]
    fn only_directories_of_servers_are_ever_removed() {
        assert!(is_ours(Path::new("/tmp/writeway-redis-x")));
        assert!(!is_ours(Path::new("/tmp")) && !is_ours(Path::new("/")) && !is_ours(Path::new("writeway-x")));
    }
}
