//! What the tasks ask for.

use std::sync::atomic::{AtomicI64, Ordering};

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;
use crate::subject::Commit;
use crate::table::Row;

/// The note's use cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// 50 % reads, 50 % transactional upserts of existing rows; popular rows are both read and written most.
    Ledger,
    /// 95 % inserts of new rows; 5 % reads, nine in ten of them of recent rows, the more recent the likelier.
    EventLog,
    /// 90 % increments of existing rows, the popular ones most; 10 % reads of the same.
    Likes,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read(i64),
    Write(Row),
}

/// One workload on one freshly loaded table.
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) keys: Keys,
    pub(crate) value_bytes: usize,
    next: AtomicI64,
    /// The last row whose insert was answered.
    latest: AtomicI64,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Ledger, Kind::Likes, Kind::EventLog];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Ledger => "ledger (50 % reads, transactional upserts)",
            Kind::Likes => "likes (90 % increments of hot rows, 10 % reads; write-back: counters)",
            Kind::EventLog => "event log (95 % inserts, 5 % reads, mostly of recent rows)",
        }
    }

    pub(crate) fn commit(self) -> Commit {
        match self {
            Kind::Ledger => Commit::Transaction,
            Kind::EventLog => Commit::Statement,
            Kind::Likes => Commit::Increment,
        }
    }
}

impl Workload {
    pub(crate) fn new(kind: Kind, keys: Keys, value_bytes: usize) -> Self {
        let loaded = keys.count();
        Workload { kind, keys, value_bytes, next: AtomicI64::new(loaded + 1), latest: AtomicI64::new(loaded) }
    }

    /// The next call of the mix.
    pub(crate) fn call(&self, random: &mut impl Rng) -> Call {
        let reads = match self.kind {
            Kind::Ledger => 0.5,
            Kind::EventLog => 0.05,
            Kind::Likes => 0.1,
        };
        if random.random_bool(reads) { Call::Read(self.read(random)) } else { Call::Write(self.write(random)) }
    }

    /// The row of the next write.
    pub(crate) fn write(&self, random: &mut impl Rng) -> Row {
        let id = match self.kind {
            Kind::Ledger | Kind::Likes => self.keys.pick(random),
            Kind::EventLog => self.next.fetch_add(1, Ordering::Relaxed),
        };
        Row::new(id, random.random_range(10_000..1_000_000), self.value_bytes)
    }

    fn read(&self, random: &mut impl Rng) -> i64 {
        match self.kind {
            Kind::Ledger | Kind::Likes => self.keys.pick(random),
            Kind::EventLog if random.random_bool(0.9) => self.recent(self.keys.rank(random)),
            Kind::EventLog => random.random_range(1..=self.keys.count()),
        }
    }

    /// The n-th most recent row, from 1.
    fn recent(&self, n: i64) -> i64 {
        (self.latest.load(Ordering::Relaxed) + 1 - n).max(1)
    }

    /// A write was answered.
    pub(crate) fn written(&self, id: i64) {
        self.latest.fetch_max(id, Ordering::Relaxed);
    }

    /// The rows that are read most, the first of them first.
    pub(crate) fn hottest(&self, count: i64) -> Vec<i64> {
        let of = |n| match self.kind {
            Kind::Ledger | Kind::Likes => self.keys.of_rank(n),
            Kind::EventLog => self.recent(n),
        };
        (1..=count.min(self.keys.count())).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn calls(workload: &Workload) -> Vec<Call> {
        let mut random = SmallRng::seed_from_u64(1);
        (0..10_000).map(|_| workload.call(&mut random)).collect()
    }

    #[test]
    fn a_ledger_reads_and_writes_what_is_there_half_and_half() {
        let workload = Workload::new(Kind::Ledger, Keys::new(100).expect("some"), 100);
        let calls = calls(&workload);
        let reads = calls.iter().filter(|call| matches!(call, Call::Read(_))).count();
        assert!((4_800..5_200).contains(&reads), "{reads}");
        assert!(calls.iter().all(|call| (1..=100).contains(match call {
            Call::Read(id) | Call::Write(Row { id, .. }) => id,
        })));
    }

    #[test]
    fn an_event_log_inserts_new_rows_and_reads_only_answered_ones() {
        let workload = Workload::new(Kind::EventLog, Keys::new(100).expect("some"), 100);
        workload.written(120);
        workload.written(110);
        let mut next = 101;
        for call in calls(&workload) {
            match call {
                Call::Read(id) => assert!((1..=120).contains(&id), "{id}"),
                Call::Write(row) => {
                    assert_eq!(row.id, next);
                    next += 1;
                }
            }
        }
        assert!((9_400..9_600).contains(&(next - 101)), "{next}");
        assert_eq!(workload.hottest(3), [120, 119, 118]);
    }
}
