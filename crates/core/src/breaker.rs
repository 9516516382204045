//! A circuit breaker: while a server does not answer, calls are refused in microseconds instead of each waiting for its limit.
//!
//! ```text
//! closed ──failures in a row──▶ open ──its time is over──▶ half-open: one call probes
//!    ▲                            ▲                            │
//!    └────────── any answer ──────┴────────── no answer ◀──────┘
//! ```
//!
//! [`Breaker`] is the pure machine; [`Shared`] puts it behind a lock and hands out a [`Permit`] per call. Only the lack of an
//! answer counts: a server that refuses a command is there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Unanswered calls in a row that open it.
    pub(crate) failures: u32,
    /// How long it stays open; varied by ± a quarter, so that many processes do not probe in step.
    pub(crate) open_for: Duration,
}

/// The pure machine.
#[derive(Debug)]
pub(crate) struct Breaker {
    limits: Limits,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration },
    HalfOpen,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Calls are refused from now on, for that long.
    Opened(Duration),
    /// Calls go through again.
    Closed,
}

impl Breaker {
    /// A closed one.
    pub(crate) fn new(limits: Limits) -> Self {
        Breaker { limits, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may go out now. The first one after the open time is the probe; the others wait for its verdict.
    pub(crate) fn admit(&mut self, now: Duration) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } if until <= now => {
                self.state = State::HalfOpen;
                true
            }
            State::Open { .. } | State::HalfOpen => false,
        }
    }

    /// The server answered somebody: it is there, whoever asked.
    pub(crate) fn answered(&mut self) -> Option<Change> {
        let was_closed = matches!(self.state, State::Closed { .. });
        self.state = State::Closed { failures: 0 };
        (!was_closed).then_some(Change::Closed)
    }

    /// The server did not answer a call. While open this changes nothing: calls that went out before it opened end late.
    pub(crate) fn unanswered(&mut self, now: Duration, chance: u128) -> Option<Change> {
        match self.state {
            State::Closed { failures } if failures + 1 < self.limits.failures => {
                self.state = State::Closed { failures: failures + 1 };
                None
            }
            State::Open { .. } => None,
            State::Closed { .. } | State::HalfOpen => Some(self.open(now, chance)),
        }
    }

    /// The probe ended without a verdict (its caller went away): the next call probes.
    pub(crate) fn abandoned(&mut self, now: Duration) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    fn open(&mut self, now: Duration, chance: u128) -> Change {
        // 1024 steps from 3/4 to 5/4.
        let step = u32::try_from(chance % 1024).unwrap_or_default();
        let length = self.limits.open_for * (1536 + step) / 2048;
        self.state = State::Open { until: now + length };
        Change::Opened(length)
    }
}

/// A breaker that tasks share.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<Breaker>);

impl Shared {
    /// A closed one.
    pub(crate) fn new(limits: Limits) -> Self {
        Shared(Mutex::new(Breaker::new(limits)))
    }

    /// A permit for one call, or `None` if the breaker refuses it.
    pub(crate) fn admit(&self, now: Duration) -> Option<Permit<'_>> {
        self.with(|breaker| breaker.admit(now)).then_some(Permit { of: self, admitted: now, done: false })
    }

    /// Calls are refused, or one of them probes.
    pub(crate) fn is_open(&self) -> bool {
        self.with(|breaker| breaker.is_open())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        // Every step is one assignment, so the state behind a poisoned lock is whole.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One call's leave to go out. Dropped without a verdict, it gives a probe's place to the next call.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    of: &'a Shared,
    admitted: Duration,
    done: bool,
}

impl Permit<'_> {
    /// The server answered.
    pub(crate) fn answered(mut self) -> Option<Change> {
        self.done = true;
        self.of.with(Breaker::answered)
    }

    /// The server did not answer.
    pub(crate) fn unanswered(mut self, now: Duration, chance: u128) -> Option<Change> {
        self.done = true;
        self.of.with(|breaker| breaker.unanswered(now, chance))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.of.with(|breaker| breaker.abandoned(self.admitted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { failures: 3, open_for: Duration::from_millis(400) };
    const MIDDLE: u128 = 512;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn open(breaker: &mut Breaker) {
        assert_eq!(breaker.unanswered(ms(0), MIDDLE), None);
        assert_eq!(breaker.unanswered(ms(0), MIDDLE), None);
        assert_eq!(breaker.unanswered(ms(0), MIDDLE), Some(Change::Opened(ms(400))));
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..10 {
            assert_eq!(breaker.unanswered(ms(0), MIDDLE), None);
            assert_eq!(breaker.unanswered(ms(0), MIDDLE), None);
            assert_eq!(breaker.answered(), None);
        }
        assert!(breaker.admit(ms(0)));
        open(&mut breaker);
        assert!(!breaker.admit(ms(399)) && breaker.is_open());
    }

    #[test]
    fn exactly_one_call_probes_and_its_verdict_counts() {
        let mut breaker = Breaker::new(LIMITS);
        open(&mut breaker);
        assert!(breaker.admit(ms(400)), "the probe");
        assert!(!breaker.admit(ms(400)), "nobody else");
        assert_eq!(breaker.unanswered(ms(410), MIDDLE), Some(Change::Opened(ms(400))));
        assert!(!breaker.admit(ms(809)));
        assert!(breaker.admit(ms(810)));
        assert_eq!(breaker.answered(), Some(Change::Closed));
        assert!(breaker.admit(ms(811)) && breaker.admit(ms(811)));
    }

    #[test]
    fn late_failures_do_not_prolong_it_and_a_late_answer_closes_it() {
        let mut breaker = Breaker::new(LIMITS);
        open(&mut breaker);
        assert_eq!(breaker.unanswered(ms(399), MIDDLE), None);
        assert!(breaker.admit(ms(400)));
        let mut breaker = Breaker::new(LIMITS);
        open(&mut breaker);
        assert_eq!(breaker.answered(), Some(Change::Closed));
    }

    #[test]
    fn the_open_time_varies_by_a_quarter() {
        for (chance, length) in [(0, 300), (1023, 499), (1024, 300)] {
            let mut breaker = Breaker::new(Limits { failures: 1, ..LIMITS });
            let Some(Change::Opened(opened)) = breaker.unanswered(ms(0), chance) else { panic!("opens") };
            assert_eq!(opened.as_millis(), length);
        }
    }

    #[test]
    fn a_probe_whose_caller_goes_away_leaves_its_place() {
        let shared = Shared::new(Limits { failures: 1, ..LIMITS });
        let first = shared.admit(ms(0)).expect("closed");
        assert!(matches!(first.unanswered(ms(0), MIDDLE), Some(Change::Opened(_))));
        assert!(shared.admit(ms(10)).is_none());
        drop(shared.admit(ms(400)).expect("the probe"));
        let second = shared.admit(ms(400)).expect("the next probe");
        assert!(shared.admit(ms(400)).is_none());
        assert_eq!(second.answered(), Some(Change::Closed));
    }
}
