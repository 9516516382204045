//! A write of a look-aside namespace, from the changes to the answer. What differs between the strategies is the [`Policy`].
//!
//! Strict: `BEGIN`, the statements (returning the rows as they now stand, holding their locks), then [`commit`]. The keys
//! of all rows touched take part: the one that was asked for and the one that SQL returned.
//!
//! Eventual: the statements committed at once, then one invalidation. It is done also when the outcome is unknown.

use std::time::Duration;

use crate::cache::Bytes;
use crate::change::{CacheEffect, Change, Stored, Written};
use crate::commit::{Effects, Touched, commit};
use crate::error::{Error, Outcome, Result};
use crate::namespace::{Namespace, Policy};
use crate::options::Mode;
use crate::read::late;
use crate::store::{Store, Transaction};
use crate::tasks::until;

/// A change and the cache key it names.
pub(crate) type At<S> = (Bytes, Change<<S as Store>::Key, <S as Store>::Row>);

impl<S: Store> Namespace<S> {
    /// Ends by `deadline`.
    pub(crate) async fn run(&self, writes: Vec<At<S>>, deadline: Duration) -> Result<Vec<Written<S::Row>>> {
        let (keys, changes): (Vec<Bytes>, Vec<_>) = writes.into_iter().unzip();
        if self.options.mode == Mode::Strict {
            return self.strict(keys, &changes, deadline).await;
        }
        self.eventual(keys, &changes, deadline).await
    }

    async fn strict(
        &self,
        keys: Vec<Bytes>,
        changes: &[Change<S::Key, S::Row>],
        deadline: Duration,
    ) -> Result<Vec<Written<S::Row>>> {
        let (runtime, store) = (&self.reads.runtime, &self.reads.store);
        let begun = until(&**runtime, deadline, store.begin(self.options.server_timeouts_below())).await;
        let mut tx = begun.unwrap_or_else(|| Err(late()))?;
        let applied = until(&**runtime, deadline, store.apply_in(&mut tx, changes)).await;
        let stored = match applied.unwrap_or_else(|| Err(late())).and_then(|stored| complete(stored, changes.len())) {
            Ok(stored) => stored,
            Err(e) => {
                until(&**runtime, deadline, tx.rollback()).await;
                return Err(e.with_outcome(Outcome::NotApplied));
            }
        };
        let mut touched = [self.touched()];
        for (at, stored) in keys.iter().zip(&stored) {
            if let Err(e) = self.settle(&mut touched[0], at, stored) {
                until(&**runtime, deadline, tx.rollback()).await;
                return Err(e);
            }
        }
        let effects = commit(tx, &touched, runtime, deadline).await?;
        Ok(self.answers(keys, stored, &effects.into_iter().next().unwrap_or_default()))
    }

    async fn eventual(
        &self,
        keys: Vec<Bytes>,
        changes: &[Change<S::Key, S::Row>],
        deadline: Duration,
    ) -> Result<Vec<Written<S::Row>>> {
        let runtime = &self.reads.runtime;
        let applied = until(&**runtime, deadline, self.reads.store.apply(changes)).await;
        let applied = applied.unwrap_or_else(|| Err(Error::unknown("no answer from sql by the call's deadline")));
        let mut touched = self.touched();
        touched.keys.extend(keys.iter().map(|at| (at.clone(), None)));
        let stored =
            match applied.and_then(|stored| complete(stored, changes.len()).map_err(|e| e.with_outcome(Outcome::Applied))) {
                Ok(stored) => stored,
                Err(e) => {
                    if e.outcome() != Outcome::NotApplied {
                        touched.invalidate_behind(runtime);
                    }
                    return Err(e);
                }
            };
        for (at, stored) in keys.iter().zip(&stored) {
            // The change is committed: a returned key that cannot be encoded is in no cache either.
            let _ = self.settle(&mut touched, at, stored);
        }
        let effects = touched.invalidate(runtime, deadline).await;
        Ok(self.answers(keys, stored, &effects))
    }

    /// Notes the keys of one change, and what may be published under them.
    fn settle(&self, touched: &mut Touched, at: &Bytes, stored: &Stored<S::Row>) -> Result<()> {
        let publish = self.policy == Policy::Publish && self.options.mode == Mode::Strict;
        let random = self.reads.runtime.random();
        let (at, row) = match stored {
            Stored::As(row) => {
                let now_at = self.reads.keys.encode(&self.reads.store.key(row))?;
                if now_at != *at {
                    touched.keys.entry(at.clone()).or_insert(None);
                }
                (now_at, Some(row))
            }
            Stored::Gone => (at.clone(), None),
            Stored::Unread => {
                touched.keys.insert(at.clone(), None);
                return Ok(());
            }
        };
        // A row that SQL made too long to cache is committed all the same, and invalidated.
        let entry = publish.then(|| self.reads.values.entry(&at, row, random).ok()).flatten();
        touched.keys.insert(at, entry);
        Ok(())
    }

    fn answers(&self, keys: Vec<Bytes>, stored: Vec<Stored<S::Row>>, effects: &Effects) -> Vec<Written<S::Row>> {
        let lapses = CacheEffect::Lapses { within: self.options.commit_within };
        let effect = |at: &Bytes| effects.get(at).copied().unwrap_or(lapses);
        let answer = |(at, stored): (Bytes, Stored<S::Row>)| match stored {
            Stored::As(row) => {
                let now_at = self.reads.keys.encode(&self.reads.store.key(&row)).unwrap_or_else(|_| at.clone());
                Written {
                    cache: effect(&now_at).max(if now_at == at { CacheEffect::Published } else { effect(&at) }),
                    row: Some(row),
                }
            }
            Stored::Gone | Stored::Unread => Written { cache: effect(&at), row: None },
        };
        keys.into_iter().zip(stored).map(answer).collect()
    }
}

/// A store that answers fewer or more changes than it was given would have the wrong rows published.
fn complete<R>(stored: Vec<Stored<R>>, asked: usize) -> Result<Vec<Stored<R>>> {
    if stored.len() == asked {
        return Ok(stored);
    }
    Err(Error::invalid("the store did not answer every change"))
}
