//! One contract suite for every implementation of a port: each promise that the port's documentation makes is a check with a
//! name. The same checks run on the simulated servers, on the in-process ones, on Redis and on PostgreSQL.
//!
//! ```
//! use writeway_core::runtime::Runtime;
//! use writeway_testkit::contract::{self, CacheSubject};
//! use writeway_testkit::explorer::Explore;
//!
//! Explore::new("the simulated cache keeps the contract").run(|world| {
//!     let subject = CacheSubject::new(world.cache(), world.runtime());
//!     world.setup(contract::cache("the simulation", &subject)).assert_held();
//!     Ok(())
//! });
//! ```
//!
//! On real servers a subject's runtime is `Tokio`, and the same functions are awaited in a `#[tokio::test]`. Where a server is
//! not there, the test says so with [`not_run`]: a pair that did not run is a failure under CI, never a silent pass.

mod cache_reads;
mod cache_writes;
mod foreign;
mod store;
mod subject;

use std::fmt;

use writeway_core::cache::BoxFuture;
use writeway_core::store::Store;

use crate::explorer::{Verdict, Violation};
pub use subject::{CacheSubject, Raw, StoreSubject};

/// One promise.
pub(crate) struct Check<T: 'static> {
    name: &'static str,
    /// Why it cannot be tried on this subject.
    unfit: fn(&T) -> Option<&'static str>,
    run: for<'a> fn(&'a T) -> BoxFuture<'a, Verdict>,
}

/// What a suite found on one implementation.
#[derive(Debug)]
#[must_use = "assert that it held"]
pub struct Ran {
    /// The suite and the implementation.
    pub pair: String,
    /// The promises that held.
    pub held: Vec<&'static str>,
    /// Those that did not.
    pub broken: Vec<Violation>,
    /// Those that could not be tried here, and why.
    pub left_out: Vec<(&'static str, &'static str)>,
}

impl Ran {
    /// Prints what was tried.
    ///
    /// # Panics
    /// Naming every promise that is broken.
    #[expect(clippy::print_stdout, reason = "a pair that was left out must be seen in the test log")]
    pub fn assert_held(&self) {
        println!("{self}");
        assert!(self.broken.is_empty(), "{self}");
        assert!(!self.held.is_empty(), "nothing was tried: {self}");
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { pair, held, broken, left_out } = self;
        write!(f, "{pair}: {} held, {} broken, {} left out", held.len(), broken.len(), left_out.len())?;
        broken.iter().try_for_each(|broken| write!(f, "\n  broken: {}: {}", broken.invariant, broken.detail))?;
        left_out.iter().try_for_each(|(name, why)| write!(f, "\n  left out: {name}: {why}"))
    }
}

/// Tries every promise of `Entries` and `Barriers`.
pub async fn cache(implementation: &str, subject: &CacheSubject) -> Ran {
    let checks = cache_reads::CHECKS.iter().chain(cache_writes::CHECKS).chain(foreign::CHECKS);
    run(format!("cache contract over {implementation}"), subject, checks).await
}

/// Tries every promise of `Store` and `Transaction`.
pub async fn store<S: Store>(implementation: &str, subject: &StoreSubject<S>) -> Ran {
    run(format!("store contract over {implementation}"), subject, store::checks::<S>().iter()).await
}

async fn run<'c, T: 'static>(pair: String, subject: &T, checks: impl Iterator<Item = &'c Check<T>>) -> Ran {
    let mut ran = Ran { pair, held: Vec::new(), broken: Vec::new(), left_out: Vec::new() };
    for check in checks {
        if let Some(why) = (check.unfit)(subject) {
            ran.left_out.push((check.name, why));
            continue;
        }
        match (check.run)(subject).await {
            Ok(()) => ran.held.push(check.name),
            // A step inside a check names what was asked; the promise is the check's.
            Err(step) => {
                let detail = format!("{}: {}", step.invariant, step.detail);
                ran.broken.push(Violation { invariant: check.name, detail });
            }
        }
    }
    ran
}

/// Says that a pair did not run, because its server is not there.
///
/// # Panics
/// Under CI (the environment variable `CI` is set): there it is a failure.
#[expect(clippy::print_stdout, reason = "a pair that did not run must be seen in the test log")]
pub fn not_run(pair: &str, why: &str) {
    println!("NOT RUN: {pair}: {why}");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{pair} did not run: {why}");
}

/// One step of a check.
fn expect<T: PartialEq + fmt::Debug>(step: &'static str, got: T, want: T) -> Verdict {
    Violation::unless(got == want, step, || format!("expected {want:?}, got {got:?}"))
}

/// A call that must succeed.
fn ok<T>(step: &'static str, got: writeway_core::error::Result<T>) -> Result<T, Violation> {
    got.map_err(|e| Violation { invariant: step, detail: format!("{e:?}") })
}

/// A call that must be refused.
fn refused<T>(step: &'static str, got: writeway_core::error::Result<T>, kind: writeway_core::error::Kind) -> Verdict {
    expect(step, got.err().map(|e| e.kind()), Some(kind))
}
