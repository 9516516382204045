//! Whose turn it is: the loop that chooses a move, makes it, and lets what follows from it settle.
//!
//! A move is a call's turn, a woken task, the clock, a cancellation, or an adversary's act. A task that waits (for a row lock,
//! a channel, a permit) has no move until its waker is woken. Code between two calls touches nothing that another process
//! sees, so it is no choice when it runs: it belongs to the step before it, and a newborn task's first lines to the step that
//! spawned it. A waker that is woken in those lines is kept like any other. A woken task that is alone in its process goes on at
//! once, because only its own process could tell; one that waited for a row lock does not, because it takes the lock then.
//!
//! A crash is offered right after each step of its process: later it would change nothing, because between its steps a process
//! does nothing that others could see.

use std::task::{Context, Poll};

use super::choices::Odds;
use super::report::{Counts, Verdict, Violation};
use super::state::{Budget, Owner, Phase, State};
use super::world::World;

#[derive(Clone, Copy, Debug)]
enum Move {
    /// A parked call's turn.
    Call {
        id: u64,
        task: usize,
    },
    /// A woken task goes on.
    Wake(usize),
    /// Time passes: nobody can do anything else, or a call's time limit comes early.
    Clock(u64),
    /// As [`Move::Clock`], out of a budget.
    Timeout(u64),
    Lapse(u64),
    Cancel {
        id: u64,
        task: usize,
    },
    Act {
        adversary: usize,
        way: usize,
    },
}

impl World {
    /// Runs the processes' tasks to their end, along one path of choices. Late effects land before it ends, too.
    ///
    /// # Errors
    /// `nothing waits for ever`: tasks are left that nobody will wake. `every run ends`: it takes more steps than the scenario
    /// allows.
    pub fn explore(&self) -> Verdict {
        {
            let mut state = self.lock();
            state.phase = Phase::Explored;
            state.op = None;
            let born = std::mem::take(&mut state.to_explore);
            state.newborn.extend(born);
        }
        self.settle();
        let mut moves = Vec::with_capacity(16);
        let max_steps = self.lock().left.max_steps;
        let mut steps = 0;
        while let Some(chosen) = self.choose(&mut moves) {
            steps += 1;
            Violation::unless(steps <= max_steps, "every run ends", || format!("more than {max_steps} steps"))?;
            self.make(chosen);
        }
        let mut state = self.lock();
        state.counts.steps += u64::from(steps);
        state.running = None;
        let waiting = state.tasks.iter().filter(|task| !task.ended).map(|task| task.name.as_ref()).collect::<Vec<_>>();
        Violation::unless(waiting.is_empty(), "nothing waits for ever", || format!("still waiting: {}", waiting.join(", ")))?;
        state.phase = Phase::Quiet;
        Ok(())
    }

    /// `None` if there is nothing left to do.
    fn choose(&self, moves: &mut Vec<Move>) -> Option<Move> {
        let mut state = self.lock();
        moves.clear();
        let staying = state.client_moves(moves);
        state.other_moves(moves);
        if moves.is_empty() {
            return None;
        }
        state.budgeted_moves(moves);
        let at = state.pick(moves.len(), Odds::Even);
        let chosen = moves[at];
        if let Move::Call { task, .. } | Move::Wake(task) = chosen
            && !state.is_server(task)
        {
            if staying > 0 && state.last != Some(task) {
                state.counts.preemptions += 1;
                if let Some(left) = &mut state.left.preemptions {
                    *left -= 1;
                }
            }
            state.last = Some(task);
        }
        Some(chosen)
    }

    fn make(&self, chosen: Move) {
        match chosen {
            Move::Call { id, task } => {
                let waker = {
                    let mut state = self.lock();
                    state.granted = Some(id);
                    state.parked.iter().find(|call| call.id == id).map(|call| call.waker.clone())
                };
                // A task of several branches finds out by it which of them is meant.
                waker.inspect(std::task::Waker::wake_by_ref);
                self.step(task);
            }
            Move::Wake(task) => self.step(task),
            Move::Clock(to) => self.pass_to(to, "time passes"),
            Move::Timeout(to) => {
                self.spend(|left| &mut left.timeouts, |counts| &mut counts.timeouts);
                self.pass_to(to, "a time-out comes early");
            }
            Move::Lapse(to) => {
                self.spend(|left| &mut left.lapses, |counts| &mut counts.lapses);
                self.pass_to(to, "all are slow");
            }
            Move::Cancel { id, task } => {
                self.spend(|left| &mut left.cancels, |counts| &mut counts.cancels);
                self.lock().cancellable.retain(|call| call.id != id);
                self.step(task);
            }
            Move::Act { adversary, way } => {
                self.spend(|left| &mut left.evictions, |counts| &mut counts.evictions);
                let (adversary, now) = {
                    let state = self.lock();
                    (state.adversaries[adversary].clone(), state.clock)
                };
                let what = adversary.act(way, now);
                self.lock().note(|| what);
            }
        }
        while self.run_local() {}
    }

    fn spend(&self, budget: fn(&mut Budget) -> &mut u32, count: fn(&mut Counts) -> &mut u64) {
        let mut state = self.lock();
        state.running = None;
        *budget(&mut state.left) -= 1;
        *count(&mut state.counts) += 1;
    }

    /// Polls a task, then what it spawned; then its process may die.
    fn step(&self, task: usize) {
        self.poll(task);
        self.settle();
        let dies = {
            let mut state = self.lock();
            match state.tasks[task].owner {
                Owner::Process(process) if state.may_die(process) => (state.pick(2, Odds::Crash) == 1).then_some(process),
                _ => None,
            }
        };
        if let Some(process) = dies {
            self.crash(process);
        }
    }

    fn poll(&self, id: usize) {
        let (future, waker) = {
            let mut state = self.lock();
            let task = &mut state.tasks[id];
            task.woken.clear();
            let (op, owner, waker, future) = (task.op, task.owner, task.waker.clone(), task.future.take());
            state.running = Some(id);
            state.op = op;
            state.process = if let Owner::Process(process) = owner { process } else { 0 };
            (future, waker)
        };
        let Some(mut future) = future else { return };
        let left = match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => {
                drop(future);
                None
            }
            Poll::Pending => Some(future),
        };
        let mut state = self.lock();
        let op = state.op;
        let task = &mut state.tasks[id];
        task.op = op;
        task.ended = left.is_none();
        task.future = left;
        state.running = None;
    }

    /// Polls the newborn to their first call.
    pub(super) fn settle(&self) {
        loop {
            let newborn = {
                let mut state = self.lock();
                // In the order of their birth.
                if state.newborn.is_empty() { None } else { Some(state.newborn.remove(0)) }
            };
            match newborn {
                Some(task) => self.poll(task),
                None => break,
            }
        }
        let mut state = self.lock();
        state.fresh = false;
        state.granted = None;
    }

    /// Takes a step of a woken task that nobody else can tell from one taken later; false if there is none.
    fn run_local(&self) -> bool {
        let task = {
            let state = self.lock();
            (0..state.tasks.len()).find(|&task| state.is_local(task))
        };
        task.is_some_and(|task| {
            self.step(task);
            true
        })
    }

    /// Polls the first woken task, outside of all choices; false if there is none.
    pub(super) fn run_woken(&self) -> bool {
        let woken = {
            let state = self.lock();
            state.tasks.iter().position(|task| !task.ended && task.woken.is_set())
        };
        woken.is_some_and(|task| {
            self.poll(task);
            self.settle();
            true
        })
    }

    /// Moves the clock to the earliest sleeper, outside of all choices; false if there is none.
    pub(super) fn let_time_pass(&self) -> bool {
        let first = self.lock().sleepers.iter().map(|sleeper| sleeper.at).min();
        first.is_some_and(|at| {
            self.pass_to(at, "time passes");
            true
        })
    }

    fn pass_to(&self, clock: u64, why: &'static str) {
        let wakers = {
            let mut state = self.lock();
            let wakers = state.reach(clock);
            state.running = None;
            state.note(|| why.to_owned());
            wakers
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Drops all tasks of a process, as if its machine had lost power; what servers do for it goes on.
    fn crash(&self, process: usize) {
        let doomed = {
            let mut state = self.lock();
            state.left.crashes -= 1;
            state.counts.crashes += 1;
            state.processes[process].dead = true;
            state.process = process;
            state.running = None;
            state.note(|| "  ✗ the process dies".to_owned());
            let of_process = state.tasks.iter_mut().filter(|task| task.owner == Owner::Process(process));
            of_process
                .filter_map(|task| {
                    task.ended = true;
                    task.future.take()
                })
                .collect::<Vec<_>>()
        };
        // One by one and without the lock: what they had sent may land, what they held is released.
        doomed.into_iter().for_each(drop);
        self.settle();
    }
}

impl State {
    /// The moves of clients, those of the task that ran last first. How many of these there are: leaving them for another
    /// task is a preemption. At the bound there is no other.
    fn client_moves(&self, moves: &mut Vec<Move>) -> usize {
        if let Some(last) = self.last {
            self.moves_of(last, moves);
        }
        let staying = moves.len();
        if staying == 0 || self.left.preemptions != Some(0) {
            let others = (0..self.tasks.len()).filter(|&task| self.last != Some(task) && !self.is_server(task));
            others.for_each(|task| self.moves_of(task, moves));
        }
        staying
    }

    fn moves_of(&self, task: usize, moves: &mut Vec<Move>) {
        if self.tasks[task].ended {
            return;
        }
        let calls = self.parked.iter().filter(|call| call.task == task);
        moves.extend(calls.map(|call| Move::Call { id: call.id, task }));
        if self.tasks[task].woken.is_set() {
            moves.push(Move::Wake(task));
        }
    }

    /// What servers do on their own, and the clock. It moves only when no client can do anything, except to a time limit that
    /// a fault has paid for, and never past an effect that must land before.
    fn other_moves(&self, moves: &mut Vec<Move>) {
        let idle = moves.is_empty();
        for task in (0..self.tasks.len()).filter(|&task| self.is_server(task)) {
            self.moves_of(task, moves);
        }
        let paid = self.sleepers.iter().filter(|sleeper| sleeper.paid).map(|sleeper| sleeper.at);
        let first = self.sleepers.iter().filter(|_| idle).map(|sleeper| sleeper.at).min();
        let mut moments = paid.chain(first).filter(|&at| self.may_reach(at)).collect::<Vec<_>>();
        moments.sort_unstable();
        moments.dedup();
        moves.extend(moments.into_iter().map(Move::Clock));
    }

    fn budgeted_moves(&mut self, moves: &mut Vec<Move>) {
        let left = self.left;
        if left.timeouts > 0 {
            let anyway = |at| moves.iter().any(|other| matches!(other, Move::Clock(to) if *to == at));
            let moments = self.sleepers.iter().map(|sleeper| sleeper.at).filter(|&at| self.may_reach(at) && !anyway(at));
            let mut moments = moments.collect::<Vec<_>>();
            moments.sort_unstable();
            moments.dedup();
            moves.extend(moments.into_iter().map(Move::Timeout));
        }
        if left.lapses > 0 {
            let to = self.clock + super::time::millis(left.lapse_by);
            moves.extend(self.may_reach(to).then_some(Move::Lapse(to)));
        }
        if left.cancels > 0 {
            moves.extend(self.cancellable.iter().map(|call| Move::Cancel { id: call.id, task: call.task }));
        }
        if left.evictions > 0 {
            for (at, adversary) in self.adversaries.iter().enumerate() {
                moves.extend((0..adversary.ways(self.clock)).map(|way| Move::Act { adversary: at, way }));
            }
        }
    }

    /// What a woken task does up to its next call is local to its process. If it is alone there, nobody can tell when that
    /// happens: one order stands for all. Not so if it has a call under way, which may be dropped by what it does.
    fn is_local(&self, at: usize) -> bool {
        let task = &self.tasks[at];
        let Owner::Process(_) = task.owner else { return false };
        let alone = || self.tasks.iter().filter(|other| other.owner == task.owner && !other.ended).count() == 1;
        let calls = self.parked.iter().any(|call| call.task == at);
        task.woken.is_set() && !task.ended && !task.at_server && !calls && (self.left.wake_at_once || alone())
    }

    fn may_die(&self, process: usize) -> bool {
        let owner = Owner::Process(process);
        let Some(entry) = self.processes.get(process) else { return false };
        self.left.crashes > 0 && entry.mortal && !entry.dead && self.tasks.iter().any(|task| task.owner == owner && !task.ended)
    }
}
