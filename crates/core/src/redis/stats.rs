//! What a handle of a Redis server counts. Its label is the prefix: namespaces share the handle.

use crate::metrics;
use crate::stats::{Count, Gauge, Of};

/// Calls to one Redis server, of all namespaces over it. Counted from when it was connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// The breaker is open: calls are held back because the server does not answer.
    pub open: bool,
    /// How often it opened.
    pub opened: u64,
    /// Calls that were held back.
    pub refused: u64,
    /// Calls that were not answered in time.
    pub unanswered: u64,
}

pub(super) struct Counts {
    open: Gauge,
    opened: Count,
    pub(super) refused: Count,
    pub(super) unanswered: Count,
}

impl Counts {
    pub(super) fn new(prefix: &str) -> Self {
        let of: Of<'_> = ("prefix", prefix);
        let open = Gauge::new(&metrics::REDIS_BREAKER_OPEN, of);
        open.set(0.0);
        Counts {
            open,
            opened: Count::new(&metrics::REDIS_BREAKER_OPENED, of),
            refused: Count::new(&metrics::REDIS_CALL_REFUSED, of),
            unanswered: Count::new(&metrics::REDIS_CALL_UNANSWERED, of),
        }
    }

    pub(super) fn opened(&self) {
        self.opened.add(1);
        self.open.set(1.0);
    }

    pub(super) fn closed(&self) {
        self.open.set(0.0);
    }

    pub(super) fn read(&self, open: bool) -> RedisStats {
        RedisStats { open, opened: self.opened.get(), refused: self.refused.get(), unanswered: self.unanswered.get() }
    }
}
