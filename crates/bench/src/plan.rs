//! How much is measured: the quick run ends within a minute, the long one is for figures to be quoted.

use std::time::Duration;

use serde::Serialize;

use crate::subject;
use crate::workload;

/// Fixed in both.
pub(crate) const TASKS: u64 = 64;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) keys: u32,
    pub(crate) value_bytes: Vec<usize>,
    pub(crate) tasks: u64,
    /// Of each cell of the comparison, interleaved over the subjects.
    pub(crate) rounds: usize,
    /// Of the comparison. On a busy machine the last rounds are left out instead, but never the first.
    pub(crate) longest: Duration,
    /// Unmeasured, ahead of each round; in it popular keys find their usual state.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// The write-only phase in which commands and statements are counted.
    pub(crate) counted: Duration,
    /// How many of the most read rows are read once more at the end, at rest.
    pub(crate) at_rest: i64,
    pub(crate) ratio_rounds: usize,
    /// Of each side, in each round, interleaved.
    pub(crate) ratio_slices: usize,
    pub(crate) ratio_slice: Duration,
}

impl Plan {
    pub(crate) fn quick() -> Self {
        let ms = Duration::from_millis;
        Plan {
            name: "quick",
            keys: 10_000,
            value_bytes: vec![100],
            tasks: TASKS,
            rounds: 3,
            longest: ms(28_000),
            warm_up: ms(100),
            measured: ms(400),
            counted: ms(100),
            at_rest: 500,
            ratio_rounds: 5,
            ratio_slices: 4,
            ratio_slice: ms(25),
        }
    }

    pub(crate) fn long() -> Self {
        let ms = Duration::from_millis;
        Plan {
            name: "long",
            keys: 100_000,
            value_bytes: vec![100, 1_024],
            rounds: 5,
            longest: ms(300_000),
            warm_up: ms(300),
            measured: ms(1_200),
            counted: ms(200),
            at_rest: 2_000,
            ratio_rounds: 9,
            ratio_slices: 8,
            ratio_slice: ms(50),
            ..Plan::quick()
        }
    }

    /// How many times progress is told.
    pub(crate) fn steps(&self, cases: usize) -> usize {
        let compared = workload::Kind::ALL.len() * self.value_bytes.len() * self.rounds * subject::Kind::ALL.len();
        let killed = if self.rounds > 0 { subject::Kind::ALL.len() } else { 0 };
        compared + killed + if self.ratio_rounds > 0 { cases } else { 0 }
    }
}
