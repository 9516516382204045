//! One call: ask the breaker, borrow a connection, send a pipeline, and judge what came back.
//!
//! 1. The breaker refuses at once while the server does not answer.
//! 2. A call ends by its deadline: the checkout's limit and the response's limit together, retries included.
//! 3. A connection that turns out to be gone is left, and the pipeline is sent again on another one, until one has failed that was
//!    made for this call: every command sent from here is idempotent by lease id, token or name, save what says otherwise
//!    ([`Repeat::Never`]). A time-out is not retried: the server has its work already.
//! 4. Scripts that the server has forgotten are loaded and called again, only those; in the end they are sent whole.

use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, Value};

use super::clock::Sample;
use super::failure::{Fate, classify, to_error};
use super::link::Link;
use super::script::{Form, Script};
use super::{PAGE, PAGE_BYTES, Redis, reply};
use crate::breaker::Change;
use crate::error::{Error, Kind, Outcome, Result};
use crate::tasks::until;

/// How often a script is sent, and how: somebody may flush the scripts between any two.
const FORMS: [Form; 4] = [Form::Named, Form::Loaded, Form::Loaded, Form::Whole];

/// What a call may do when its connection turns out to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Be sent again: it is idempotent.
    WhenBroken,
    /// Nothing: once it was sent, only an answer says what became of it.
    Never,
}

/// One script on many keys.
pub(super) struct Calls<'a> {
    pub(super) script: &'static Script,
    pub(super) count: usize,
    /// Adds the n-th call's keys, as many as it says first, and arguments; the link tells the server's time.
    pub(super) call: &'a (dyn Fn(usize, &Link, &mut Cmd) + Sync),
    /// How many bytes the n-th call carries besides its keys and numbers.
    pub(super) bytes: &'a (dyn Fn(usize) -> usize + Sync),
    /// What becomes of it when a connection breaks.
    pub(super) repeat: Repeat,
}

/// How an exchange ended.
enum Ended {
    /// The server answered, if only with a refusal.
    Answered(Result<(Link, Vec<Value>)>),
    /// No answer: this is what the breaker counts.
    Unanswered(Error),
}

impl Repeat {
    /// The error of a call that was sent, and of which no answer came.
    fn unanswered(self, error: Error) -> Error {
        match self {
            Repeat::WhenBroken => error,
            Repeat::Never => error.with_outcome(Outcome::Unknown),
        }
    }
}

impl Redis {
    /// When a call that starts now must have ended.
    pub(super) fn deadline(&self) -> Duration {
        let limits = &self.shared.limits;
        self.shared.runtime.now() + limits.checkout_timeout + limits.response_timeout
    }

    /// Runs a script on every key; one answer per key, refusals of single keys among them.
    pub(super) async fn run(&self, calls: &Calls<'_>) -> Result<Vec<Value>> {
        let mut answers = Vec::with_capacity(calls.count);
        while answers.len() < calls.count {
            let page = answers.len()..page_end(answers.len(), calls.count, calls.bytes);
            answers.extend(self.run_page(calls, page.collect()).await?);
        }
        Ok(answers)
    }

    async fn run_page(&self, calls: &Calls<'_>, page: Vec<usize>) -> Result<Vec<Value>> {
        let deadline = self.deadline();
        let first = page.first().copied().unwrap_or_default();
        let mut answers = vec![Value::Nil; page.len()];
        let mut left = page;
        for form in FORMS {
            let extra = usize::from(form == Form::Loaded);
            let build = |link: &Link| {
                let mut pipeline = Pipeline::with_capacity(left.len() + extra);
                calls.script.open(&mut pipeline, form);
                for &n in &left {
                    let mut cmd = calls.script.cmd(form);
                    (calls.call)(n, link, &mut cmd);
                    pipeline.add_command(cmd);
                }
                pipeline
            };
            let values = self.exchange_as(calls.repeat, deadline, &build).await?.1;
            let mut forgotten = Vec::new();
            for (&n, value) in left.iter().zip(values.into_iter().skip(extra)) {
                if matches!(&value, Value::ServerError(e) if e.code() == "NOSCRIPT") {
                    forgotten.push(n);
                }
                answers[n - first] = value;
            }
            left = forgotten;
            if left.is_empty() {
                break;
            }
        }
        Ok(answers)
    }

    /// Sends a pipeline; as many answers as it holds commands.
    pub(super) async fn exchange(&self, deadline: Duration, build: &(dyn Fn(&Link) -> Pipeline + Sync)) -> Result<Vec<Value>> {
        self.exchange_as(Repeat::WhenBroken, deadline, build).await.map(|(_, answers)| answers)
    }

    /// The same, with the link that led to them.
    pub(super) async fn exchange_as(
        &self,
        repeat: Repeat,
        deadline: Duration,
        build: &(dyn Fn(&Link) -> Pipeline + Sync),
    ) -> Result<(Link, Vec<Value>)> {
        let shared = &*self.shared;
        let Some(permit) = shared.breaker.admit(shared.runtime.now()) else {
            shared.counts.refused.add(1);
            return Err(Error::unavailable("the cache server does not answer; calls are held back for a moment"));
        };
        match self.attempts(repeat, deadline, build).await {
            Ended::Answered(result) => {
                if permit.answered() == Some(Change::Closed) {
                    shared.counts.closed();
                    tracing::info!(name: "redis.breaker.closed", "the cache server answers again");
                }
                result
            }
            Ended::Unanswered(error) => {
                shared.counts.unanswered.add(1);
                let change = permit.unanswered(shared.runtime.now(), shared.runtime.random());
                if let Some(Change::Opened(length)) = change {
                    shared.counts.opened();
                    tracing::warn!(name: "redis.breaker.open", ?length, %error, "the cache server does not answer: calls are refused");
                }
                Err(error)
            }
        }
    }

    async fn attempts(&self, repeat: Repeat, deadline: Duration, build: &(dyn Fn(&Link) -> Pipeline + Sync)) -> Ended {
        let shared = &*self.shared;
        let started = shared.runtime.now();
        loop {
            let link = match self.link(deadline).await {
                Ok(link) => link,
                // Refused by the set-up: the server is there.
                Err(e) if e.kind() == Kind::Invalid => return Ended::Answered(Err(e)),
                Err(e) => return Ended::Unanswered(e),
            };
            let limit = deadline.min(shared.runtime.now() + shared.limits.response_timeout);
            match until(&*shared.runtime, limit, self.send(&link, build)).await {
                Some(Ok(answers)) => {
                    link.answered();
                    return Ended::Answered(Ok((link, answers)));
                }
                Some(Err(e)) => {
                    let fate = classify(&e).link;
                    link.settle(fate);
                    let by_server = e.code().is_some();
                    // What the server refused was not carried out.
                    if fate != Fate::Keep && link.born() < started && (by_server || repeat == Repeat::WhenBroken) {
                        continue;
                    }
                    let error = to_error(e);
                    return if by_server { Ended::Answered(Err(error)) } else { Ended::Unanswered(repeat.unanswered(error)) };
                }
                None => {
                    link.was_silent();
                    return Ended::Unanswered(repeat.unanswered(Error::unavailable("the cache server did not answer in time")));
                }
            }
        }
    }

    async fn link(&self, deadline: Duration) -> Result<Link> {
        let shared = &*self.shared;
        if let Some(link) = shared.connector.in_hand() {
            return Ok(link);
        }
        let link = until(&*shared.runtime, deadline, shared.connector.checkout(&shared.pool)).await;
        link.unwrap_or_else(|| Err(Error::unavailable("no connection to the cache server in time")))
    }

    async fn send(&self, link: &Link, build: &(dyn Fn(&Link) -> Pipeline + Sync)) -> std::result::Result<Vec<Value>, RedisError> {
        let runtime = &*self.shared.runtime;
        let sent = runtime.now();
        let answers = link.ask(&build(link)).await?;
        let received = runtime.now();
        if let Some(server) = answers.iter().find_map(reply::time) {
            link.clock().learn(Sample { server, sent, received });
        }
        // A refusal that concerns the connection concerns every command: all of them are sent again elsewhere.
        let fatal = answers.iter().find_map(|answer| match answer {
            Value::ServerError(e) => {
                let e = RedisError::from(e.clone());
                (classify(&e).link != Fate::Keep).then_some(e)
            }
            _ => None,
        });
        match fatal {
            Some(e) => Err(e),
            None => Ok(answers),
        }
    }
}

/// Where the page that starts here ends: after [`PAGE`] calls, or sooner so as not to outgrow [`PAGE_BYTES`] by more than one.
fn page_end(start: usize, count: usize, bytes: &dyn Fn(usize) -> usize) -> usize {
    let mut sum = 0_usize;
    let fits = |&n: &usize| {
        let fits = sum < PAGE_BYTES;
        sum = sum.saturating_add(bytes(n));
        fits
    };
    start + (start..count).take(PAGE).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_in_calls_and_bytes_and_never_empty() {
        assert_eq!(page_end(0, 3, &|_| 0), 3);
        assert_eq!(page_end(7, 10_000, &|_| 0), 7 + PAGE);
        assert_eq!(page_end(7, 10_000, &|_| PAGE_BYTES / 2), 9);
        assert_eq!(page_end(7, 10_000, &|_| PAGE_BYTES), 8);
        assert_eq!(page_end(7, 8, &|_| usize::MAX), 8);
    }
}
