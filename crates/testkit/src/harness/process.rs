//! Worker processes: the test binary run again, by a parent that may kill it at any instruction.
//!
//! The parent speaks by the worker's stdin, the worker by lines on its stdout. **Invariant:** a line that the worker has
//! [said](say) is heard by the parent, whatever becomes of the worker in the next instant. A worker ends when its stdin does, so
//! none outlives its parent.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::process::{Child, Command, Stdio, exit};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

const JOB: &str = "WRITEWAY_JOB";
/// What a worker says starts so; the rest of its stdout is libtest's.
const MARK: char = '@';

/// A worker, as its parent sees it. Killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    ear: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs the named test of this very binary again, with a job to do. `heard` is given each line that it says.
    ///
    /// # Panics
    /// If the operating system has no process to spare.
    pub fn start(test: &str, job: &str, env: &[(&str, String)], mut heard: impl FnMut(&str) + Send + 'static) -> Worker {
        let binary = env::current_exe().expect("we are running");
        let mut command = Command::new(binary);
        // More than one thread: with one, libtest begins a line before the test does.
        command.args(["--exact", test, "--quiet", "--nocapture", "--test-threads=2"]);
        command.envs(env.iter().map(|(name, value)| (name, value))).env(JOB, job);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a worker starts");
        let lines = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let ear = thread::spawn(move || {
            let lines = lines.lines().map_while(Result::ok);
            lines.for_each(|line| line.strip_prefix(MARK).into_iter().for_each(&mut heard));
        });
        Worker { child, ear: Some(ear) }
    }

    /// Says a line to it. A worker that is gone does not hear it.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut();
        let _gone = stdin.map(|pipe| pipe.write_all(format!("{line}\n").as_bytes()));
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it ever had, in bytes; `None` where the operating system does not say.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        self.says_of_memory("VmHWM:")
    }

    /// The memory that it has now, in bytes; `None` where the operating system does not say.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.says_of_memory("VmRSS:")
    }

    fn says_of_memory(&self, what: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(what))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("process numbers are small");
        kill(Pid::from_raw(pid), signal).expect("it is there");
    }

    /// SIGKILL. All that it has said is heard when this returns.
    ///
    /// # Panics
    /// If `heard` did.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits for its own end, which must be a good one.
    ///
    /// # Panics
    /// If it fails.
    pub fn wait(mut self) {
        // The child's own `wait` would close it, and that ends the worker.
        let _stdin = self.child.stdin.take();
        let status = self.child.wait().expect("it is ours");
        self.end();
        assert!(status.success(), "a worker failed: {status}");
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
        if let Some(ear) = self.ear.take() {
            ear.join().expect("what listens does not panic");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        } else {
            let _gone = self.child.kill();
            let _ended = self.child.wait();
        }
    }
}

/// What a worker is to do, as it sees it itself.
#[derive(Debug)]
pub struct Job {
    words: Vec<String>,
    told: mpsc::UnboundedReceiver<String>,
}

impl Job {
    /// `None` in the parent.
    #[must_use]
    pub fn from_env() -> Option<Job> {
        let words = env::var(JOB).ok()?.split_whitespace().map(str::to_owned).collect();
        let (tell, told) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in stdin().lines().map_while(Result::ok) {
                let _nobody_listens = tell.send(line);
            }
            exit(0);
        });
        Some(Job { words, told })
    }

    /// A word of the job.
    ///
    /// # Panics
    /// If it has fewer.
    #[must_use]
    pub fn word(&self, n: usize) -> &str {
        self.words.get(n).expect("the job has so many words")
    }

    /// The next line that the parent says.
    pub async fn told(&mut self) -> String {
        // The process ends before the channel does.
        self.told.recv().await.unwrap_or_default()
    }
}

/// Says a line to the parent, in one write: it is heard whole or not at all.
///
/// # Panics
/// If the parent is gone.
pub fn say(line: &str) {
    stdout().write_all(format!("{MARK}{line}\n").as_bytes()).expect("the parent listens");
}
