//! The simulated world of one run, as a scenario sees it.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::adversary::Adversary;
use super::choices::Choices;
use super::report::Counts;
use super::state::{Budget, Owner, Phase, Process as Entry, State, Woken};
use super::time::SimRuntime;

/// The world of one run: processes, servers, a clock. Cheap to clone; all clones are one world.
///
/// A scenario sets it up, calls [`explore`](World::explore) once, drains, and checks.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// A set of tasks that die together. What they have sent to a server survives them. Processes share nothing but the servers: build
/// a handle for each.
#[derive(Clone)]
pub struct Process {
    world: World,
    id: usize,
}

impl World {
    pub(super) fn new(choices: Choices, budget: Budget, traced: bool) -> Self {
        World(Arc::new(Mutex::new(State::new(choices, budget, traced))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a scenario's that is not deterministic; it ends the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process of clients. It dies at any moment if the scenario has a budget of crashes.
    #[must_use]
    pub fn process(&self, name: impl Into<Cow<'static, str>>) -> Process {
        let mut state = self.lock();
        state.processes.push(Entry { name: name.into(), mortal: true, prompt: false, dead: false });
        Process { world: self.clone(), id: state.processes.len() - 1 }
    }

    /// The port that production code takes its time, tasks and chance from.
    #[must_use]
    pub fn runtime(&self) -> Arc<SimRuntime> {
        Arc::new(SimRuntime::new(self.clone()))
    }

    /// The clock, in ms.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.lock().clock
    }

    /// The next position in the order of all that happens.
    #[must_use]
    pub fn tick(&self) -> u64 {
        let mut state = self.lock();
        state.ticks += 1;
        state.ticks
    }

    /// Lets somebody act between any two steps.
    pub fn adversary(&self, adversary: Arc<dyn Adversary>) {
        self.lock().adversaries.push(adversary);
    }

    /// A line of the trace; only made where the run is traced, as a failing one is.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.lock().trace.is_some() {
            // Made without the lock: it may look at the world.
            let text = text();
            self.lock().note(|| text);
        }
    }

    /// The name of a call: text in a run that is traced, nothing in the others.
    pub fn label(&self, text: impl FnOnce() -> String) -> Cow<'static, str> {
        if self.lock().trace.is_some() { text().into() } else { Cow::Borrowed("") }
    }

    /// What happened in this run so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.lock().counts);
    }

    /// The same, not in set-up and drain: what they do in every run is no exploration.
    pub(crate) fn count_explored(&self, count: impl FnOnce(&mut Counts)) {
        let mut state = self.lock();
        if state.phase == Phase::Explored {
            count(&mut state.counts);
        }
    }

    /// Runs a future to its end without choices and without faults, in a process that never dies: building a handle, warming
    /// a cache, and after [`explore`](World::explore) a last look. Time passes as far as it must.
    ///
    /// # Panics
    /// If it waits for something that never comes.
    pub fn setup<T>(&self, future: impl Future<Output = T>) -> T {
        self.quietly(0, future)
    }

    fn quietly<T>(&self, process: usize, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        assert!(
            self.lock().newborn.is_empty(),
            "set-up would run the tasks that are there, without choices: it comes before them"
        );
        self.lock().process = process;
        loop {
            woken.clear();
            self.enter(process);
            if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.settle();
                while self.run_woken() {}
                return done;
            }
            self.settle();
            while !woken.is_set() && (self.run_woken() || self.let_time_pass()) {}
            assert!(woken.is_set(), "this set-up waits for something that never comes");
        }
    }

    fn enter(&self, process: usize) {
        let mut state = self.lock();
        assert!(state.phase == Phase::Quiet, "set-up and drain are before and after the exploration");
        state.process = process;
        state.running = None;
    }

    /// Drops what is left. After that nothing of the run acts any more.
    pub(super) fn close(&self) -> Run {
        let (futures, adversaries);
        {
            let mut state = self.lock();
            state.phase = Phase::Closed;
            futures = state.tasks.iter_mut().filter_map(|task| task.future.take()).collect::<Vec<_>>();
            adversaries = std::mem::take(&mut state.adversaries);
        }
        // A future's drop may look at the world.
        drop((futures, adversaries));
        let mut state = self.lock();
        let choices = std::mem::replace(&mut state.choices, Choices::first());
        Run { choices, counts: state.counts, trace: state.trace.take().unwrap_or_default() }
    }
}

/// What is left of a run.
pub(super) struct Run {
    pub(super) choices: Choices,
    pub(super) counts: Counts,
    pub(super) trace: Vec<String>,
}

impl Process {
    /// This one lives on in crash scenarios.
    #[must_use]
    pub fn immortal(self) -> Self {
        self.world.lock().processes[self.id].mortal = false;
        self
    }

    /// Replies to this one are never slow: time passes only while others wait.
    #[must_use]
    pub fn prompt(self) -> Self {
        self.world.lock().processes[self.id].prompt = true;
        self
    }

    /// As [`World::setup`], but what is spawned belongs to this process.
    pub fn setup<T>(&self, future: impl Future<Output = T>) -> T {
        self.world.quietly(self.id, future)
    }

    /// One more concurrent task. It starts with the exploration: first of all it is polled to its first call, which touches
    /// nothing shared, hence is no choice.
    pub fn task(&self, name: impl Into<Cow<'static, str>>, future: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.world.lock();
        assert!(state.phase == Phase::Quiet, "tasks are set up before the exploration; later ones are spawned");
        state.add_task(name.into(), Owner::Process(self.id), None, Box::pin(future));
        let born = state.newborn.pop();
        state.to_explore.extend(born);
    }
}
