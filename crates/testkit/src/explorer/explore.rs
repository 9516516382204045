//! A scenario, its budgets, and the loop over its runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::call::Side;
use super::choices::Choices;
use super::report::{Counts, Coverage, Failure, Report, Verdict, Violation};
use super::state::Budget;
use super::world::{Run, World};

/// A scenario to be explored. Without further words: exhaustively, and nothing goes wrong.
///
/// ```
/// use writeway_testkit::explorer::{Explore, Violation};
///
/// let report = Explore::new("two tasks of two steps").run(|world| {
///     let process = world.process("app");
///     for name in ["a", "b"] {
///         let world = world.clone();
///         process.task(name, async move {
///             world.point("first").await;
///             world.point("second").await;
///         });
///     }
///     world.explore()
/// });
/// assert_eq!(report.runs, 6);
/// report.assert_complete();
/// ```
#[derive(Clone, Debug)]
#[must_use = "a scenario does nothing before run"]
pub struct Explore {
    name: String,
    budget: Budget,
    order: Order,
    max_runs: u64,
}

#[derive(Clone, Debug)]
enum Order {
    Exhaustive,
    Random { seed: u64, runs: u64 },
    Replay(String),
}

impl Explore {
    /// A scenario's name is in its report.
    pub fn new(name: impl Into<String>) -> Self {
        let budget = Budget { max_steps: 10_000, ..Budget::default() };
        Explore { name: name.into(), budget, order: Order::Exhaustive, max_runs: u64::MAX }
    }

    /// Leaves a runnable task for another at most so many times in a run. Defaults to no bound.
    pub fn preemptions(mut self, n: u32) -> Self {
        self.budget.preemptions = Some(n);
        self
    }

    /// At most so many calls fail in a run, whoever is called. Defaults to 0.
    pub fn faults(mut self, n: u32) -> Self {
        self.budget.faults = n;
        self
    }

    /// At most so many calls to the cache fail besides. Defaults to 0.
    pub fn cache_faults(mut self, n: u32) -> Self {
        self.budget.cache_faults = n;
        self
    }

    /// At most so many calls to SQL fail besides. Defaults to 0.
    pub fn store_faults(mut self, n: u32) -> Self {
        self.budget.store_faults = n;
        self
    }

    /// At most so many processes die in a run, each at any moment. Defaults to 0.
    pub fn crashes(mut self, n: u32) -> Self {
        self.budget.crashes = n;
        self
    }

    /// At most so many futures given to [`World::cancellable`] are dropped by their callers. Defaults to 0.
    pub fn cancels(mut self, n: u32) -> Self {
        self.budget.cancels = n;
        self
    }

    /// At most so many acts of adversaries: the cache evicts what has an expiry. Defaults to 0.
    pub fn evictions(mut self, n: u32) -> Self {
        self.budget.evictions = n;
        self
    }

    /// At most so many sleeps end before others have done their steps: a time-out fires while the call is still under way.
    /// Defaults to 0.
    pub fn timeouts(mut self, n: u32) -> Self {
        self.budget.timeouts = n;
        self
    }

    /// At most so many times everybody is slow, and that much time passes between two steps. Defaults to 0.
    pub fn lapses(mut self, n: u32, by: Duration) -> Self {
        (self.budget.lapses, self.budget.lapse_by) = (n, by);
        self
    }

    /// At most so many answers of one side are under way for that long after the server has done its part; what their callers
    /// do next, they do that much later. Defaults to 0: an answer is there in the same step.
    pub fn slow_replies(mut self, of: Side, n: u32, by: Duration) -> Self {
        (self.budget.slow_side, self.budget.slow_replies, self.budget.slow_by) = (Some(of), n, by);
        self
    }

    /// A woken task goes on at once instead of being one more choice: fewer runs, and the orders in which the tasks of one
    /// process go on after a local wait are not all visited.
    pub fn wake_at_once(mut self) -> Self {
        self.budget.wake_at_once = true;
        self
    }

    /// A run of more steps is a failure. Defaults to 10,000.
    pub fn max_steps(mut self, n: u32) -> Self {
        self.budget.max_steps = n;
        self
    }

    /// An exhaustive exploration stops after so many runs, and says so. Defaults to no bound.
    pub fn max_runs(mut self, n: u64) -> Self {
        self.max_runs = n;
        self
    }

    /// Draws `runs` runs instead, from `seed` and the seeds that follow it.
    pub fn random(mut self, seed: u64, runs: u64) -> Self {
        self.order = Order::Random { seed, runs };
        self
    }

    /// Runs one printed path only.
    pub fn replay(mut self, path: impl Into<String>) -> Self {
        self.order = Order::Replay(path.into());
        self
    }

    /// Visits the runs, and prints how many there were.
    ///
    /// # Panics
    /// With the path and the trace of the first run that does not hold.
    #[expect(clippy::print_stdout, reason = "how much was visited is what a reader of the test log wants to know")]
    pub fn run(&self, scenario: impl Fn(&World) -> Verdict) -> Report {
        match self.check(scenario) {
            Ok(report) => {
                println!("{report}");
                report
            }
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Visits the runs up to the first that does not hold.
    ///
    /// # Errors
    /// That run.
    ///
    /// # Panics
    /// If a path to be replayed is none.
    #[expect(clippy::disallowed_methods, reason = "real time is only reported, it decides nothing")]
    pub fn check(&self, scenario: impl Fn(&World) -> Verdict) -> Result<Report, Box<Failure>> {
        let started = std::time::Instant::now();
        let mut report = Report {
            name: self.name.clone(),
            runs: 0,
            coverage: self.coverage(),
            counts: Counts::default(),
            took: Duration::ZERO,
        };
        let mut choices = match &self.order {
            Order::Exhaustive => Choices::first(),
            Order::Random { seed, .. } => Choices::random(*seed),
            Order::Replay(path) => Choices::replay(path).expect("a path as it was printed: numbers and dots"),
        };
        loop {
            let (verdict, run) = self.visit(choices, false, &scenario);
            if let Err(violation) = verdict {
                return Err(self.failure(&report, violation, &run, &scenario));
            }
            report.counts.add(&run.counts);
            report.runs += 1;
            match self.next(run.choices, report.runs) {
                Some(next) => choices = next,
                None => break,
            }
            if report.runs == self.max_runs {
                report.coverage = Coverage::CutShort;
                break;
            }
        }
        report.took = started.elapsed();
        Ok(report)
    }

    fn coverage(&self) -> Coverage {
        match (&self.order, self.budget.preemptions) {
            (Order::Exhaustive, None) => Coverage::Complete,
            (Order::Exhaustive, Some(bound)) => Coverage::CompleteUpToPreemptions(bound),
            (Order::Random { seed, .. }, _) => Coverage::Random { seed: *seed },
            (Order::Replay(_), _) => Coverage::Replay,
        }
    }

    fn next(&self, mut choices: Choices, runs_done: u64) -> Option<Choices> {
        match &self.order {
            Order::Exhaustive => choices.advance().then_some(choices),
            Order::Random { seed, runs } => (runs_done < *runs).then(|| Choices::random(seed + runs_done)),
            Order::Replay(_) => None,
        }
    }

    fn visit(&self, choices: Choices, traced: bool, scenario: &impl Fn(&World) -> Verdict) -> (Verdict, Run) {
        let world = World::new(choices, self.budget, traced);
        // A world is thrown away after its run: nothing half done is seen again.
        let verdict = catch_unwind(AssertUnwindSafe(|| scenario(&world))).unwrap_or_else(|panic| Err(panicked(&*panic)));
        (verdict, world.close())
    }

    /// Runs the failing path again, with a trace.
    fn failure(
        &self,
        report: &Report,
        violation: Violation,
        failed: &Run,
        scenario: &impl Fn(&World) -> Verdict,
    ) -> Box<Failure> {
        let (again, mut run) = self.visit(failed.choices.again(), true, scenario);
        if again.as_ref().err().map(|again| again.invariant) != Some(violation.invariant) {
            run.trace.push(format!("not deterministic: run again, it said {again:?}"));
        }
        let seed = if let Order::Random { seed, .. } = self.order { Some(seed + report.runs) } else { None };
        Box::new(Failure {
            name: self.name.clone(),
            violation: again.err().unwrap_or(violation),
            runs_before: report.runs,
            path: failed.choices.text(),
            seed,
            trace: run.trace,
        })
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Violation {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let detail = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no text)".to_owned());
    Violation { invariant: "nothing panics", detail }
}
