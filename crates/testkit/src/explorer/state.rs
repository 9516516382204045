//! What a simulated world holds, behind one mutex. Nothing here polls, waits or calls back.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use writeway_core::cache::BoxFuture;

use super::adversary::Adversary;
use super::call::Side;
use super::choices::{Choices, Odds};
use super::report::Counts;

/// The clock of a new world, in ms: late enough that nobody computes a moment before its beginning.
const DAWN: u64 = 1_000_000;

pub(super) type Name = Cow<'static, str>;

/// What may go wrong in one run, and how the runs are ordered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    pub(super) faults: u32,
    pub(super) cache_faults: u32,
    pub(super) store_faults: u32,
    pub(super) crashes: u32,
    pub(super) cancels: u32,
    pub(super) evictions: u32,
    pub(super) timeouts: u32,
    pub(super) lapses: u32,
    pub(super) lapse_by: Duration,
    pub(super) slow_replies: u32,
    pub(super) slow_side: Option<Side>,
    pub(super) slow_by: Duration,
    pub(super) preemptions: Option<u32>,
    pub(super) wake_at_once: bool,
    pub(super) max_steps: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Set-up and drain: no choices, no faults, every call is answered at once.
    Quiet,
    /// Between the first and the last choice.
    Explored,
    /// The run is over; what is dropped now was forgotten, not interrupted.
    Closed,
}

/// Who a task belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Process(usize),
    /// A server, working on for a client that may be gone. It never dies and does not hold up time.
    Server,
}

pub(super) struct Process {
    pub(super) name: Name,
    pub(super) mortal: bool,
    pub(super) dead: bool,
}

pub(super) struct Task {
    pub(super) name: Name,
    pub(super) owner: Owner,
    /// `None` while it is polled, and after its end.
    pub(super) future: Option<BoxFuture<'static, ()>>,
    pub(super) ended: bool,
    pub(super) woken: Arc<Woken>,
    pub(super) waker: Waker,
    /// The witnessed operation it works for; what it spawns works for the same.
    pub(super) op: Option<u64>,
    /// A server's effect lands no later than this.
    pub(super) lands_by: Option<u64>,
}

#[derive(Default)]
pub(super) struct Woken(AtomicBool);

impl Woken {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A call that waits for its turn.
pub(super) struct Parked {
    pub(super) id: u64,
    pub(super) task: usize,
    pub(super) waker: Waker,
}

pub(super) struct Sleeper {
    pub(super) id: u64,
    pub(super) at: u64,
    /// The time limit of a call whose fault was paid for: it may come before others have done their steps.
    pub(super) paid: bool,
    pub(super) waker: Waker,
}

pub(super) struct State {
    pub(super) choices: Choices,
    pub(super) left: Budget,
    pub(super) phase: Phase,
    pub(super) clock: u64,
    pub(super) ticks: u64,
    pub(super) random: u128,
    pub(super) next_id: u64,
    pub(super) processes: Vec<Process>,
    pub(super) tasks: Vec<Task>,
    /// Tasks that were never polled.
    pub(super) newborn: Vec<usize>,
    pub(super) parked: Vec<Parked>,
    pub(super) sleepers: Vec<Sleeper>,
    pub(super) cancellable: Vec<Parked>,
    pub(super) adversaries: Vec<Arc<dyn Adversary>>,
    /// The task that runs now; `None` in set-up.
    pub(super) running: Option<usize>,
    pub(super) process: usize,
    pub(super) op: Option<u64>,
    /// The call whose turn it is.
    pub(super) granted: Option<u64>,
    /// An operation has just started: its first call belongs to the same step.
    pub(super) fresh: bool,
    /// The client task that ran last, for counting preemptions.
    pub(super) last: Option<usize>,
    /// Operations during which the cache answered with a value.
    pub(super) ops_with_hit: Vec<u64>,
    pub(super) counts: Counts,
    pub(super) trace: Option<Vec<String>>,
}

impl State {
    pub(super) fn new(choices: Choices, budget: Budget, traced: bool) -> Self {
        let outside = Process { name: "outside".into(), mortal: false, dead: false };
        State {
            choices,
            left: budget,
            phase: Phase::Quiet,
            clock: DAWN,
            ticks: 0,
            random: 0,
            next_id: 0,
            processes: vec![outside],
            tasks: Vec::with_capacity(8),
            newborn: Vec::with_capacity(4),
            parked: Vec::with_capacity(8),
            sleepers: Vec::with_capacity(8),
            cancellable: Vec::new(),
            adversaries: Vec::new(),
            running: None,
            process: 0,
            op: None,
            granted: None,
            fresh: false,
            last: None,
            ops_with_hit: Vec::new(),
            counts: Counts::default(),
            trace: traced.then(Vec::new),
        }
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn pick(&mut self, of: usize, odds: Odds) -> usize {
        self.choices.pick(of, odds)
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        let who = match self.running.map(|id| &self.tasks[id]) {
            Some(Task { owner: Owner::Process(process), name, .. }) => format!("{}/{name}", self.processes[*process].name),
            Some(Task { name, .. }) => format!("server/{name}"),
            None if self.phase == Phase::Explored => "explorer".to_owned(),
            None => "outside".to_owned(),
        };
        trace.push(format!("{:>8}  {who}: {}", self.clock - DAWN, text()));
    }

    pub(super) fn add_task(&mut self, name: Name, owner: Owner, lands_by: Option<u64>, future: BoxFuture<'static, ()>) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        self.newborn.push(self.tasks.len());
        let op = self.op;
        self.tasks.push(Task { name, owner, future: Some(future), ended: false, woken, waker, op, lands_by });
    }

    pub(super) fn is_server(&self, task: usize) -> bool {
        self.tasks[task].owner == Owner::Server
    }

    /// Time must not pass by the last moment at which a pending effect can land.
    pub(super) fn may_reach(&self, clock: u64) -> bool {
        self.tasks.iter().filter(|task| !task.ended).filter_map(|task| task.lands_by).all(|by| clock <= by)
    }

    /// Moves the clock on; the wakers of all whose time has come.
    pub(super) fn reach(&mut self, clock: u64) -> Vec<Waker> {
        self.clock = self.clock.max(clock);
        let now = self.clock;
        self.sleepers.extract_if(.., |sleeper| sleeper.at <= now).map(|sleeper| sleeper.waker).collect()
    }
}
