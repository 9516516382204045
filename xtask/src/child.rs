//! Runs a command in a process group of its own, which ends when we do.
//!
//! **Invariant:** no command outlives the run that started it. Ctrl-C in a terminal reaches us only; we end the group and wait.
//! Should we be killed, the watchdog ends the group.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use writeway_testkit::servers::{Watchdog, until};

use crate::clock::{self, Stopwatch};
use crate::interrupt;

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(5);

/// Runs it with our own stdout and stderr.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    Group::start(command)?.wait()
}

/// Runs it and hands every line of its stdout to `line`; stderr stays ours, so cargo's progress is seen.
pub(crate) fn run_reading(command: &mut Command, mut line: impl FnMut(&str) + Send) -> Result<ExitStatus> {
    let mut group = Group::start(command.stdout(Stdio::piped()))?;
    let stdout = group.child.stdout.take();
    thread::scope(|scope| {
        scope.spawn(|| stdout.into_iter().for_each(|stdout| each_line(stdout, &mut line)));
        group.wait()
    })
}

/// Runs it in silence and returns all it said, stderr first; ends it after `limit`.
pub(crate) fn run_quietly(command: &mut Command, limit: Duration) -> Result<(ExitStatus, String)> {
    let mut group = Group::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    group.limit = limit;
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let (mut said, mut warned) = (String::new(), String::new());
    let status = thread::scope(|scope| {
        scope.spawn(|| stdout.into_iter().for_each(|stdout| each_line(stdout, &mut |line| said.extend([line, "\n"]))));
        scope.spawn(|| stderr.into_iter().for_each(|stderr| each_line(stderr, &mut |line| warned.extend([line, "\n"]))));
        group.wait()
    })?;
    Ok((status, warned + &said))
}

fn each_line(stream: impl Read, line: &mut impl FnMut(&str)) {
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    while stream.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        bytes.clear();
    }
}

struct Group {
    child: Child,
    watchdog: Watchdog,
    watch: Stopwatch,
    limit: Duration,
}

impl Group {
    fn start(command: &mut Command) -> Result<Self> {
        interrupt::check()?;
        let mut watchdog = Watchdog::new("TERM", &["true"])?;
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        let child = child.with_context(|| format!("run {}", command.get_program().display()))?;
        watchdog.watch(&[-i32::try_from(child.id())?])?;
        Ok(Self { child, watchdog, watch: Stopwatch::start(), limit: Duration::MAX })
    }

    /// # Errors
    /// When the run was interrupted; the group is gone then, too.
    fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                // Whatever it left running in its group goes with it.
                self.end();
                self.watchdog.watch(&[])?;
                interrupt::check()?;
                return Ok(status);
            }
            if interrupt::is_asked() || self.watch.elapsed() > self.limit {
                self.end();
            }
            clock::sleep(BETWEEN_LOOKS);
        }
    }

    /// The group may be gone already, which is as well.
    fn end(&mut self) {
        let Ok(group) = i32::try_from(self.child.id()) else { return };
        let group = Pid::from_raw(group);
        let _gone_already = killpg(group, Signal::SIGTERM);
        let ended = until("the command to end", GRACE, || {
            self.child.try_wait()?;
            Ok(killpg(group, None).is_err().then_some(()))
        });
        if ended.is_err() {
            let _gone_already = killpg(group, Signal::SIGKILL);
        }
    }
}
