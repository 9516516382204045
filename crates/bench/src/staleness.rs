//! The checker of reads. It knows every acknowledged write and every version that any read has shown.
//!
//! - A trigger numbers the versions of a row: 1, 2, 3 …; no row is 0.
//! - What an acknowledged write or a completed read returned is *known* from the moment of its completion.
//! - A read is stale if it returns an older version than one that was known before it started. Its age is how long any newer
//!   version had been known by then.
//!
//! This finds every read that breaks linearizability per key, as far as one process can see, and flags no other: what was known
//! at a moment was committed before it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Enough that 64 tasks seldom meet in one.
const SHARDS: u16 = 256;

/// Per key, which version was known from when on. Both grow from step to step.
type Steps = Vec<(i64, Duration)>;

/// What is known of every key.
pub(crate) struct Known {
    shards: Vec<Mutex<HashMap<i64, Steps>>>,
}

impl Known {
    /// Keys `1..=loaded` are known in version 1 from `at` on, all others not.
    pub(crate) fn new(loaded: i64, at: Duration) -> Self {
        let known = Known { shards: (0..SHARDS).map(|_| Mutex::default()).collect() };
        (1..=loaded).for_each(|key| known.learn(key, 1, at));
        known
    }

    /// A write or a read of `key`, completed `at`, returned `version`.
    pub(crate) fn learn(&self, key: i64, version: i64, at: Duration) {
        if version < 1 {
            return;
        }
        let mut shard = self.shard(key);
        let steps = shard.entry(key).or_default();
        let from = steps.partition_point(|&(earlier, _)| earlier < version);
        if steps.get(from).is_some_and(|&(_, since)| since <= at) {
            return;
        }
        // Older versions that became known later say nothing any more, nor does this version's own later moment.
        let until = from + usize::from(steps.get(from).is_some_and(|&(same, _)| same == version));
        let from = steps[..from].partition_point(|&(_, since)| since < at);
        steps.splice(from..until, [(version, at)]);
    }

    /// How long a newer version had been known when a read that returned `version` started, if one had been.
    pub(crate) fn age(&self, key: i64, version: i64, started: Duration) -> Option<Duration> {
        let shard = self.shard(key);
        let steps = shard.get(&key)?;
        let newer = steps.partition_point(|&(known, _)| known <= version);
        let &(_, since) = steps.get(newer)?;
        (since < started).then(|| started - since)
    }

    /// How many keys are known in a newer version than the table, given as (key, version), holds: acknowledged and lost.
    pub(crate) fn lost(&self, table: impl IntoIterator<Item = (i64, i64)>) -> u64 {
        let held: HashMap<i64, i64> = table.into_iter().collect();
        let lost_of = |shard: &Mutex<HashMap<i64, Steps>>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = |steps: &Steps| steps.last().map_or(0, |&(version, _)| version);
            shard.iter().filter(|(key, steps)| held.get(key).copied().unwrap_or(0) < newest(steps)).count() as u64
        };
        self.shards.iter().map(lost_of).sum()
    }

    fn shard(&self, key: i64) -> MutexGuard<'_, HashMap<i64, Steps>> {
        let at = usize::try_from(key.rem_euclid(i64::from(SHARDS))).unwrap_or_default();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_read_older_than_an_acknowledged_write_is_stale() {
        let known = Known::new(1, ms(0));
        known.learn(1, 2, ms(10));
        assert_eq!(known.age(1, 1, ms(15)), Some(ms(5)));
        assert_eq!(known.age(1, 2, ms(15)), None);
        assert_eq!(known.age(1, 3, ms(15)), None, "newer than known: its write is not answered yet");
    }

    #[test]
    fn a_read_that_overlaps_the_write_may_return_either() {
        let known = Known::new(1, ms(0));
        known.learn(1, 2, ms(10));
        assert_eq!(known.age(1, 1, ms(10)), None);
        assert_eq!(known.age(1, 1, ms(9)), None);
    }

    #[test]
    fn what_one_read_has_shown_no_later_read_may_take_back() {
        // The write of version 2 is never acknowledged, but somebody has read it.
        let known = Known::new(1, ms(0));
        known.learn(1, 2, ms(20));
        assert_eq!(known.age(1, 1, ms(21)), Some(ms(1)));
    }

    #[test]
    fn the_age_counts_from_the_first_newer_version() {
        let known = Known::new(1, ms(0));
        for (version, at) in [(2, 10), (3, 20), (4, 30)] {
            known.learn(1, version, ms(at));
        }
        assert_eq!(known.age(1, 1, ms(100)), Some(ms(90)));
        assert_eq!(known.age(1, 2, ms(100)), Some(ms(80)));
        assert_eq!(known.age(1, 3, ms(25)), None, "4 was not known yet");
    }

    #[test]
    fn completions_may_be_reported_out_of_order() {
        let known = Known::new(0, ms(0));
        known.learn(1, 4, ms(30));
        known.learn(1, 2, ms(10));
        known.learn(1, 3, ms(40));
        assert_eq!(known.age(1, 1, ms(20)), Some(ms(10)), "2 was known before 4");
        assert_eq!(known.age(1, 2, ms(50)), Some(ms(20)), "3 was overtaken by 4");
        known.learn(1, 4, ms(5));
        assert_eq!(known.age(1, 1, ms(20)), Some(ms(15)), "4 was known even before 2");
        assert_eq!(known.age(1, 4, ms(99)), None, "it is the newest");
    }

    #[test]
    fn no_row_is_older_than_any_row() {
        let known = Known::new(1, ms(0));
        assert_eq!(known.age(1, 0, ms(5)), Some(ms(5)), "it was loaded");
        assert_eq!(known.age(2, 0, ms(5)), None, "nobody has inserted it");
        known.learn(2, 1, ms(6));
        assert_eq!(known.age(2, 0, ms(8)), Some(ms(2)), "a negative entry outlived the insert");
    }

    #[test]
    fn lost_writes_are_counted() {
        let known = Known::new(3, ms(0));
        known.learn(2, 5, ms(1));
        known.learn(9, 1, ms(1));
        assert_eq!(known.lost([(1, 1), (2, 5), (3, 2), (9, 1)]), 0);
        assert_eq!(known.lost([(1, 1), (2, 4), (3, 1)]), 2);
    }
}
