//! What was acknowledged, what SQL went through, and whether the two fit.
//!
//! Each key's changes are numbered without a gap, from 1; every tenth is a delete, the others put their number. One writer at a
//! time has a key, and one change of it is under way at a time. So any state of a row says which changes it may have seen.

use std::collections::{BTreeMap, HashSet};

use super::ledger::Applied;

/// Every so-many-th change of a key is a delete.
pub const DELETES: i64 = 10;

/// Whether the change with this number is a delete.
#[must_use]
pub fn is_delete(n: i64) -> bool {
    n % DELETES == 0
}

/// There is a delete among the changes after `from`, up to `to`.
fn has_delete(from: i64, to: i64) -> bool {
    to.div_euclid(DELETES) > from.div_euclid(DELETES)
}

/// What the writers of all keys said.
#[derive(Debug, Default)]
pub struct Book {
    keys: BTreeMap<i32, Known>,
    /// How many changes were acknowledged.
    pub acknowledged: u64,
    /// How many were not.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Known {
    acknowledged: i64,
    asked: i64,
    /// Of which it was said that they are not, and will not be, accepted.
    refused: HashSet<i64>,
}

/// What became of a change, in its writer's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// `Ok`.
    Acknowledged,
    /// `NotApplied`.
    Refused,
    /// `Unknown`.
    Unknown,
}

/// What does not fit, by kind; all must be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Keys of which SQL does not hold the last acknowledged change, nor a later one.
    pub lost: u64,
    /// Steps of a row back to an earlier change.
    pub regressed: u64,
    /// Changes that were applied again.
    pub doubled: u64,
    /// Changes in SQL that nobody asked for, or that were said to be refused.
    pub invented: u64,
}

impl Book {
    /// Notes what a writer said of the `n`-th change of a key.
    pub fn note(&mut self, key: i32, n: i64, said: Said) {
        let known = self.keys.entry(key).or_default();
        known.asked = known.asked.max(n);
        match said {
            Said::Acknowledged => known.acknowledged = n,
            Said::Refused => drop(known.refused.insert(n)),
            Said::Unknown => {}
        }
        *if said == Said::Acknowledged { &mut self.acknowledged } else { &mut self.failed } += 1;
    }

    /// The key's writer died: one more change may have been under way.
    pub fn died(&mut self, key: i32) {
        self.keys.entry(key).or_default().asked += 1;
    }

    /// The number that the key's next writer begins with.
    #[must_use]
    pub fn next(&self, key: i32) -> i64 {
        self.keys.get(&key).map_or(1, |known| known.asked + 1)
    }

    /// Holds what SQL went through, in its order, and what it `holds` in the end, against what was said.
    #[must_use]
    pub fn judge(&self, ledger: &[Applied], holds: &BTreeMap<i32, i64>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut rows = BTreeMap::<i32, Row>::new();
        let nobody = Known::default();
        for step in ledger {
            let known = self.keys.get(&step.player).unwrap_or(&nobody);
            rows.entry(step.player).or_default().step(step, known, &mut verdict);
        }
        for (key, known) in &self.keys {
            let kept = match holds.get(key) {
                Some(held) => *held >= known.acknowledged,
                None => known.acknowledged == 0 || has_delete(known.acknowledged - 1, known.asked),
            };
            verdict.lost += u64::from(!kept);
            if !kept && verdict.lost <= 5 {
                println!("lost: change {} of row {key} was acknowledged, and sql holds {:?}", known.acknowledged, holds.get(key));
            }
        }
        verdict
    }
}

/// A row on its way through the ledger.
#[derive(Default)]
struct Row {
    put: i64,
    /// It was deleted after that.
    gone: bool,
    seen: HashSet<i64>,
}

impl Row {
    fn step(&mut self, step: &Applied, known: &Known, verdict: &mut Verdict) {
        if step.gone {
            // Which delete it was shows in what comes next.
            self.gone = true;
            verdict.regressed += u64::from(!has_delete(self.put, known.asked));
            return;
        }
        let n = step.points;
        verdict.invented += u64::from(n > known.asked || is_delete(n) || known.refused.contains(&n));
        if !self.seen.insert(n) {
            verdict.doubled += 1;
        } else if n < self.put || (self.gone && !has_delete(self.put, n)) {
            verdict.regressed += 1;
        }
        (self.put, self.gone) = (self.put.max(n), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes up to `last` were acknowledged, and one more was under way when the writer died.
    fn judged(last: i64, ledger: &[i64], holds: Option<i64>) -> Verdict {
        let mut book = Book::default();
        (1..=last).for_each(|n| book.note(7, n, Said::Acknowledged));
        book.died(7);
        assert_eq!(book.next(7), last + 2);
        let applied = |n: &i64| Applied { player: 7, points: n.abs(), gone: *n < 0 };
        let ledger: Vec<Applied> = ledger.iter().map(applied).collect();
        book.judge(&ledger, &holds.map(|held| (7, held)).into_iter().collect())
    }

    #[test]
    fn what_fits_is_no_complaint() {
        let fine = Verdict::default();
        assert_eq!(judged(3, &[2, 3], Some(3)), fine);
        assert_eq!(judged(3, &[1, 4], Some(4)), fine, "under way when the writer died");
        assert_eq!(judged(10, &[9, -9], None), fine, "the tenth is a delete");
        assert_eq!(judged(9, &[9, -9], None), fine, "a delete was under way");
        assert_eq!(judged(12, &[8, -8, 11, 12], Some(12)), fine);
        assert_eq!(judged(12, &[8, 12], Some(12)), fine, "the delete was coalesced");
        assert_eq!(judged(0, &[], None), fine);
    }

    #[test]
    fn what_does_not_fit_is_told_by_kind() {
        let lost = Verdict { lost: 1, ..Verdict::default() };
        assert_eq!(judged(3, &[2], Some(2)), lost);
        assert_eq!(judged(3, &[], None), lost);
        assert_eq!(judged(12, &[9], None), lost, "a put after the delete");
        let regressed = Verdict { regressed: 1, ..Verdict::default() };
        assert_eq!(judged(4, &[2, 4, 3, 4], Some(4)), Verdict { doubled: 1, ..regressed });
        assert_eq!(judged(4, &[4, 3], Some(4)), regressed);
        assert_eq!(judged(12, &[11, -11, 12], Some(12)), Verdict { regressed: 2, ..regressed }, "no delete in between");
        assert_eq!(judged(3, &[2, 3, 3], Some(3)), Verdict { doubled: 1, ..Verdict::default() });
        assert_eq!(judged(3, &[3, 5], Some(5)), Verdict { invented: 1, ..Verdict::default() });
    }

    #[test]
    fn a_refused_change_in_sql_is_told() {
        let mut book = Book::default();
        book.note(7, 1, Said::Refused);
        book.note(7, 2, Said::Unknown);
        let applied = |points| Applied { player: 7, points, gone: false };
        let verdict = book.judge(&[applied(1), applied(2)], &BTreeMap::from([(7, 2)]));
        assert_eq!(verdict, Verdict { invented: 1, ..Verdict::default() });
    }
}
