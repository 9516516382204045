//! A private PostgreSQL: a fresh cluster, fsync on, trust for loopback connections, no Unix socket.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::instance::{Instance, Start};
use super::pg_handshake;
use super::port;
use super::user::User;
use super::wait::until;

const RESTART_LIMIT: Duration = Duration::from_secs(30);
const SUPERUSER: &str = "postgres";

/// A killed postmaster leaves its System V segment to the next start, by a line in its pid file. Where none came, this takes
/// the segment away.
const CLEANUP: &str = r#"
segment=$(awk 'NR == 7 { print $2 }' "$1/data/postmaster.pid" 2>/dev/null) && [ -n "$segment" ] && ipcrm -m "$segment" 2>/dev/null
rm -rf -- "$1"
"#;

/// Shut down, and its directory removed, when dropped.
#[derive(Debug)]
pub struct Postgres {
    instance: Instance,
    bin: PathBuf,
    user: Option<User>,
    port: u16,
}

impl Postgres {
    /// Makes a cluster with the `initdb` and `postgres` in the directory `bin`, starts it on a free loopback port, and returns
    /// when it lets us in. As root it runs as `WRITEWAY_PG_USER`, else `postgres`, else `nobody`.
    ///
    /// # Errors
    /// It does not run or does not get ready; the error holds the tail of its log.
    pub fn start(bin: &Path) -> Result<Self> {
        let user = User::unprivileged()?;
        let instance = Instance::new("Postgres", Signal::SIGQUIT, CLEANUP)?;
        if let Some(user) = &user {
            user.own(instance.dir())?;
        }
        let mut postgres = Self { instance, bin: bin.to_owned(), user, port: 0 };
        postgres.initdb()?;
        for _ in 0..port::ATTEMPTS {
            postgres.port = port::free()?;
            match postgres.launch()? {
                Start::Ready => return Ok(postgres),
                Start::Exited(log) if log.contains("already in use") => {}
                Start::Exited(log) => bail!("PostgreSQL ended at once; its log ends with:\n{log}"),
            }
        }
        bail!("{} ports in a row were taken by others", port::ATTEMPTS)
    }

    /// Starts the binaries that `cargo xtask itest` found; `None` where it named none, as when `DATABASE_URL` was given.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn from_env() -> Result<Option<Self>> {
        env::var_os("WRITEWAY_PG_BIN").map(|bin| Self::start(Path::new(&bin))).transpose()
    }

    /// The same for as long as the value lives, through restarts.
    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory; the cluster is in `data`.
    pub fn dir(&self) -> &Path {
        self.instance.dir()
    }

    /// The operating system user it runs as, where that is not us.
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.name.as_str())
    }

    /// # Errors
    /// It is not running.
    pub fn pid(&self) -> Result<u32> {
        self.instance.pid()
    }

    /// A fast shutdown: sessions are ended, what was committed is on disk.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn stop(&mut self) -> Result<()> {
        self.instance.stop(Signal::SIGINT)
    }

    /// SIGKILL to the postmaster and all its backends.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill(&mut self) -> Result<()> {
        let family = family(self.pid()?)?;
        self.instance.kill(&family)
    }

    /// Starts it again, with its data, on the same port; stops it first where it runs.
    ///
    /// # Errors
    /// As [`Postgres::start`]; the port may have been taken meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        until("PostgreSQL to start again", RESTART_LIMIT, || match self.launch()? {
            Start::Ready => Ok(Some(())),
            // The port, or the shared memory of backends that are still dying after a kill.
            Start::Exited(log) if log.contains("still in use") || log.contains("already in use") => Ok(None),
            Start::Exited(log) => bail!("PostgreSQL did not start again; its log ends with:\n{log}"),
        })
    }

    /// Freezes it, backends and all: connections stay open, nothing answers.
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&mut self) -> Result<()> {
        let family = family(self.pid()?)?;
        self.instance.pause(family)
    }

    /// Ends a [`Postgres::pause`].
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&mut self) -> Result<()> {
        self.instance.resume()
    }

    fn initdb(&self) -> Result<()> {
        let mut command = self.command("initdb");
        // Only the making of the cluster goes without fsync: a power cut now would cost nobody anything.
        command.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", SUPERUSER, "-D", "data"]);
        let output = command.current_dir(self.dir()).stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
        if !output.status.success() {
            bail!("initdb failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<Start> {
        let port = self.port;
        let mut command = self.command("postgres");
        command.args(["-D", "data"]);
        for setting in [
            &format!("port={port}"),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "max_connections=200",
            "log_min_messages=warning",
            "logging_collector=off",
        ] {
            command.args(["-c", setting]);
        }
        self.instance.start(command, |dir, pid| is_ready(dir, pid, port))
    }

    /// Nothing of the caller's own PostgreSQL settings, messages in English.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(user) = &self.user {
            user.run(&mut command);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.instance.stop(Signal::SIGQUIT) {
            eprintln!("{error:#}");
        }
    }
}

/// The pid file is ours alone, so it tells our server from one that was quicker to take the port.
fn is_ready(dir: &Path, pid: u32, port: u16) -> bool {
    let pid_file = fs::read_to_string(dir.join("data/postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = pid_file.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str())
        && lines.get(7) == Some(&"ready")
        && pg_handshake::session(port, SUPERUSER).is_ok()
}

/// The postmaster and its children, which are in sessions of their own and so in no common process group.
fn family(postmaster: u32) -> Result<Vec<i32>> {
    let children = PathBuf::from(format!("/proc/{postmaster}/task/{postmaster}/children"));
    let children = match fs::read_to_string(&children) {
        Ok(children) => children,
        // Not Linux, so there is a pgrep, as there is not in every small container.
        Err(_) => {
            let output =
                Command::new("pgrep").args(["-P", &postmaster.to_string()]).output().context("list processes by pgrep")?;
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let mut family = vec![i32::try_from(postmaster)?];
    for child in children.split_whitespace() {
        family.push(child.parse()?);
    }
    Ok(family)
}
