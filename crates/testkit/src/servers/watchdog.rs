//! What ends processes and removes directories when their owner is gone, even by SIGKILL.
//!
//! A shell in a process group of its own reads from a pipe whose other end only the owner holds. Each line replaces the list
//! of processes to end. When the pipe closes, because the owner dropped it or because the owner died, the shell signals the
//! last list, waits, kills, and then runs the clean-up command. So clean-up has one path, and every ordinary run tests it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};

/// `$1` is the first signal, the rest the clean-up command. SIGCONT, because a stopped process hears nothing but SIGKILL.
/// A zombie counts as gone: in a container there may be nobody who takes it away.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT
alive() {
    kill -s 0 -- "$1" && case $(ps -o state= -p "${1#-}") in Z*) false ;; esac
}
targets=
while read -r line; do targets=$line; done
signal=$1
shift
if [ -n "$targets" ]; then
    first=${targets%% *}
    kill -s "$signal" -- $targets
    kill -s CONT -- $targets
    tries=0
    while [ $tries -lt 50 ] && alive "$first"; do sleep 0.1; tries=$((tries + 1)); done
    kill -s KILL -- $targets
fi 2>/dev/null
tries=0
until "$@" || [ $tries -ge 20 ]; do sleep 0.1; tries=$((tries + 1)); done
"#;

/// Ends what it watches when it is dropped, or when its owner dies.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
    /// `Some` until dropped.
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// First sends `signal` (`TERM`, `QUIT`, …), SIGKILL 5 s later; then runs `cleanup`, again and again for 2 s until it succeeds.
    ///
    /// # Errors
    /// There is no `sh`.
    pub fn new<A: AsRef<OsStr>>(signal: &str, cleanup: &[A]) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "writeway-watchdog", signal])
            .args(cleanup)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start sh as a watchdog")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// From now on these are to be ended; a negative number is a process group. An empty list is none.
    ///
    /// # Errors
    /// The watchdog itself was killed.
    pub fn watch(&mut self, targets: &[i32]) -> Result<()> {
        let line: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let pipe = self.pipe.as_mut().context("the watchdog is gone")?;
        writeln!(pipe, "{}", line.join(" ")).context("the watchdog was killed")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.shell.wait() {
            eprintln!("waiting for a watchdog: {error}");
        }
    }
}
