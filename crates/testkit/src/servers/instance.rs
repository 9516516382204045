//! One server process in a directory of its own: what Redis and PostgreSQL have in common.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::until;
use super::watchdog::Watchdog;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOG_TAIL_LINES: usize = 20;

/// How a start went.
pub(super) enum Start {
    Ready,
    /// It ended before it was ready; this is the tail of its log.
    Exited(String),
}

/// The directory lives as long as this value, the process from `start` to `stop` or `kill`, any number of times.
#[derive(Debug)]
pub(super) struct Instance {
    name: &'static str,
    dir: PathBuf,
    child: Option<Child>,
    /// What to signal: the server, and its own children where a pause has to reach them.
    family: Vec<i32>,
    watchdog: Watchdog,
}

impl Instance {
    /// An empty directory under a watchdog that would end the server by `signal`, and in the end runs the shell script
    /// `cleanup`, to which `$1` is the directory.
    pub(super) fn new(name: &'static str, signal: Signal, cleanup: &str) -> Result<Self> {
        let prefix = format!("writeway-{}-", name.to_lowercase());
        let made = tempfile::Builder::new().prefix(&prefix).tempdir().context("make a temporary directory")?;
        let cleanup = ["sh".as_ref(), "-c".as_ref(), cleanup.as_ref(), "cleanup".as_ref(), made.path().as_os_str()];
        let watchdog = Watchdog::new(signal.as_str().trim_start_matches("SIG"), &cleanup)?;
        // From here on the watchdog removes it, so that there is one way only.
        let dir = made.keep();
        Ok(Self { name, dir, child: None, family: Vec::new(), watchdog })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs `command` until `is_ready` says so. Its own process group: Ctrl-C in a terminal must not take the server away
    /// from tests that are still ending.
    pub(super) fn start(&mut self, mut command: Command, is_ready: impl Fn(&Path, u32) -> bool) -> Result<Start> {
        let log = File::create(self.log_path())?;
        command.current_dir(&self.dir).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        let pid = child.id();
        self.child = Some(child);
        self.watch(vec![i32::try_from(pid)?])?;

        let what = format!("{} to get ready", self.name);
        let ready = until(&what, START_LIMIT, || {
            if self.exited()? {
                return Ok(Some(Start::Exited(self.log_tail())));
            }
            Ok(is_ready(&self.dir, pid).then_some(Start::Ready))
        });
        ready.with_context(|| format!("its log ends with:\n{}", self.log_tail()))
    }

    /// The process, if one is running.
    pub(super) fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).with_context(|| format!("{} is not running", self.name))
    }

    /// Asks it to end by `signal`, insists by SIGKILL, and returns when it is gone.
    pub(super) fn stop(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        self.send(&[i32::try_from(child.id())?], signal)?;
        self.send(&self.family, Signal::SIGCONT)?;
        let what = format!("{} to stop", self.name);
        if until(&what, STOP_LIMIT, || Ok(child.try_wait()?)).is_err() {
            eprintln!("      {} did not stop; killing it", self.name);
            child.kill()?;
            child.wait()?;
        }
        self.watch(Vec::new())
    }

    /// SIGKILL to all of `family` at once, as a power cut would: nobody gets to say goodbye.
    pub(super) fn kill(&mut self, family: &[i32]) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            bail!("{} is not running", self.name);
        };
        self.send(family, Signal::SIGKILL)?;
        child.wait()?;
        self.watch(Vec::new())
    }

    /// SIGSTOP to all of `family`; the watchdog learns whom to wake should we die meanwhile.
    pub(super) fn pause(&mut self, family: Vec<i32>) -> Result<()> {
        self.pid()?;
        self.watch(family)?;
        self.send(&self.family, Signal::SIGSTOP)
    }

    /// SIGCONT to whom `pause` stopped.
    pub(super) fn resume(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        self.send(&self.family, Signal::SIGCONT)?;
        self.watch(vec![pid])
    }

    /// The last lines that the server said.
    pub(super) fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn exited(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else {
            return Ok(true);
        };
        let exited = child.try_wait()?.is_some();
        if exited {
            self.child = None;
            self.watch(Vec::new())?;
        }
        Ok(exited)
    }

    fn watch(&mut self, family: Vec<i32>) -> Result<()> {
        self.family = family;
        self.watchdog.watch(&self.family)
    }

    /// A process that is gone already is no error: it is what most signals are for.
    fn send(&self, targets: &[i32], signal: Signal) -> Result<()> {
        for target in targets {
            match kill(Pid::from_raw(*target), signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("{signal} to {}", self.name)),
            }
        }
        Ok(())
    }
}
