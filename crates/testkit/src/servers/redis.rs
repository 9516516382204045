//! A private Redis (or Valkey): AOF everysec, no eviction, no snapshots, CONFIG and DEBUG open to this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::instance::{Instance, Start};
use super::port;
use super::resp::Resp;
use super::wait::until;

const RESTART_LIMIT: Duration = Duration::from_secs(30);
const CLEANUP: &str = r#"rm -rf -- "$1""#;

/// Killed, and its directory removed, when dropped.
#[derive(Debug)]
pub struct Redis {
    instance: Instance,
    binary: PathBuf,
    port: u16,
    appendfsync: &'static str,
    replica_of: Option<u16>,
}

impl Redis {
    /// Starts `binary` on a free loopback port and returns when it answers.
    ///
    /// # Errors
    /// It does not run or does not get ready; the error holds the tail of its log.
    pub fn start(binary: &Path) -> Result<Self> {
        Self::start_as(binary, None)
    }

    /// Starts a replica of this server, and returns when it has all that the server had.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn replica(&self) -> Result<Self> {
        self.replica_through(self.port)
    }

    /// The same, where this port leads to the server: through a proxy the replica can be made to lag.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn replica_through(&self, port: u16) -> Result<Self> {
        let replica = Self::start_as(&self.binary, Some(port))?;
        let listed = format!("port={},state=online,", replica.port);
        let address = format!("127.0.0.1:{}", self.port);
        until("the replica to be online", RESTART_LIMIT, || {
            let info = Resp::connect(&address)?.call(&["INFO", "replication"])?;
            Ok(info.iter().any(|text| text.contains(&listed)).then_some(()))
        })?;
        Ok(replica)
    }

    fn start_as(binary: &Path, replica_of: Option<u16>) -> Result<Self> {
        let instance = Instance::new("Redis", Signal::SIGKILL, CLEANUP)?;
        let mut redis = Self { instance, binary: binary.to_owned(), port: 0, appendfsync: "everysec", replica_of };
        for _ in 0..port::ATTEMPTS {
            redis.port = port::free()?;
            match redis.launch()? {
                Start::Ready => return Ok(redis),
                Start::Exited(log) if log.contains("already in use") => {}
                Start::Exited(log) => bail!("{} ended at once; its log ends with:\n{log}", binary.display()),
            }
        }
        bail!("{} ports in a row were taken by others", port::ATTEMPTS)
    }

    /// Starts the binary that `cargo xtask itest` found; `None` where it named none, as when `REDIS_URL` was given.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn from_env() -> Result<Option<Self>> {
        env::var_os("WRITEWAY_REDIS_SERVER").map(|binary| Self::start(Path::new(&binary))).transpose()
    }

    /// From the next start on, a change is on the disk before it is acknowledged.
    pub fn fsync_always(&mut self) {
        self.appendfsync = "always";
    }

    /// The same for as long as the value lives, through restarts.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory; the append-only file is in `appendonlydir`.
    pub fn dir(&self) -> &Path {
        self.instance.dir()
    }

    /// # Errors
    /// It is not running.
    pub fn pid(&self) -> Result<u32> {
        self.instance.pid()
    }

    /// Ends it in good order: what it acknowledged is in its file.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn stop(&mut self) -> Result<()> {
        self.instance.stop(Signal::SIGTERM)
    }

    /// SIGKILL. The kernel still has all that was written, which is not all that was acknowledged: with `everysec` Redis puts off
    /// a write while it waits for the disk. For a power cut truncate the append-only file afterwards.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        self.instance.kill(&[pid])
    }

    /// Starts it again, with its data, on the same port; stops it first where it runs.
    ///
    /// # Errors
    /// As [`Redis::start`]; the port may have been taken meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        until("Redis to start again", RESTART_LIMIT, || match self.launch()? {
            Start::Ready => Ok(Some(())),
            Start::Exited(log) if log.contains("already in use") => Ok(None),
            Start::Exited(log) => bail!("Redis did not start again; its log ends with:\n{log}"),
        })
    }

    /// Freezes it: connections stay open, nothing answers.
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        self.instance.pause(vec![pid])
    }

    /// Ends a [`Redis::pause`].
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&mut self) -> Result<()> {
        self.instance.resume()
    }

    fn launch(&mut self) -> Result<Start> {
        let port = self.port.to_string();
        let mut command = Command::new(&self.binary);
        command.args(["--port", &port, "--bind", "127.0.0.1", "--daemonize", "no", "--logfile", ""]);
        command.args(["--dir", self.instance.dir().to_str().context("the temporary directory's name is not UTF-8")?]);
        command.args(["--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""]);
        command.args(["--maxmemory-policy", "noeviction", "--enable-debug-command", "local"]);
        // A replica is sent the data at once, not after waiting for others.
        command.args(["--repl-diskless-sync-delay", "0"]);
        if let Some(of) = self.replica_of {
            command.args(["--replicaof", "127.0.0.1", &of.to_string()]);
        }
        let replica = self.replica_of.is_some();
        self.instance.start(command, |_, pid| is_ready(&port, pid, replica))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Err(error) = self.instance.stop(Signal::SIGKILL) {
            eprintln!("{error:#}");
        }
    }
}

/// The process id tells our server from one that was quicker to take the port.
fn is_ready(port: &str, pid: u32, replica: bool) -> bool {
    let info = Resp::connect(&format!("127.0.0.1:{port}")).and_then(|mut redis| redis.call(&["INFO"]));
    info.is_ok_and(|info| {
        let has = |wanted: &str| info.iter().flat_map(|text| text.lines()).any(|line| line == wanted);
        has(&format!("process_id:{pid}")) && has("loading:0") && (!replica || has("master_link_status:up"))
    })
}
