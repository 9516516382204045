//! The explorer: production code, unchanged, over every order of its calls, every fault and every crash point.
//!
//! A [`World`] is one run: processes of tasks over simulated servers and a logical clock. [`Explore`] makes one after the other,
//! each along another path of choices, until all are visited, or drawn from seeds. A run is a function of its path: a failing
//! one is run again with a trace, and its path is printed.
//!
//! **What is a choice.** Whose call comes next, how a call ends (within the budget of faults), whether the process dies now,
//! and the adversaries' acts. One scheduling point per simulated call. What code does between two calls is local, hence no
//! choice; where a process has several tasks, which may share local state (single-flight), the orders in which woken ones go on
//! are visited unless [`Explore::wake_at_once`] says otherwise.
//!
//! **Time** moves only when nothing else can, straight to the next sleeper, so that time-outs do not multiply the runs;
//! [`Explore::timeouts`], [`Explore::lapses`] and [`Explore::slow_replies`] let it move earlier. An effect that must land before some moment lands before
//! the clock passes it.

mod adversary;
mod call;
mod cancel;
mod choices;
mod explore;
mod op;
mod report;
mod schedule;
mod state;
mod time;
mod world;

#[cfg(test)]
mod tests;

pub use adversary::Adversary;
pub use call::{Call, End, Failed, READS, Side, WRITES};
pub use explore::Explore;
pub use report::{Counts, Coverage, Failure, Report, Verdict, Violation};
pub use time::SimRuntime;
pub(crate) use time::millis;
pub use world::{Process, World};
