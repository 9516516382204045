//! What the calls of a decorated port do, and what was seen of them.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use writeway_core::error::{Error, Result};
use writeway_core::runtime::{Runtime, Tokio};
use writeway_core::tasks::until;

/// What a call does instead of passing through.
#[derive(Clone, Copy, Debug, Default)]
pub enum Act {
    /// The call itself.
    #[default]
    Pass,
    /// The call itself, with one suspension before and one after it.
    Yield,
    /// An error, and the call was not made.
    Fail(fn() -> Error),
    /// An error, and the call was made: its answer was lost.
    LoseAnswer(fn() -> Error),
    /// No answer ever, and the call was not made.
    Stall,
    /// No answer ever, and the call was made.
    LandAndStall,
    /// Waits before the call until the script says otherwise.
    HoldBefore,
    /// Makes the call and holds its answer until the script says otherwise.
    HoldAfter,
    /// Panics, as code of a user's would.
    Panic,
}

/// The acts by the name of the call, and how often each was called. Cheap to clone; all clones are one script.
#[derive(Clone, Debug)]
pub struct Script(Arc<watch::Sender<State>>);

#[derive(Debug, Default)]
struct State {
    acts: BTreeMap<&'static str, Act>,
    otherwise: Act,
    seen: BTreeMap<&'static str, Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    calls: usize,
    items: usize,
    inside: usize,
    peak: usize,
}

/// A call under way; it ends when dropped.
struct Inside<'s>(&'s Script, &'static str);

impl Script {
    /// Everything passes.
    #[must_use]
    pub fn new() -> Self {
        Script(Arc::new(watch::Sender::default()))
    }

    /// From now on `call` does this; held calls go on.
    pub fn on(&self, call: &'static str, act: Act) {
        self.0.send_modify(|state| {
            state.acts.insert(call, act);
        });
    }

    /// From now on every call does this.
    pub fn on_all(&self, act: Act) {
        self.0.send_modify(|state| {
            state.acts.clear();
            state.otherwise = act;
        });
    }

    /// How often `call` was called.
    #[must_use]
    pub fn count(&self, call: &'static str) -> usize {
        self.seen(call).calls
    }

    /// How many keys or changes `call` was given in all.
    #[must_use]
    pub fn items(&self, call: &'static str) -> usize {
        self.seen(call).items
    }

    /// How many of `call` were under way at once, at most.
    #[must_use]
    pub fn peak(&self, call: &'static str) -> usize {
        self.seen(call).peak
    }

    /// How many of `call` are under way.
    #[must_use]
    pub fn inside(&self, call: &'static str) -> usize {
        self.seen(call).inside
    }

    /// How many calls were made of any name.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.borrow().seen.values().map(|seen| seen.calls).sum()
    }

    /// Forgets what was seen; calls under way stay counted as such.
    pub fn forget(&self) {
        self.0.send_modify(|state| {
            for seen in state.seen.values_mut() {
                *seen = Seen { inside: seen.inside, peak: seen.inside, ..Seen::default() };
            }
        });
    }

    /// Waits until `call` was called `n` times.
    ///
    /// # Panics
    /// After a minute of tokio's clock.
    pub async fn called(&self, call: &'static str, n: usize) {
        let called = self.wait(|state| state.seen.get(call).is_some_and(|seen| seen.calls >= n));
        let in_time = until(&Tokio, Tokio.now() + Duration::from_secs(60), called).await.is_some();
        assert!(in_time, "invariant violated: {call} is called {n} times, not {}", self.count(call));
    }

    /// Plays `call` with `items` keys or changes.
    ///
    /// # Errors
    /// Those of `work`, and those of the act.
    ///
    /// # Panics
    /// As the script says.
    pub async fn play<T>(&self, call: &'static str, items: usize, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.0.send_modify(|state| {
            let seen = state.seen.entry(call).or_default();
            seen.calls += 1;
            seen.items += items;
            seen.inside += 1;
            seen.peak = seen.peak.max(seen.inside);
        });
        let _inside = Inside(self, call);
        match self.act(call) {
            Act::Pass => work.await,
            Act::Yield => {
                tokio::task::yield_now().await;
                let answer = work.await;
                tokio::task::yield_now().await;
                answer
            }
            Act::Fail(error) => Err(error()),
            Act::LoseAnswer(error) => work.await.and(Err(error())),
            Act::Stall => pending().await,
            Act::LandAndStall => {
                drop(work.await);
                pending().await
            }
            Act::HoldBefore => {
                self.wait(|state| !matches!(state.act(call), Act::HoldBefore)).await;
                work.await
            }
            Act::HoldAfter => {
                let answer = work.await;
                self.wait(|state| !matches!(state.act(call), Act::HoldAfter)).await;
                answer
            }
            Act::Panic => panic!("the script says that {call} panics"),
        }
    }

    fn act(&self, call: &'static str) -> Act {
        self.0.borrow().act(call)
    }

    fn seen(&self, call: &'static str) -> Seen {
        self.0.borrow().seen.get(call).copied().unwrap_or_default()
    }

    async fn wait(&self, condition: impl FnMut(&State) -> bool) {
        // The sender lives in `self`, so waiting cannot fail.
        drop(self.0.subscribe().wait_for(condition).await);
    }
}

impl State {
    fn act(&self, call: &'static str) -> Act {
        self.acts.get(call).copied().unwrap_or(self.otherwise)
    }
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let (script, call) = (self.0, self.1);
        script.0.send_modify(|state| {
            if let Some(seen) = state.seen.get_mut(call) {
                seen.inside -= 1;
            }
        });
    }
}
