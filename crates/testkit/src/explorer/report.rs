//! What an exploration says in the end: how much it really visited, or which run broke which invariant.

use std::fmt;
use std::time::Duration;

/// What a scenario says of one run.
pub type Verdict = Result<(), Violation>;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name: tests and seeded bugs refer to it.
    pub invariant: &'static str,
    /// What was seen instead.
    pub detail: String,
}

impl Violation {
    /// `Err` unless `holds`; the detail is only made where it does not hold.
    ///
    /// # Errors
    /// The violation.
    pub fn unless(holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(Violation { invariant, detail: detail() }) }
    }
}

/// How much of the space was visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every order of every choice.
    Complete,
    /// Every order in which a runnable task is left for another at most so many times.
    CompleteUpToPreemptions(u32),
    /// Runs drawn from seeds, starting with this one.
    Random {
        /// The first run's seed; each next run's is one more.
        seed: u64,
    },
    /// Only the first runs of an exhaustive exploration: the bound on their number came first.
    CutShort,
    /// One given run.
    Replay,
}

/// What was exercised, summed over all runs. A harness asserts floors on it: a scenario that never gets to a crash proves
/// nothing about crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub steps: u64,
    pub preemptions: u64,
    pub faults: u64,
    pub late_landings: u64,
    pub crashes: u64,
    pub cancels: u64,
    pub evictions: u64,
    pub restarts: u64,
    pub takeovers: u64,
    pub batches: u64,
    pub repeated_batches: u64,
    pub fenced_batches: u64,
    pub refusals: u64,
    pub probes: u64,
    pub splits: u64,
    pub delays: u64,
    pub parks: u64,
    pub late_accepts: u64,
    pub lapses: u64,
    pub slow_replies: u64,
    pub timeouts: u64,
    pub lock_waits: u64,
    pub commits: u64,
    pub reads: u64,
    pub hits: u64,
    pub writes: u64,
    pub writes_in_doubt: u64,
}

impl Counts {
    pub(super) fn add(&mut self, run: &Counts) {
        for ((_, sum), (_, n)) in self.fields_mut().into_iter().zip(run.fields()) {
            *sum += n;
        }
    }

    fn fields(&self) -> [(&'static str, u64); 27] {
        let mut copy = *self;
        copy.fields_mut().map(|(name, n)| (name, *n))
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut u64); 27] {
        [
            ("steps", &mut self.steps),
            ("preemptions", &mut self.preemptions),
            ("faults", &mut self.faults),
            ("late landings", &mut self.late_landings),
            ("crashes", &mut self.crashes),
            ("cancels", &mut self.cancels),
            ("evictions", &mut self.evictions),
            ("restarts", &mut self.restarts),
            ("takeovers", &mut self.takeovers),
            ("batches", &mut self.batches),
            ("repeated batches", &mut self.repeated_batches),
            ("fenced batches", &mut self.fenced_batches),
            ("refusals", &mut self.refusals),
            ("probes", &mut self.probes),
            ("splits", &mut self.splits),
            ("delays", &mut self.delays),
            ("parks", &mut self.parks),
            ("late accepts", &mut self.late_accepts),
            ("lapses", &mut self.lapses),
            ("slow replies", &mut self.slow_replies),
            ("timeouts", &mut self.timeouts),
            ("lock waits", &mut self.lock_waits),
            ("commits", &mut self.commits),
            ("reads", &mut self.reads),
            ("hits", &mut self.hits),
            ("writes", &mut self.writes),
            ("writes in doubt", &mut self.writes_in_doubt),
        ]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, count)) in self.fields().into_iter().filter(|(_, count)| *count > 0).enumerate() {
            write!(f, "{}{count} {name}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// An exploration in which every run held.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// How many runs were visited.
    pub runs: u64,
    /// How much of the space that is.
    pub coverage: Coverage,
    /// What happened in them.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// For scenarios that must be visited as a whole.
    ///
    /// # Panics
    /// If the exploration was cut short, or random.
    pub fn assert_complete(&self) -> &Self {
        let complete = matches!(self.coverage, Coverage::Complete | Coverage::CompleteUpToPreemptions(_));
        assert!(complete, "not visited as a whole: {self}");
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { name, runs, coverage, counts, took } = self;
        write!(f, "{name}: {runs} runs, ")?;
        match coverage {
            Coverage::Complete => write!(f, "complete")?,
            Coverage::CompleteUpToPreemptions(bound) => write!(f, "complete up to {bound} preemptions")?,
            Coverage::Random { seed } => write!(f, "random from seed {seed}")?,
            Coverage::CutShort => write!(f, "CUT SHORT")?,
            Coverage::Replay => write!(f, "replayed")?,
        }
        write!(f, ", {took:.2?} ({counts})")
    }
}

/// The run that broke an invariant, with all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The scenario.
    pub name: String,
    /// What was broken.
    pub violation: Violation,
    /// How many runs held before it.
    pub runs_before: u64,
    /// For [`Explore::replay`](super::Explore::replay).
    pub path: String,
    /// If the run was drawn from one.
    pub seed: Option<u64>,
    /// Who did what, in order.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { name, violation, runs_before, path, seed, trace } = self;
        writeln!(f, "invariant violated: {}", violation.invariant)?;
        writeln!(f, "  {}", violation.detail)?;
        write!(f, "scenario {name:?}, after {runs_before} runs that held; see it again with .replay(\"{path}\")")?;
        if let Some(seed) = seed {
            write!(f, " or .random({seed}, 1)")?;
        }
        trace.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
