//! The settings of the journal's server, looked at again and again: somebody may change them while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use writeway_core::cache::Declaration;
use writeway_core::error::{Error, Result};
use writeway_core::store::FencedStore;

use crate::engine::Engine;
use crate::settings::Drift;
use crate::stats::Counters;

/// What was declared, and what of it the server did not do at the last look.
pub(crate) struct Watch {
    declaration: Declaration,
    unmet: Mutex<Vec<Error>>,
}

/// What a look says that the one before did not.
#[derive(Debug, PartialEq, Eq)]
enum News {
    None,
    /// Something is wrong that was not, or something else.
    Drifted,
    /// Nothing is wrong any more.
    Healed,
}

/// From one look to the next.
fn news(before: &[Error], now: &[Error]) -> News {
    let same = before.iter().map(ToString::to_string).eq(now.iter().map(ToString::to_string));
    match (same, now.is_empty()) {
        (true, _) => News::None,
        (false, true) => News::Healed,
        (false, false) => News::Drifted,
    }
}

impl Watch {
    pub(crate) fn over(declaration: Declaration) -> Watch {
        Watch { declaration, unmet: Mutex::default() }
    }

    /// # Errors
    /// `Unavailable` while the settings are wrong, if that refuses writes.
    pub(crate) fn check(&self, on_drift: Drift) -> Result<()> {
        let refuse = |unmet: &Error| Err(Error::unavailable(format!("writes wait for the settings to be right again: {unmet}")));
        match on_drift {
            Drift::Report => Ok(()),
            Drift::Refuse => self.unmet().first().map_or(Ok(()), refuse),
        }
    }

    fn unmet(&self) -> MutexGuard<'_, Vec<Error>> {
        self.unmet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FencedStore> Engine<S> {
    /// Looks, in a task of its own: nothing waits for it.
    pub(crate) fn start_recheck(self: &Arc<Self>) {
        let engine = self.clone();
        self.reads.runtime.spawn("recheck", Box::pin(async move { engine.recheck().await }));
    }

    async fn recheck(&self) {
        let looked = self.ask(self.journal.unmet(&self.watch.declaration, self.settings.level)).await;
        // Who does not answer has changed nothing that is known.
        let Ok(now) = looked else { return };
        let before = std::mem::replace(&mut *self.watch.unmet(), now.clone());
        let unmet = now.first().map(tracing::field::display);
        match news(&before, &now) {
            News::None => {}
            News::Drifted => {
                Counters::add(&self.counters.drifts, 1);
                tracing::warn!(
                    name: "settings.drifted", namespace = &*self.name, unmet, count = now.len(), writes = ?self.settings.on_drift,
                    "the journal's server is not set up any more as was declared"
                );
            }
            News::Healed => {
                tracing::info!(name: "settings.healed", namespace = &*self.name, "the journal's server is set up as declared again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use writeway_core::error::{Kind, Outcome};

    use super::*;

    fn watch(unmet: Vec<Error>) -> Watch {
        let declaration = Declaration { namespace: "x".into(), mode: "write-back", no_eviction: true, persistence: true };
        Watch { declaration, unmet: Mutex::new(unmet) }
    }

    #[test]
    fn only_a_change_is_news() {
        let [evicts, volatile] = ["it evicts", "it has no file"].map(Error::invalid);
        let (evicts, both) = ([evicts.clone()], [evicts, volatile]);
        assert_eq!(news(&[], &[]), News::None);
        assert_eq!(news(&evicts, &evicts), News::None);
        assert_eq!(news(&[], &evicts), News::Drifted);
        assert_eq!(news(&evicts, &both), News::Drifted, "more is wrong");
        assert_eq!(news(&both, &evicts), News::Drifted, "less is, but not nothing");
        assert_eq!(news(&both, &[]), News::Healed);
    }

    #[test]
    fn writes_are_refused_by_choice_and_by_name() {
        let drifted = watch(vec![Error::invalid("it evicts by allkeys-lru")]);
        assert!(drifted.check(Drift::Report).is_ok() && watch(Vec::new()).check(Drift::Refuse).is_ok());
        let refused = drifted.check(Drift::Refuse).expect_err("invariant violated: drift refuses writes where that was chosen");
        assert_eq!((refused.kind(), refused.outcome()), (Kind::Unavailable, Outcome::NotApplied));
        assert!(refused.is_retryable() && refused.to_string().contains("allkeys-lru"), "{refused}");
    }
}
