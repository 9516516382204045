//! Time, tasks and chance: one port, so that a protocol can be driven step by step.

use std::time::Duration;

use crate::cache::BoxFuture;

/// Everything the strategies do not decide themselves.
pub trait Runtime: Send + Sync + 'static {
    /// Monotonic time since some fixed moment.
    fn now(&self) -> Duration;
    /// Ends after `d`.
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()>;
    /// Runs a task of its own. It ends by itself: nothing that is spawned here waits without a bound.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
    /// Uniform, and never the same twice.
    fn random(&self) -> u128;
}

/// The [`Runtime`] of production: tokio's time and tasks. Must be used inside a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    #[expect(clippy::disallowed_methods, reason = "this is the port's production form")]
    fn now(&self) -> Duration {
        use std::sync::LazyLock;
        use std::time::Instant;
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port's production form")]
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port's production form")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        // The handle is let go: whoever needs the result holds a channel to it, whoever needs the end a gate.
        drop(tokio::spawn(task));
    }

    #[expect(clippy::disallowed_methods, reason = "this is the port's production form")]
    fn random(&self) -> u128 {
        fastrand::u128(..)
    }
}
