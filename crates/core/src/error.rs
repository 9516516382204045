//! One error type: the kind says what to do, the outcome says what happened to SQL.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The result of every fallible call of the family.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, one word wide and cheap to clone (callers that shared one load share its error).
///
/// Its text names what was attempted and on which namespace. It never holds a key or a value; the driver's own words, which
/// may quote data, are reachable only through [`source`](StdError::source).
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{message}{}", place.as_ref().map(|(attempt, namespace)| format!("{attempt} on {namespace}: ")).unwrap_or_default(), outcome.remark())]
struct Inner {
    kind: Kind,
    outcome: Outcome,
    message: Cow<'static, str>,
    place: Option<(&'static str, Arc<str>)>,
    source: Option<Cause>,
}

/// The driver's own error, shared; transparent, so that it can be downcast.
#[derive(Clone, Debug)]
struct Cause(Arc<dyn StdError + Send + Sync>);

impl Deref for Cause {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// What the caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The handle was shut down: make a new one.
    Closed,
    /// Another process took over, or the cache server is not the one it was: open the shard again. Strategies deal with it;
    /// applications do not meet it.
    Fenced,
    /// The call, the options or the set-up are wrong: change them, a retry fails again.
    Invalid,
    /// A bound was reached: slow down, then try again.
    Overloaded,
    /// SQL or the cache refused this very change or key: change it, a retry fails again.
    Rejected,
    /// A server did not do its part in time: try again later.
    Unavailable,
}

/// What the failed call did to the system of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The change is committed.
    Applied,
    /// The change is not committed and will not be.
    NotApplied,
    /// The change may or may not be committed; the cache stays right in both cases.
    Unknown,
}

impl Error {
    fn new(kind: Kind, outcome: Outcome, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Error(Arc::new(Inner { kind, outcome, message, place: None, source: None }))
    }

    /// The handle was shut down.
    #[must_use]
    pub fn closed() -> Self {
        Error::new(Kind::Closed, Outcome::NotApplied, "this handle was shut down")
    }

    /// The call, the options or the set-up are wrong; nothing was changed.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Invalid, Outcome::NotApplied, message)
    }

    /// Another process took over, or the cache server is not the one it was; nothing was changed.
    #[must_use]
    pub fn fenced() -> Self {
        Error::new(Kind::Fenced, Outcome::NotApplied, "the shard was opened anew, or must be")
    }

    /// A bound was reached; nothing was changed.
    pub fn overloaded(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Overloaded, Outcome::NotApplied, message)
    }

    /// This change or key was refused; nothing was changed.
    pub fn rejected(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Rejected, Outcome::NotApplied, message)
    }

    /// A server did not do its part; nothing was changed.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Unavailable, Outcome::NotApplied, message)
    }

    /// A server did not say what became of the change.
    pub fn unknown(message: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Unavailable, Outcome::Unknown, message)
    }

    /// Keeps the cause for downcasting; it is in no message of ours.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Cause(Arc::new(source)));
        self
    }

    /// The same error where more is known about what became of the change.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        Arc::make_mut(&mut self.0).outcome = outcome;
        self
    }

    /// Says what was attempted, and on which namespace; the first word stays.
    #[must_use]
    pub fn during(mut self, attempt: &'static str, namespace: &Arc<str>) -> Self {
        if self.0.place.is_none() {
            Arc::make_mut(&mut self.0).place = Some((attempt, namespace.clone()));
        }
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened to SQL.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// True if the same call may succeed later and repeating it cannot do harm: a bound or a server was in the way, and nothing
    /// was changed. After [`Outcome::Unknown`] only the caller knows whether repeating is harmless.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, Kind::Fenced | Kind::Overloaded | Kind::Unavailable) && self.0.outcome == Outcome::NotApplied
    }
}

impl Kind {
    /// As a metric's label says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Closed => "closed",
            Kind::Fenced => "fenced",
            Kind::Invalid => "invalid",
            Kind::Overloaded => "overloaded",
            Kind::Rejected => "rejected",
            Kind::Unavailable => "unavailable",
        }
    }
}

impl Outcome {
    /// What a message says of it; that nothing was changed is what an error is taken for.
    fn remark(self) -> &'static str {
        match self {
            Outcome::NotApplied => "",
            Outcome::Applied => " (the change is committed)",
            Outcome::Unknown => " (the change may or may not be committed)",
        }
    }
}

/// Without the cause, which may quote data.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, {:?}, \"{self}\")", self.0.kind, self.0.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_the_attempt_and_hides_the_cause() {
        let cause = std::io::Error::other("secret value");
        let e = Error::unknown("no answer to COMMIT").with_source(cause).during("put", &"users".into());
        assert_eq!(e.to_string(), "put on users: no answer to COMMIT (the change may or may not be committed)");
        assert!(!format!("{e:?} {e:#?} {e}").contains("secret"));
        assert!(e.source().is_some_and(|s| s.downcast_ref::<std::io::Error>().is_some()));
        assert!(!e.is_retryable());
        assert!(Error::overloaded("full").is_retryable());
        assert!(!Error::rejected("no").is_retryable());
    }
}
