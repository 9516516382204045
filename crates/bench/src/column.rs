//! One subject's figures under one workload: a column of the table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::count::Counted;
use crate::load::Tally;
use crate::subject::Kind;
use crate::summary::{Quantiles, Spread, median_and_max, per_thousand, rate, share};

/// What one round found.
pub(crate) struct Round {
    pub(crate) tally: Tally,
    /// Looks into the cache, and hits.
    pub(crate) looks: (u64, u64),
    /// The write-only phase, and what was counted in it.
    pub(crate) writes: Tally,
    /// How long that phase took until all of it was in SQL, and how many rows SQL wrote for it.
    pub(crate) settled: Duration,
    pub(crate) rows: u64,
    pub(crate) counted: Counted,
    pub(crate) read_at_rest: u64,
    pub(crate) stale_at_rest: u64,
    pub(crate) lost_writes: u64,
}

/// All rounds together. What is a rate has a spread over the rounds; latencies and shares are of all calls.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) subject: &'static str,
    pub(crate) strict: bool,
    pub(crate) calls_per_second: Spread,
    pub(crate) reads_per_second: Spread,
    pub(crate) writes_per_second: Spread,
    /// Of the write-only phase, until the last one is in SQL.
    pub(crate) settled_writes_per_second: Spread,
    pub(crate) read_microseconds: Quantiles,
    pub(crate) write_microseconds: Quantiles,
    /// Of looks into the cache; none without a cache.
    pub(crate) miss_ratio: Option<f64>,
    pub(crate) reads: u64,
    /// What a read returns has a version that SQL gave: else staleness was not judged.
    pub(crate) judged: bool,
    pub(crate) stale_reads: u64,
    pub(crate) stale_share: Option<f64>,
    pub(crate) stale_age_median_ms: Option<f64>,
    pub(crate) stale_age_max_ms: Option<f64>,
    pub(crate) read_at_rest: u64,
    pub(crate) stale_at_rest: u64,
    pub(crate) acknowledged_writes: u64,
    pub(crate) lost_writes: u64,
    pub(crate) cache_writes_per_1000: Option<f64>,
    pub(crate) sql_statements_per_1000: Option<f64>,
    pub(crate) sql_rows_per_1000: Option<f64>,
    /// Redis' own count per 1,000 writes, by command, those in scripts included; none where there is no Redis.
    pub(crate) cache_commands_per_1000: BTreeMap<String, f64>,
    /// Of writes that tell what became of the cached copy.
    pub(crate) published_share: Option<f64>,
    pub(crate) invalidated_share: Option<f64>,
    pub(crate) lapses_share: Option<f64>,
    pub(crate) failed_calls: u64,
    pub(crate) first_failure: Option<String>,
}

impl Column {
    /// `None` of no rounds.
    pub(crate) fn of(kind: Kind, rounds: Vec<Round>) -> Option<Self> {
        let spread = |count: fn(&Tally) -> u64| {
            let rates: Vec<f64> = rounds.iter().map(|round| rate(count(&round.tally), round.tally.took)).collect();
            Spread::of(&rates)
        };
        let calls_per_second = spread(|tally| tally.reads.count() + tally.writes.count())?;
        let (reads_per_second, writes_per_second) = (spread(|tally| tally.reads.count())?, spread(|tally| tally.writes.count())?);
        let settled: Vec<f64> = rounds.iter().map(|round| rate(round.writes.writes.count(), round.settled)).collect();
        let settled_writes_per_second = Spread::of(&settled)?;
        let Sum { mut tally, writes, rows, counted, looks, read_at_rest, stale_at_rest, lost_writes } = Sum::of(rounds);
        let ages = median_and_max(&mut tally.ages);
        let stale_reads = tally.ages.len() as u64;
        let counted_writes = writes.writes.count();
        let per = |&calls: &u64| per_thousand(calls, counted_writes);
        let effects = tally.effects;
        let cached = kind != Kind::SqlOnly;
        Some(Column {
            subject: kind.name(),
            // At rest, write-back's reads must agree with SQL, too.
            strict: matches!(kind, Kind::WriteThrough | Kind::WriteBack | Kind::WriteAroundStrict),
            calls_per_second,
            reads_per_second,
            writes_per_second,
            settled_writes_per_second,
            read_microseconds: tally.reads.quantiles(),
            write_microseconds: tally.writes.quantiles(),
            miss_ratio: share(looks.0 - looks.1, looks.0),
            reads: tally.reads.count(),
            judged: kind != Kind::WriteBack,
            stale_reads,
            stale_share: share(stale_reads, tally.reads.count()),
            stale_age_median_ms: ages.map(|(median, _)| ms(median)),
            stale_age_max_ms: ages.map(|(_, max)| ms(max)),
            read_at_rest,
            stale_at_rest,
            acknowledged_writes: tally.writes.count() + counted_writes,
            lost_writes,
            cache_writes_per_1000: counted.cache_writes().filter(|_| cached).and_then(|writes| per(&writes)),
            sql_statements_per_1000: per(&counted.statements),
            sql_rows_per_1000: per(&rows),
            cache_commands_per_1000: counted
                .commands
                .into_iter()
                .flatten()
                .filter_map(|(name, n)| Some((name, per(&n)?)))
                .collect(),
            published_share: share(effects.published, effects.all()),
            invalidated_share: share(effects.invalidated, effects.all()),
            lapses_share: share(effects.lapses, effects.all()),
            failed_calls: tally.failed + writes.failed,
            first_failure: tally.first_failure.or(writes.first_failure),
        })
    }

    /// What a strict subject promises did not hold, or an acknowledged write is gone.
    pub(crate) fn broken(&self) -> bool {
        self.lost_writes > 0 || self.strict && self.stale_reads + self.stale_at_rest > 0
    }
}

struct Sum {
    tally: Tally,
    writes: Tally,
    rows: u64,
    counted: Counted,
    looks: (u64, u64),
    read_at_rest: u64,
    stale_at_rest: u64,
    lost_writes: u64,
}

impl Sum {
    fn of(rounds: Vec<Round>) -> Self {
        let (tally, writes, counted) = (Tally::new(), Tally::new(), Counted::default());
        let mut sum = Sum { tally, writes, rows: 0, counted, looks: (0, 0), read_at_rest: 0, stale_at_rest: 0, lost_writes: 0 };
        for round in rounds {
            sum.tally.add(round.tally);
            sum.writes.add(round.writes);
            sum.rows += round.rows;
            sum.counted.add(round.counted);
            sum.looks = (sum.looks.0 + round.looks.0, sum.looks.1 + round.looks.1);
            sum.read_at_rest += round.read_at_rest;
            sum.stale_at_rest += round.stale_at_rest;
            sum.lost_writes += round.lost_writes;
        }
        sum
    }
}

fn ms(age: Duration) -> f64 {
    age.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(reads: u64, stale: &[u64]) -> Round {
        let mut tally = Tally::new();
        (0..reads).for_each(|_| tally.reads.record(Duration::from_micros(100)));
        (0..reads).for_each(|_| tally.writes.record(Duration::from_micros(300)));
        tally.ages = stale.iter().map(|&age| Duration::from_millis(age)).collect();
        tally.effects.published = 3 * reads / 4;
        tally.effects.invalidated = reads / 4;
        tally.took = Duration::from_secs(1);
        let counted = Counted { statements: 3 * reads, commands: Some(BTreeMap::from([("set".to_owned(), 2 * reads)])) };
        let writes = tally.clone();
        let (settled, rows) = (Duration::from_secs(2), reads / 2);
        let (read_at_rest, stale_at_rest, lost_writes) = (9, 1, 0);
        Round { tally, looks: (reads, reads / 2), writes, settled, rows, counted, read_at_rest, stale_at_rest, lost_writes }
    }

    #[test]
    fn rounds_are_summed_and_rates_spread() {
        let column =
            Column::of(Kind::WriteThrough, vec![round(100, &[4, 2]), round(200, &[]), round(100, &[9])]).expect("rounds");
        assert_eq!((column.reads, column.stale_reads, column.stale_at_rest), (400, 3, 3));
        assert_eq!((column.stale_age_median_ms, column.stale_age_max_ms), (Some(4.0), Some(9.0)));
        assert_eq!((column.miss_ratio, column.invalidated_share), (Some(0.5), Some(0.25)));
        assert_eq!((column.cache_writes_per_1000, column.sql_statements_per_1000), (Some(2_000.0), Some(3_000.0)));
        assert_eq!((column.sql_rows_per_1000, column.settled_writes_per_second.median), (Some(500.0), 50.0));
        let rates = column.reads_per_second;
        assert_eq!((rates.median, rates.min, rates.max), (100.0, 100.0, 200.0));
        assert!(column.broken(), "a strict subject was stale");
    }

    #[test]
    fn staleness_breaks_no_promise_of_an_eventual_subject() {
        let mut eventual = Column::of(Kind::LookAside, vec![round(100, &[1])]).expect("a round");
        assert!(!eventual.broken());
        eventual.lost_writes = 1;
        assert!(eventual.broken());
    }
}
