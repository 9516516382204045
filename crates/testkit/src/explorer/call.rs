//! A simulated call: it parks once, then the explorer says how it ends.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::choices::Odds;
use super::state::{Name, Owner, Parked, Phase};
use super::time::Sleep;
use super::world::World;

/// How a call may end other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server refuses, and says so: nothing was done.
    Refused,
    /// Nothing was done, but nobody says so.
    Vanished,
    /// Done, but the reply is lost.
    Lost,
    /// The caller gives up at its time limit; the server does it at some later moment, whether or not the caller lives.
    Late,
}

/// Which server is called: scenarios may have faults of one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Redis.
    Cache,
    /// SQL.
    Store,
}

/// What is called, and how it may end.
pub struct Call {
    /// For the trace.
    pub what: Name,
    /// Who is called.
    pub side: Side,
    /// The ways in which it may fail; those of a call that changes nothing are `Refused` alone.
    pub ends: &'static [End],
    /// When its caller gives up, in ms of the clock.
    pub limit: u64,
    /// When the server gives up on an effect that is late; `None` for never.
    pub lands_by: Option<u64>,
}

/// How a call failed, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing was done and nothing will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// For calls that only read.
pub const READS: &[End] = &[End::Refused];
/// For calls that change something.
pub const WRITES: &[End] = &[End::Refused, End::Lost, End::Late];

impl World {
    /// One call to a server: one step of the schedule, then `effect` at once, never, or late. A call that is dropped while it
    /// waits for its turn may have been sent: it then has no effect, or a late one.
    ///
    /// # Errors
    /// What the caller can know.
    pub async fn call<T>(&self, call: Call, effect: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
        let mut sent = Sent { world: self, call, effect: Some(effect) };
        self.point(sent.call.what.clone()).await;
        let Some(effect) = sent.effect.take() else { unreachable!("taken only here") };
        match self.ending(sent.call.side, sent.call.ends) {
            None => {
                let answer = effect();
                if let Some(at) = self.reply_comes_late(sent.call.side) {
                    self.give_up(at).await;
                }
                Ok(answer)
            }
            Some(End::Refused) => Err(Failed::Refused),
            Some(End::Vanished) => Err(Failed::Unknown),
            Some(End::Lost) => {
                effect();
                Err(Failed::Unknown)
            }
            Some(End::Late) => {
                self.land_later(sent.call.what.clone(), sent.call.lands_by, || drop(effect()));
                self.give_up(sent.call.limit).await;
                Err(Failed::Unknown)
            }
        }
    }

    /// A step of its own in the schedule, where a task waits for its turn.
    pub fn point(&self, what: impl Into<Name>) -> impl Future<Output = ()> + Send + 'static {
        Point { world: self.clone(), what: what.into(), id: None, kind: Kind::Call }
    }

    /// The start of an operation, whose first call belongs to the same step: what an operation does before its first call is
    /// local, so nothing is lost by starting it only now, and its interval begins where it really begins.
    pub(crate) fn start_point(&self) -> impl Future<Output = ()> + Send + 'static {
        Point { world: self.clone(), what: Name::Borrowed("start"), id: None, kind: Kind::Start }
    }

    /// How the running task's call ends; `None` for well.
    pub fn ending(&self, side: Side, ends: &[End]) -> Option<End> {
        let mut state = self.lock();
        let budget = &mut state.left;
        let of_side = if side == Side::Cache { budget.cache_faults } else { budget.store_faults };
        if state.phase != Phase::Explored || state.left.faults + of_side == 0 {
            return None;
        }
        let end = *state.pick(1 + ends.len(), Odds::Fault).checked_sub(1).and_then(|way| ends.get(way))?;
        let budget = &mut state.left;
        match side {
            Side::Cache if budget.cache_faults > 0 => budget.cache_faults -= 1,
            Side::Store if budget.store_faults > 0 => budget.store_faults -= 1,
            _ => budget.faults -= 1,
        }
        state.counts.faults += 1;
        state.note(|| match end {
            End::Refused => "  ✗ refused".to_owned(),
            End::Vanished => "  ✗ not applied, and no answer".to_owned(),
            End::Lost => "  ✗ applied, but the reply is lost".to_owned(),
            End::Late => "  ✗ no answer; it lands later".to_owned(),
        });
        Some(end)
    }

    /// When the answer to what was done just now arrives; `None` for at once.
    fn reply_comes_late(&self, of: Side) -> Option<u64> {
        let mut state = self.lock();
        let may = state.phase == Phase::Explored && state.left.slow_replies > 0 && state.left.slow_side == Some(of);
        if !may || state.pick(2, Odds::Fault) == 0 {
            return None;
        }
        state.left.slow_replies -= 1;
        state.counts.slow_replies += 1;
        state.note(|| "  … done, but its answer is slow".to_owned());
        Some(state.clock + super::time::millis(state.left.slow_by))
    }

    /// An effect that a server has on its own: at any later moment up to `lands_by`, before which the clock waits for it.
    pub fn land_later(&self, what: impl Into<Name>, lands_by: Option<u64>, effect: impl FnOnce() + Send + 'static) {
        let (world, what) = (self.clone(), what.into());
        self.serve(what.clone(), lands_by, async move {
            Point { world: world.clone(), what, id: None, kind: Kind::Landing }.await;
            world.lock().counts.late_landings += 1;
            effect();
        });
    }

    /// A server's task: no crash ends it.
    pub(crate) fn serve(&self, name: Name, lands_by: Option<u64>, work: impl Future<Output = ()> + Send + 'static) {
        self.lock().add_task(name, Owner::Server, lands_by, Box::pin(work));
    }

    /// Waits for a moment that was paid for, as a call's time limit by its fault: it may come before others have done their
    /// steps.
    pub fn give_up(&self, at: u64) -> impl Future<Output = ()> + Send + 'static {
        Sleep::paid(self.clone(), at)
    }

    /// A request that was dropped while under way: the server may have got it.
    pub(crate) fn dropped_lands(&self, what: &str) -> bool {
        let mut state = self.lock();
        let lands = state.phase == Phase::Explored && state.pick(2, Odds::Even) == 1;
        if lands {
            state.note(|| format!("  ✗ dropped while under way, lands later: {what}"));
        }
        lands
    }
}

/// A request whose effect nobody has taken yet.
struct Sent<'w, T, F: FnOnce() -> T + Send + 'static> {
    world: &'w World,
    call: Call,
    effect: Option<F>,
}

impl<T, F: FnOnce() -> T + Send + 'static> Drop for Sent<'_, T, F> {
    fn drop(&mut self) {
        let Some(effect) = self.effect.take() else { return };
        if self.call.ends.contains(&End::Late) && self.world.dropped_lands(&self.call.what) {
            self.world.land_later(std::mem::take(&mut self.call.what), self.call.lands_by, || drop(effect()));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Start,
    Landing,
}

struct Point {
    world: World,
    what: Name,
    id: Option<u64>,
    kind: Kind,
}

impl Future for Point {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.lock();
        match (state.phase, self.id) {
            (Phase::Quiet, None) => {}
            (Phase::Explored, None) if self.kind == Kind::Call && std::mem::take(&mut state.fresh) => {}
            (_, Some(id)) if state.granted == Some(id) => {
                state.granted = None;
                state.fresh = self.kind == Kind::Start;
                state.parked.retain(|call| call.id != id);
                self.id = None;
            }
            (_, None) => {
                let Some(task) = state.running else { unreachable!("only tasks make calls while exploring") };
                let id = state.fresh_id();
                state.parked.push(Parked { id, task, waker: cx.waker().clone() });
                drop(state);
                self.id = Some(id);
                return Poll::Pending;
            }
            (_, Some(id)) => {
                if let Some(call) = state.parked.iter_mut().find(|call| call.id == id) {
                    call.waker = cx.waker().clone();
                }
                return Poll::Pending;
            }
        }
        if self.kind != Kind::Start {
            state.note(|| self.what.clone().into_owned());
        }
        Poll::Ready(())
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.world.lock().parked.retain(|call| call.id != id);
        }
    }
}
