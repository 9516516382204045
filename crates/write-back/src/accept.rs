//! Accepting changes: into the journal, or not at all.
//!
//! **Invariant.** After its caller was answered, nothing of a write lands: the journal refuses it past the call's deadline, and
//! it is sent once. An accept of which nothing was heard is `Unknown`, and never repeated behind the caller's back.

use std::time::Duration;

use writeway_core::error::{Error, Kind, Outcome, Result};
use writeway_core::journal::{Accept, Accepted, Bound, PAGE, Version};
use writeway_core::retry::backoff;
use writeway_core::store::FencedStore;
use writeway_core::tasks::until;

use crate::engine::Engine;
use crate::pages::pages;
use crate::settings::Overflow;
use crate::stats::Counters;
use crate::ticket::Part;

/// The first pause before a full or fenced shard is tried again.
const PAUSE: Duration = Duration::from_millis(2);
/// What an answer may take, but no more than an eighth of the `call_timeout`. A last try that could not be answered any more would
/// leave unknown what was only refused.
const ANSWER: Duration = Duration::from_millis(50);

impl<S: FencedStore> Engine<S> {
    /// Accepts the changes of one shard, page by page.
    ///
    /// # Errors
    /// With [`Outcome::Unknown`] if a page before had been accepted.
    pub(crate) async fn accept(&self, shard: usize, changes: &[Accept], deadline: Duration) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        // Some of a write must fit where all of it would never.
        let most = usize::try_from(self.bounds.keys).unwrap_or(PAGE);
        for page in pages(changes, most, self.bounds.bytes, |change| change.value.len()) {
            match self.accept_page(shard, page, deadline).await {
                Ok((inc, versions)) => {
                    let keys = page.iter().map(|change| change.key.clone());
                    let shard = self.shards[shard].number;
                    parts.push(Part { shard, inc, changes: keys.zip(versions).collect() });
                }
                Err(e) if parts.is_empty() => return Err(e),
                Err(e) => return Err(e.with_outcome(Outcome::Unknown)),
            }
        }
        Ok(parts)
    }

    async fn accept_page(&self, shard: usize, page: &[Accept], deadline: Duration) -> Result<(u64, Vec<Version>)> {
        let last_try = deadline.saturating_sub(ANSWER.min(self.reads.call_timeout / 8));
        let mut before = None;
        for attempt in 0.. {
            let refused = match until(
                self.runtime(),
                deadline,
                self.journal.accept(&self.shards[shard], page, self.bounds, deadline),
            )
            .await
            {
                None => return Err(Error::unknown("no answer to the accept by the call's deadline")),
                Some(Ok(Accepted::As { versions, inc, dirty, dirty_bytes })) => {
                    Counters::add(&self.counters.accepted, page.len());
                    self.wake_under_pressure(dirty, dirty_bytes);
                    return Ok((inc, versions));
                }
                Some(Ok(Accepted::Late)) => {
                    return Err(before.unwrap_or_else(|| Error::unavailable("the accept would have come too late")));
                }
                Some(Ok(Accepted::Foreign)) => {
                    return Err(Error::rejected("a key belongs to another strategy or a newer release"));
                }
                Some(Ok(Accepted::Unfit)) => {
                    return Err(Error::rejected(
                        "what was added before and is on its way cannot be added to: the sum does not fit 64 bits, or it is damaged",
                    ));
                }
                Some(Ok(Accepted::Full(bound))) => {
                    self.wake();
                    let full = full(bound);
                    if self.settings.overflow == Overflow::Reject {
                        return Err(full);
                    }
                    full
                }
                Some(Err(e)) if e.kind() == Kind::Fenced => {
                    self.wake();
                    e
                }
                Some(Err(e)) => return Err(e),
            };
            let pause = backoff(attempt, PAUSE, self.runtime().random());
            if self.runtime().now() + pause >= last_try {
                return Err(refused);
            }
            before = Some(refused);
            self.runtime().sleep(pause).await;
        }
        unreachable!("the deadline comes")
    }
}

fn full(bound: Bound) -> Error {
    Error::overloaded(match bound {
        Bound::Keys => "too many rows are on their way to sql: max_dirty",
        Bound::Bytes => "too many bytes are on their way to sql: max_dirty_bytes",
        Bound::Age => "a change has waited too long for sql: max_age",
    })
}
