//! Which shards are this process's to flush: those of a namespace are divided among the processes that are there.
//!
//! 1. About once a second a process says that it is there, and hears who else is. Who has not been heard
//!    of for [`HOLD`] is not there.
//! 2. Each computes from the same list whose each shard is: as many for each, and few move when somebody comes or goes.
//! 3. A process leads the shards that are its own. Another's it looks at once a second, and leads it only when it is needed:
//!    somebody waits for a flush here, it must be opened, or its oldest change is overdue (its owner stands still, or does not know
//!    the change's schema). What it leads that is not its own it gives up again, so that the owner has it.
//! 4. A process whose flushes fail and fail again leaves for a while: another one's SQL may be well.
//!
//! **It saves work and gives no safety.** Lists may be old, and differ. The flush lease keeps two from doing the same work, as a rule;
//! that each batch takes effect once is the work of the fence in SQL alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use writeway_core::cache::Id;
use writeway_core::journal::Status;
use writeway_core::store::FencedStore;

use crate::engine::Engine;
use crate::settings::Settings;

/// How often a process says that it is there.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// For how long it is taken at its word: a beat may be as late as a turn.
const HOLD: Duration = Duration::from_secs(3);
/// After so many failures without a flush in between, a process leaves,
const FAILURES: u32 = 5;
/// for so long.
const LEAVE: Duration = Duration::from_secs(10);

/// What is known of the others.
pub(crate) struct Members(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// When to say so again.
    beat: Duration,
    /// By shard. Nothing before the first answer.
    mine: Vec<bool>,
    who: Vec<Id>,
    failures: u32,
    /// How many batches had been flushed at the last failure.
    batches: u64,
    away_until: Duration,
}

impl Members {
    pub(crate) fn unknown() -> Members {
        Members(Mutex::default())
    }

    /// Until it is known better, every shard is.
    pub(crate) fn is_mine(&self, shard: usize) -> bool {
        self.known().mine.get(shard).copied().unwrap_or(true)
    }

    /// A flush failed. `batches` is how many have succeeded so far.
    pub(crate) fn failed(&self, batches: u64, now: Duration) {
        let mut known = self.known();
        known.failures = if known.batches == batches { known.failures + 1 } else { 1 };
        known.batches = batches;
        if known.failures >= FAILURES {
            // At once.
            (known.failures, known.away_until, known.beat) = (0, now + LEAVE, now);
        }
    }

    /// It has left for a while.
    pub(crate) fn is_away(&self, now: Duration) -> bool {
        self.known().away_until > now
    }

    /// For how long to be there from now on, if it is time to say so.
    fn beat(&self, now: Duration) -> Option<Duration> {
        let mut known = self.known();
        if known.beat > now {
            return None;
        }
        known.beat = now + BEAT;
        Some(if known.away_until > now { Duration::ZERO } else { HOLD })
    }

    fn learn(&self, who: Vec<Id>, me: Id, shards: usize) {
        let mut known = self.known();
        if known.who != who || known.mine.len() != shards {
            known.mine = mine(&who, me, shards);
            known.who = who;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FencedStore> Engine<S> {
    /// Says that this process is there, when it is time, and learns who else is.
    pub(crate) async fn beat(&self) {
        let Some(hold) = self.members.beat(self.runtime().now()) else { return };
        // Unheard, what was known still holds.
        if let Ok(who) = self.ask(self.journal.present(&self.name, self.holder, hold)).await {
            self.members.learn(who, self.holder, self.shards.len());
        }
    }

    /// For good.
    pub(crate) async fn leave(&self) {
        // Who does not leave lapses.
        let _ = self.ask(self.journal.present(&self.name, self.holder, Duration::ZERO)).await;
    }
}

/// How often another's shard is looked at: once a second, and several times in what a takeover may take.
pub(crate) fn look(settings: &Settings) -> Duration {
    Duration::from_secs(1).min(settings.flush_timeout / 4)
}

/// A change has waited for so long that its owner seems to stand still: by two seconds, and less than a takeover may take.
pub(crate) fn is_overdue(status: &Status, settings: &Settings) -> bool {
    let grace = Duration::from_secs(2).min(settings.flush_timeout / 2);
    status.oldest.is_some_and(|oldest| oldest > settings.max_delay + grace)
}

/// Which shards are mine. Where nobody is there, all are; where others are and I am not, none.
fn mine(who: &[Id], me: Id, shards: usize) -> Vec<bool> {
    if who.is_empty() {
        return vec![true; shards];
    }
    owners(who, shards).into_iter().map(|owner| who[owner] == me).collect()
}

/// Whose each shard is, by place in the list. Each has as many as any other, or one more. Of those who may have one, it goes to the one
/// with the highest number for that shard: so most stay where they were when somebody comes or goes.
fn owners(who: &[Id], shards: usize) -> Vec<usize> {
    let (each, mut more) = (shards / who.len(), shards % who.len());
    let mut has = vec![0; who.len()];
    let owner = |shard: usize| {
        let may = (0..who.len()).filter(|&one| has[one] < each || (has[one] == each && more > 0));
        let owner = may.max_by_key(|&one| (number(who[one], shard), one)).unwrap_or_default();
        more -= usize::from(has[owner] == each);
        has[owner] += 1;
        owner
    };
    (0..shards).map(owner).collect()
}

/// The same in every process and release.
fn number(id: Id, shard: usize) -> u64 {
    let id = u128::from_be_bytes(id.0);
    let [high, low] = [id >> 64, id].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default());
    mixed(mixed(mixed(shard as u64) ^ high) ^ low)
}

/// Every bit of the answer depends on every bit of the question.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ns: impl IntoIterator<Item = u128>) -> Vec<Id> {
        ns.into_iter().map(|n| Id(n.wrapping_mul(0x1234_5678_9abc_def0_0fed_cba9_8765_4321).to_be_bytes())).collect()
    }

    fn counts(who: &[Id], shards: usize) -> Vec<usize> {
        let owners = owners(who, shards);
        (0..who.len()).map(|one| owners.iter().filter(|owner| **owner == one).count()).collect()
    }

    #[test]
    fn everybody_has_as_many_and_every_shard_has_one_owner() {
        for (members, shards) in [(1, 16), (2, 16), (3, 16), (5, 16), (16, 16), (40, 16), (7, 1_024)] {
            let who = ids(1..=members);
            let counts = counts(&who, shards);
            let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
            assert!(most <= least.map(|n| n + 1), "invariant violated: shards are divided evenly: {counts:?}");
            assert_eq!(counts.iter().sum::<usize>(), shards);
            let mine: Vec<Vec<bool>> = who.iter().map(|me| mine(&who, *me, shards)).collect();
            let once = |shard: usize| mine.iter().filter(|mine| mine[shard]).count() == 1;
            assert!((0..shards).all(once), "invariant violated: every shard is somebody's");
        }
    }

    #[test]
    fn most_stay_where_they_are_when_somebody_comes_or_goes() {
        let shards = 160;
        for members in 2..=10 {
            let who = ids(1..=members);
            let fewer: Vec<Id> = who[1..].to_vec();
            let (before, after) = (owners(&who, shards), owners(&fewer, shards));
            let moved = before.iter().zip(&after).filter(|(before, after)| who[**before] != fewer[**after]).count();
            let least = shards / who.len();
            assert!(moved <= 3 * least, "of {shards} among {members}, {moved} move when one goes; {least} must");
        }
    }

    #[test]
    fn alone_one_has_all_and_beside_others_who_is_not_listed_has_none() {
        let who = ids(1..=3);
        assert_eq!(mine(&[], who[0], 4), [true; 4]);
        assert_eq!(mine(&who[..1], who[0], 4), [true; 4]);
        assert_eq!(mine(&who[1..], who[0], 4), [false; 4]);
        assert!(Members::unknown().is_mine(9), "before the first answer");
    }

    #[test]
    fn who_fails_again_and_again_leaves_and_comes_back() {
        let members = Members::unknown();
        let second = Duration::from_secs(1);
        assert_eq!(members.beat(second), Some(HOLD));
        assert_eq!(members.beat(second), None, "once a second");
        for n in 0..3 {
            members.failed(n, second);
            members.failed(n, second);
        }
        assert_eq!(members.beat(second * 2), Some(HOLD), "a flush in between counts");
        for _ in 0..FAILURES {
            members.failed(9, second * 2);
        }
        assert_eq!(members.beat(second * 2), Some(Duration::ZERO), "at once");
        assert_eq!(members.beat(second * 2 + LEAVE), Some(HOLD));
    }

    #[test]
    fn only_what_is_late_by_far_is_overdue() {
        let settings = Settings::default();
        let after = |oldest: Duration| is_overdue(&Status { oldest: Some(oldest), ..Status::default() }, &settings);
        let grace = Duration::from_secs(2);
        assert!(!after(settings.max_delay + grace) && after(settings.max_delay + grace * 2));
        let short = Settings { flush_timeout: Duration::from_millis(100), ..settings };
        let waits = short.max_delay + short.hold();
        assert!(is_overdue(&Status { oldest: Some(waits), ..Status::default() }, &short), "before the lease lapses");
        assert!(look(&short) < short.hold());
        assert!(!is_overdue(&Status::default(), &settings));
    }
}
