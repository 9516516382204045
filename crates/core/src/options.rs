//! What a user may set on a namespace. Every default and bound stands here once; write-back's own are in its crate.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Declaration;
use crate::error::{Error, Result};
use crate::key::check_name;
use crate::runtime::{Runtime, Tokio};

/// How a namespace is written; all processes that write it must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hits are linearizable per key; writes are refused while the cache is away.
    Strict,
    /// The old value may be served until the invalidation that follows the commit or, if the process dies or the cache is away
    /// at that moment, for its time-to-live.
    Eventual,
    /// Changes are accepted in the cache and reach SQL later.
    WriteBack,
    /// The same of counters, to which is added.
    Counters,
}

impl Mode {
    /// The word recorded beside the namespace.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Strict => "strict",
            Mode::Eventual => "eventual",
            Mode::WriteBack => "write-back",
            Mode::Counters => "counters",
        }
    }
}

/// The options of one namespace; the builders of the strategy crates fill it in.
#[derive(Clone)]
pub struct Options {
    /// The namespace's name.
    pub namespace: String,
    /// The deadline of every call.
    pub call_timeout: Duration,
    pub(crate) mode: Mode,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) commit_within: Duration,
    pub(crate) max_loads: usize,
    /// The longest encoded row.
    pub max_value_bytes: usize,
    pub(crate) evictable_barriers: bool,
    pub(crate) unbounded_commits: bool,
    /// Time, tasks and chance.
    pub runtime: Arc<dyn Runtime>,
}

const DEFAULT_TIME_TO_LIVE: Duration = Duration::from_secs(600);

impl Options {
    /// The defaults, in the strategy's own mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Options {
            namespace: String::new(),
            call_timeout: Duration::from_secs(1),
            mode,
            time_to_live: None,
            commit_within: Duration::from_secs(2),
            max_loads: 8,
            max_value_bytes: 1 << 20,
            evictable_barriers: false,
            unbounded_commits: false,
            runtime: Arc::new(Tokio),
        }
    }

    /// Every option is within its bounds.
    ///
    /// # Errors
    /// `Invalid` names the first that is not.
    pub fn check(&self) -> Result<()> {
        check_name("namespace", &self.namespace)?;
        if self.mode == Mode::Eventual && self.time_to_live.is_none() {
            return Err(Error::invalid(
                "eventual mode needs a time_to_live, as in `.time_to_live(Duration::from_secs(60))`: it is how long the old value may be \
                 served if an invalidation is lost",
            ));
        }
        let hour = Duration::from_secs(3600);
        bound("time_to_live", self.lifetime(), Duration::from_millis(100)..=hour * 24 * 366)?;
        bound("call_timeout", self.call_timeout, Duration::from_millis(1)..=hour)?;
        bound("commit_within", self.commit_within, Duration::from_millis(100)..=Duration::from_secs(60))?;
        bound("max_loads", self.max_loads, 1..=10_000)?;
        bound("max_value_bytes", self.max_value_bytes, 1..=256 << 20)
    }

    pub(crate) fn lifetime(&self) -> Duration {
        self.time_to_live.unwrap_or(DEFAULT_TIME_TO_LIVE)
    }

    /// What is recorded beside the entries.
    #[must_use]
    pub fn declaration(&self) -> Declaration {
        Declaration {
            namespace: self.namespace.clone(),
            mode: self.mode.name(),
            no_eviction: self.mode == Mode::Strict && !self.evictable_barriers,
            persistence: false,
        }
    }

    /// What the store must hold a transaction to.
    pub(crate) fn server_timeouts_below(&self) -> Option<Duration> {
        (self.mode == Mode::Strict && !self.unbounded_commits).then_some(self.commit_within)
    }
}

/// An option's bound.
///
/// # Errors
/// `Invalid` names the option, its value and its bound.
pub fn bound<T: PartialOrd + fmt::Debug>(name: &str, value: T, range: RangeInclusive<T>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value:?}; it must be within {range:?}")))
}

macro_rules! setters {
    ($($group:ident { $($(#[$doc:meta])* $name:ident = |$self:ident $(, $arg:ident: $t:ty)?| $set:expr;)+ })+) => {
        impl Options {
            $($( $(#[$doc])* #[must_use] pub fn $name(mut $self $(, $arg: $t)?) -> Self { $set; $self } )+)+
        }

        $(
            /// Gives a builder that holds `options: Options` setters, so that every strategy says the same of them.
            #[doc(hidden)]
            #[macro_export]
            macro_rules! $group {
                () => { $( $(#[$doc])* #[must_use] pub fn $name(mut self $(, $arg: $t)?) -> Self {
                    self.options = self.options.$name($($arg)?);
                    self
                } )+ };
            }
        )+
    };
}

setters! {
    option_setters {
        /// The namespace's name: the middle of every cache key. Required; 1 to 64 of `a-z A-Z 0-9 _ . -`.
        namespace = |self, name: &str| self.namespace = name.to_owned();

        /// How long a value stays in the cache, give or take a tenth, so that values stored together do not expire together. That
        /// a row does not exist is kept for a tenth of it, at most 30 s. Defaults to 600 s, but must be named in eventual mode;
        /// 100 ms to 366 days.
        time_to_live = |self, d: ::std::time::Duration| self.time_to_live = Some(d);

        /// The deadline of every call. Defaults to 1 s; 1 ms to 1 h.
        call_timeout = |self, d: ::std::time::Duration| self.call_timeout = d;

        /// How many loads from SQL this handle has under way at once, of whatever cause; more wait inside their deadline. Keep it
        /// below the size of the SQL pool. Defaults to 8; 1 to 10,000.
        max_loads = |self, n: usize| self.max_loads = n;

        /// The longest encoded row. A longer one is refused before any I/O when it is put, and not cached when it is loaded.
        /// Defaults to 1 MiB; 1 byte to 256 MiB.
        max_value_bytes = |self, n: usize| self.max_value_bytes = n;

        /// Where time, tasks and chance come from. Defaults to tokio; for tests.
        runtime = |self, runtime: ::std::sync::Arc<dyn writeway_core::runtime::Runtime>| self.runtime = runtime;
    }

    look_aside_setters {
        /// Strict mode: hits are linearizable per key, and writes are refused (`Unavailable`, `NotApplied`) while the cache is away.
        strict = |self| self.mode = Mode::Strict;

        /// Eventual mode: commit, then invalidate. If the process dies or the cache is away at that moment, the old value may be
        /// served for its time-to-live, which must therefore be named.
        eventual = |self| self.mode = Mode::Eventual;

        /// Strict mode: how long a commit barrier stands. The commit must land within it, so the server-side time-outs must be
        /// shorter; three quarters of it after placing the barrier the write is rolled back instead of committed. After an unknown
        /// commit, reads of the key go to SQL for this long. Defaults to 2 s; 100 ms to 60 s.
        commit_within = |self, d: ::std::time::Duration| self.commit_within = d;

        /// Strict mode: accepts a cache whose eviction policy may remove barriers (`allkeys-*`). An eviction may then cost a stale
        /// read. Off by default: `build` refuses such a cache.
        allow_evictable_barriers = |self| self.evictable_barriers = true;

        /// Strict mode: accepts SQL connections without server-side time-outs below `commit_within`. A commit that stalls longer
        /// than that may then cost a stale read. Off by default: such a connection is refused.
        allow_unbounded_commits = |self| self.unbounded_commits = true;
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("namespace", &self.namespace).field("mode", &self.mode).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn bad_options_are_named() {
        let good = || Options::new(Mode::Strict).namespace("users");
        assert!(good().check().is_ok());
        for (bad, name) in [
            (good().namespace("a:b"), "namespace"),
            (good().eventual(), "time_to_live"),
            (good().time_to_live(Duration::ZERO), "time_to_live"),
            (good().call_timeout(Duration::ZERO), "call_timeout"),
            (good().commit_within(Duration::from_secs(61)), "commit_within"),
            (good().max_loads(0), "max_loads"),
            (good().max_value_bytes(0), "max_value_bytes"),
        ] {
            let e = bad.check().expect_err(name);
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(name), "{e}");
        }
    }
}
