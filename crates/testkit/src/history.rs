//! Which reads of a recorded history were stale? Pure functions, for harnesses over real servers, one history per key.
//!
//! A commit takes effect at one instant that nobody sees, somewhere between the moment its COMMIT was sent and the moment it was
//! acknowledged. One that was never acknowledged may take effect at any later instant up to the server's time-outs, or never. A
//! read is stale if **no** choice of these instants makes its value current at some instant between the read's start and its
//! end. Where the instants leave a doubt, the read is not accused: what is reported is a violation without doubt.
//!
//! * A value is overwritten for certain once a later commit is there for certain: acknowledged, or seen by a read that was
//!   answered.
//! * One commit is later than another for certain if it was sent after the other was acknowledged, or if SQL itself numbered
//!   them (a counter in the row, a ledger written by a trigger).
//!
//! Moments are of one monotonic clock, in whatever unit.

use std::collections::HashMap;
use std::hash::Hash;

/// A value that was written, or may have been. A delete is a value of its own: take `Option<_>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<V> {
    value: V,
    sent: u64,
    /// In effect by then, or never.
    by: u64,
    certain: bool,
    number: Option<u64>,
}

impl<V> Write<V> {
    /// Committed between `sent` and `acknowledged`. What was there at the beginning is `committed(value, 0, 0)`.
    pub fn committed(value: V, sent: u64, acknowledged: u64) -> Self {
        Write { value, sent, by: acknowledged, certain: true, number: None }
    }

    /// Its outcome is unknown: it may be committed at any moment from `sent` on, or never.
    pub fn in_doubt(value: V, sent: u64) -> Self {
        Write { value, sent, by: u64::MAX, certain: false, number: None }
    }

    /// After that moment the server does not let it land.
    #[must_use]
    pub fn lands_by(mut self, moment: u64) -> Self {
        self.by = self.by.min(moment);
        self
    }

    /// Its place in the order that SQL gave the writes of this key.
    #[must_use]
    pub fn numbered(mut self, number: u64) -> Self {
        self.number = Some(number);
        self
    }
}

/// A read that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<V> {
    /// With what.
    pub value: V,
    /// When it was asked.
    pub start: u64,
    /// When it was answered.
    pub end: u64,
    /// By the cache.
    pub hit: bool,
}

/// What is wrong with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nobody ever wrote that.
    NeverWritten,
    /// It was answered before its value was sent.
    BeforeItsWrite,
    /// Its value was overwritten for certain at this moment, before the read was asked.
    Stale {
        /// By then.
        overwritten_by: u64,
    },
}

/// What a history shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// How many reads were judged.
    pub reads: usize,
    /// How many of them the cache answered.
    pub hits: usize,
    /// Those that were wrong: their places in the list, and why.
    pub faults: Vec<(usize, Fault)>,
}

/// Judges the reads of one key.
pub fn judge<V: Eq + Hash>(writes: &[Write<V>], reads: &[Read<V>]) -> Judgement {
    let mut by_value: HashMap<&V, Vec<usize>> = HashMap::new();
    for (n, write) in writes.iter().enumerate() {
        by_value.entry(&write.value).or_default().push(n);
    }
    let known = known_since(writes, reads, &by_value);
    let overwritten = overwritten(writes, &known);
    let fault_of = |read: &Read<V>| {
        let sources = by_value.get(&read.value).map_or(&[][..], Vec::as_slice);
        let faults = sources.iter().map(|&n| {
            if writes[n].sent > read.end {
                Some(Fault::BeforeItsWrite)
            } else if overwritten[n] < read.start {
                Some(Fault::Stale { overwritten_by: overwritten[n] })
            } else {
                None
            }
        });
        // One source that explains the read is enough; else the worst is named.
        faults.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other))).unwrap_or(Some(Fault::NeverWritten))
    };
    Judgement {
        reads: reads.len(),
        hits: reads.iter().filter(|read| read.hit).count(),
        faults: reads.iter().enumerate().filter_map(|(n, read)| Some((n, fault_of(read)?))).collect(),
    }
}

/// Since when each write is in effect for certain; never, if that is not certain. A read that was answered with its value
/// proves it, if no other write has the same value.
fn known_since<V: Eq + Hash>(writes: &[Write<V>], reads: &[Read<V>], by_value: &HashMap<&V, Vec<usize>>) -> Vec<u64> {
    let mut known = writes.iter().map(|write| if write.certain { write.by } else { u64::MAX }).collect::<Vec<_>>();
    for read in reads {
        if let Some(&[n]) = by_value.get(&read.value).map(Vec::as_slice)
            && writes[n].sent <= read.end
        {
            known[n] = known[n].min(read.end);
        }
    }
    known
}

/// By when each write is overwritten for certain.
fn overwritten<V>(writes: &[Write<V>], known: &[u64]) -> Vec<u64> {
    let by_sent = Later::new(writes.iter().map(|write| write.sent).zip(known.iter().copied()));
    let numbers = writes.iter().zip(known).filter_map(|(write, &known)| Some((write.number?, known)));
    let by_number = Later::new(numbers);
    let of = |(write, &known): (&Write<V>, &u64)| {
        let settled = write.by.min(known);
        by_sent.after(settled).min(write.number.map_or(u64::MAX, |number| by_number.after(number)))
    };
    writes.iter().zip(known).map(of).collect()
}

/// The earliest moment among all whose place is beyond a given one.
struct Later {
    places: Vec<u64>,
    earliest: Vec<u64>,
}

impl Later {
    fn new(moments: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut sorted = moments.collect::<Vec<_>>();
        sorted.sort_unstable();
        let (places, mut earliest): (Vec<_>, Vec<_>) = sorted.into_iter().unzip();
        for n in (1..earliest.len()).rev() {
            earliest[n - 1] = earliest[n - 1].min(earliest[n]);
        }
        Later { places, earliest }
    }

    fn after(&self, place: u64) -> u64 {
        let first = self.places.partition_point(|&other| other <= place);
        self.earliest.get(first).copied().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: i32, start: u64, end: u64) -> Read<i32> {
        Read { value, start, end, hit: true }
    }

    fn faults(writes: &[Write<i32>], reads: &[Read<i32>]) -> Vec<(usize, Fault)> {
        judge(writes, reads).faults
    }

    fn zero() -> Write<i32> {
        Write::committed(0, 0, 0)
    }

    #[test]
    fn a_read_of_an_overwritten_value_is_stale() {
        let writes = [zero(), Write::committed(1, 10, 20)];
        let stale = Fault::Stale { overwritten_by: 20 };
        let reads = [read(0, 5, 6), read(0, 15, 30), read(0, 20, 30), read(0, 21, 30), read(1, 21, 30)];
        assert_eq!(faults(&writes, &reads), [(3, stale)]);
    }

    #[test]
    fn impossible_values_are_faults() {
        let writes = [zero(), Write::committed(1, 10, 20)];
        let reads = [read(7, 0, 100), read(1, 5, 9), read(1, 5, 10)];
        assert_eq!(faults(&writes, &reads), [(0, Fault::NeverWritten), (1, Fault::BeforeItsWrite)]);
    }

    #[test]
    fn concurrent_commits_leave_a_doubt_unless_sql_numbered_them() {
        let plain = [zero(), Write::committed(1, 10, 30), Write::committed(2, 20, 40)];
        assert_eq!(faults(&plain, &[read(1, 50, 60)]), []);
        assert_eq!(faults(&plain, &[read(2, 50, 60)]), []);
        let [zero, one, two] = plain;
        let numbered = [zero.numbered(0), one.numbered(1), two.numbered(2)];
        assert_eq!(faults(&numbered, &[read(1, 50, 60)]), [(0, Fault::Stale { overwritten_by: 40 })]);
        assert_eq!(faults(&numbered, &[read(2, 50, 60)]), []);
        assert_eq!(faults(&numbered, &[read(1, 39, 60)]), [], "the second one may land at 40");
    }

    #[test]
    fn a_commit_in_doubt_may_be_seen_and_may_not_be() {
        let writes = [zero(), Write::in_doubt(1, 10)];
        assert_eq!(faults(&writes, &[read(0, 500, 501), read(1, 600, 601)]), []);
        assert_eq!(faults(&writes, &[read(1, 500, 501), read(0, 600, 601)]), [(1, Fault::Stale { overwritten_by: 501 })]);
    }

    #[test]
    fn a_commit_in_doubt_is_not_overwritten_by_one_that_it_may_follow() {
        let second = || Write::committed(2, 20, 30);
        assert_eq!(faults(&[zero(), Write::in_doubt(1, 10), second()], &[read(1, 100, 101)]), [], "it may have landed at 99");
        let bounded = [zero(), Write::in_doubt(1, 10).lands_by(15), second()];
        assert_eq!(faults(&bounded, &[read(1, 100, 101)]), [(0, Fault::Stale { overwritten_by: 30 })]);
        let seen_early = [read(1, 11, 12), read(1, 100, 101)];
        let writes = [zero(), Write::in_doubt(1, 10), second()];
        assert_eq!(faults(&writes, &seen_early), [(1, Fault::Stale { overwritten_by: 30 })], "it had landed by 12");
    }

    #[test]
    fn reads_must_not_go_backwards() {
        // The second write is acknowledged late, but a read has seen it already.
        let writes = [zero(), Write::committed(1, 10, 1_000)];
        assert_eq!(faults(&writes, &[read(1, 20, 30), read(0, 31, 40)]), [(1, Fault::Stale { overwritten_by: 30 })]);
        assert_eq!(faults(&writes, &[read(1, 20, 30), read(0, 30, 40)]), [], "at the same moment");
    }

    #[test]
    fn a_value_written_twice_is_explained_by_either() {
        let writes = [zero(), Write::committed(1, 10, 20), Write::committed(0, 30, 40)];
        assert_eq!(faults(&writes, &[read(0, 25, 26)]), [(0, Fault::Stale { overwritten_by: 20 })]);
        assert_eq!(faults(&writes, &[read(0, 25, 30), read(0, 50, 60)]), []);
        assert_eq!(faults(&writes, &[read(1, 50, 60)]), [(0, Fault::Stale { overwritten_by: 40 })]);
    }

    #[test]
    fn the_judgement_counts() {
        let judgement = judge(&[zero()], &[read(0, 1, 2), Read { hit: false, ..read(0, 1, 2) }]);
        assert_eq!(judgement, Judgement { reads: 2, hits: 1, faults: vec![] });
        assert_eq!(judge::<i32>(&[], &[]), Judgement::default());
    }
}
