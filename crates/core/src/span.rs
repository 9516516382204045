//! The spans of calls: which namespace, how much, and how it ended. Never a key, never a value.

use std::future::Future;
use std::pin::pin;

use tracing::{Instrument as _, Span};

use crate::error::{Error, Outcome, Result};

/// Makes the call in its span, whose empty field `ended` is filled in with `done`, with the kind of the error, or with `unknown` where
/// nobody knows whether it took effect.
///
/// # Errors
/// Those of the call.
pub async fn within<T>(span: Span, call: impl Future<Output = Result<T>>) -> Result<T> {
    // In place: a call's future is large, and is not to be moved for the sake of its span.
    let call = pin!(call);
    if span.is_disabled() {
        return call.await;
    }
    let answer = call.instrument(span.clone()).await;
    span.record("ended", ended(answer.as_ref().err()));
    answer
}

/// For a task that goes on with a call: what it says is said in the call's span.
pub(crate) fn carried<T>(task: impl Future<Output = T>) -> impl Future<Output = T> {
    task.instrument(Span::current())
}

fn ended(e: Option<&Error>) -> &'static str {
    match e {
        None => "done",
        Some(e) if e.outcome() == Outcome::Unknown => "unknown",
        Some(e) => e.kind().name(),
    }
}
