//! Recorded histories, one per key, and whether each can be told as if its calls had happened one after the other.
//!
//! A key is a register: put and delete write it, get reads it. A call is recorded when it is asked and again when it is answered;
//! what was refused never happened; what is in doubt is never answered, and may take effect at any moment after it was asked, or
//! never. [stateright](https://docs.rs/stateright)'s tester looks for an order. It tries all of them where there is none, so
//! histories are kept short: [`Histories::is_open`] says when a key has enough, or too much in doubt.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester};

/// What a key holds; `None` for no row.
type Value = Option<i64>;

/// Calls of one key.
const LONGEST: usize = 30;
/// Calls in doubt of one key.
const DOUBTS: usize = 3;

/// What is asked of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A put, or a delete.
    Write(Value),
    /// A get.
    Read,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The write was acknowledged.
    Written,
    /// The read found this.
    Found(Value),
    /// It did not happen: a write that is not applied, a read without an answer.
    Refused,
    /// It may have happened, or may happen yet.
    InDoubt,
}

/// One moment of a history.
#[derive(Clone, Copy, Debug)]
enum Event {
    Asked(usize, Asked),
    Answered(usize, Answered),
}

#[derive(Default)]
struct History {
    events: Vec<Event>,
    calls: usize,
    doubts: usize,
}

/// A call under way.
#[derive(Clone, Copy, Debug)]
#[must_use = "a call that is never answered is one in doubt"]
pub struct Call {
    key: usize,
    number: usize,
}

/// The histories of keys that are numbered from 0, each with a value of its own at the beginning: none.
pub struct Histories(Vec<Mutex<History>>);

/// What the histories show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Calls that were answered.
    pub calls: usize,
    /// Reads among them.
    pub reads: usize,
    /// Calls that were refused, and did not count.
    pub refused: usize,
    /// Calls in doubt.
    pub doubts: usize,
    /// Calls that were asked while another of their key was under way.
    pub concurrent: usize,
    /// Keys whose history cannot be told in any order.
    pub wrong: Vec<usize>,
}

impl Histories {
    /// So many, all empty.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Histories((0..keys).map(|_| Mutex::default()).collect())
    }

    fn of(&self, key: usize) -> std::sync::MutexGuard<'_, History> {
        self.0[key].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Further calls of the key may be recorded.
    #[must_use]
    pub fn is_open(&self, key: usize) -> bool {
        let history = self.of(key);
        history.calls < LONGEST && history.doubts < DOUBTS
    }

    /// To be called before the call is made.
    pub fn asked(&self, key: usize, what: Asked) -> Call {
        let mut history = self.of(key);
        let number = history.calls;
        history.calls += 1;
        history.events.push(Event::Asked(number, what));
        Call { key, number }
    }

    /// To be called once the answer is there.
    pub fn answered(&self, call: Call, how: Answered) {
        let mut history = self.of(call.key);
        history.doubts += usize::from(how == Answered::InDoubt);
        history.events.push(Event::Answered(call.number, how));
    }

    /// Judges them all.
    #[must_use]
    pub fn judge(&self) -> Shown {
        let mut shown = Shown::default();
        for key in 0..self.0.len() {
            let history = self.of(key);
            if !history.count(&mut shown) {
                if shown.wrong.is_empty() {
                    println!("no order explains the history of key {key}:\n{history}");
                }
                shown.wrong.push(key);
            }
        }
        shown
    }
}

impl History {
    /// True if there is an order.
    fn count(&self, shown: &mut Shown) -> bool {
        let ends: BTreeMap<usize, Answered> = self
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Answered(number, how) => Some((*number, *how)),
                Event::Asked(..) => None,
            })
            .collect();
        let end = |number: &usize| ends.get(number).copied().unwrap_or(Answered::InDoubt);
        let mut tester = LinearizabilityTester::new(Register(None));
        let (mut threads, mut running) = (Threads::default(), 0_usize);
        for event in &self.events {
            let done = match event {
                Event::Asked(number, what) => {
                    let how = end(number);
                    match how {
                        Answered::Refused => shown.refused += 1,
                        Answered::InDoubt => shown.doubts += 1,
                        Answered::Written | Answered::Found(_) => {
                            shown.calls += 1;
                            shown.reads += usize::from(*what == Asked::Read);
                            shown.concurrent += usize::from(running > 0);
                        }
                    }
                    // A read in doubt says nothing.
                    if how == Answered::Refused || (how == Answered::InDoubt && *what == Asked::Read) {
                        continue;
                    }
                    running += 1;
                    let asked = match what {
                        Asked::Write(value) => RegisterOp::Write(*value),
                        Asked::Read => RegisterOp::Read,
                    };
                    tester.on_invoke(threads.take(*number), asked).map(drop)
                }
                Event::Answered(number, how) => {
                    let answer = match how {
                        Answered::Written => RegisterRet::WriteOk,
                        Answered::Found(value) => RegisterRet::ReadOk(*value),
                        Answered::Refused | Answered::InDoubt => continue,
                    };
                    running -= 1;
                    tester.on_return(threads.give_back(*number), answer).map(drop)
                }
            };
            done.expect("every thread has one call at a time");
        }
        tester.is_consistent()
    }
}

/// The tester knows threads, of one call at a time: as few as will do, for it looks at each of them at every step.
#[derive(Default)]
struct Threads {
    free: Vec<usize>,
    of: BTreeMap<usize, usize>,
    count: usize,
}

impl Threads {
    fn take(&mut self, call: usize) -> usize {
        let thread = self.free.pop().unwrap_or_else(|| {
            self.count += 1;
            self.count
        });
        self.of.insert(call, thread);
        thread
    }

    fn give_back(&mut self, call: usize) -> usize {
        let thread = self.of.remove(&call).expect("it was taken");
        self.free.push(thread);
        thread
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.iter().try_for_each(|event| match event {
            Event::Asked(number, what) => writeln!(f, "  {number:2} asks {what:?}"),
            Event::Answered(number, how) => writeln!(f, "  {number:2} ends {how:?}"),
        })
    }
}

impl fmt::Debug for Histories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histories").field("keys", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Answered::{Found, InDoubt, Refused, Written};
    use super::Asked::{Read, Write};
    use super::*;

    /// A history of calls that begin and end at these moments, which are all different.
    fn wrong(calls: &[(u32, u32, Asked, Answered)]) -> bool {
        let histories = Histories::new(1);
        let mut moments: Vec<(u32, usize, bool)> = Vec::new();
        for (n, (from, to, ..)) in calls.iter().enumerate() {
            moments.extend([(*from, n, true), (*to, n, false)]);
        }
        moments.sort_unstable();
        let mut under_way = BTreeMap::new();
        for (_, n, begins) in moments {
            if begins {
                under_way.insert(n, histories.asked(0, calls[n].2));
            } else {
                histories.answered(under_way[&n], calls[n].3);
            }
        }
        histories.judge().wrong == [0]
    }

    #[test]
    fn what_happened_in_some_order_is_right() {
        assert!(!wrong(&[]));
        assert!(!wrong(&[(1, 2, Read, Found(None)), (3, 4, Write(Some(1)), Written), (5, 6, Read, Found(Some(1)))]));
        assert!(!wrong(&[(1, 9, Write(Some(1)), Written), (2, 3, Read, Found(Some(1))), (4, 5, Read, Found(Some(1)))]));
        assert!(!wrong(&[(1, 2, Write(Some(1)), Written), (3, 4, Write(None), Written), (5, 6, Read, Found(None))]));
        assert!(!wrong(&[(1, 8, Write(Some(1)), Written), (2, 9, Write(Some(2)), Written), (10, 11, Read, Found(Some(1)))]));
    }

    #[test]
    fn an_old_answer_is_wrong() {
        assert!(wrong(&[(1, 2, Write(Some(1)), Written), (3, 4, Read, Found(None))]));
        assert!(wrong(&[(1, 9, Write(Some(1)), Written), (2, 3, Read, Found(Some(1))), (4, 5, Read, Found(None))]), "backwards");
        assert!(wrong(&[(1, 2, Read, Found(Some(1))), (3, 4, Write(Some(1)), Written)]), "before it was written");
        assert!(wrong(&[(1, 2, Write(Some(1)), Refused), (3, 4, Read, Found(Some(1)))]), "refused, and there");
    }

    #[test]
    fn a_write_in_doubt_may_land_at_any_time_or_never() {
        let doubt = (1, 2, Write(Some(1)), InDoubt);
        assert!(!wrong(&[doubt, (3, 4, Read, Found(None)), (5, 6, Read, Found(Some(1)))]));
        assert!(!wrong(&[doubt, (3, 4, Read, Found(None)), (5, 6, Read, Found(None))]));
        assert!(wrong(&[doubt, (3, 4, Read, Found(Some(1))), (5, 6, Read, Found(None))]));
    }

    #[test]
    fn a_key_with_enough_is_closed() {
        let histories = Histories::new(2);
        for _ in 0..DOUBTS {
            assert!(histories.is_open(0));
            let call = histories.asked(0, Write(None));
            histories.answered(call, InDoubt);
        }
        assert!(!histories.is_open(0) && histories.is_open(1));
        for _ in 0..LONGEST {
            let call = histories.asked(1, Read);
            histories.answered(call, Refused);
        }
        assert!(!histories.is_open(1));
        assert_eq!(histories.judge().doubts, DOUBTS);
    }
}
