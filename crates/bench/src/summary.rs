//! From many figures to few.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies, in nanoseconds with three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        // Three digits is within the crate's bounds of 0 to 5.
        Latencies(Histogram::new(3).expect("three digits are allowed"))
    }

    pub(crate) fn record(&mut self, took: Duration) {
        // Made by `new`, the histogram grows to hold any value.
        let _ = self.0.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        // The same digits, and resizing: it fits.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| (!self.0.is_empty()).then(|| micros(self.0.value_at_quantile(quantile)));
        Quantiles { count: self.0.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }

    pub(crate) fn p50(&self) -> Option<f64> {
        self.quantiles().p50
    }
}

/// Latencies in microseconds; none if nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) count: u64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
}

/// A figure that was measured several times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// `None` if there are no figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        Some(Spread { median: median(&sorted)?, min, max, rounds: sorted.len() })
    }
}

/// Of sorted figures; the mean of the two in the middle if their number is even.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let &upper = sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// The median and the greatest of some durations.
pub(crate) fn median_and_max(durations: &mut [Duration]) -> Option<(Duration, Duration)> {
    durations.sort_unstable();
    Some((*durations.get(durations.len() / 2)?, *durations.last()?))
}

/// How much of the whole a part is; none of nothing.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

/// Per 1,000.
pub(crate) fn per_thousand(part: u64, whole: u64) -> Option<f64> {
    share(part, whole).map(|share| share * 1_000.0)
}

/// Per second.
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    float(count) / took.as_secs_f64().max(f64::EPSILON)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark stay far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

fn micros(nanos: u64) -> f64 {
    float(nanos) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]).expect("three");
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0, rounds: 3 });
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn quantiles_are_in_microseconds_and_absent_where_nothing_was_measured() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.quantiles().p50, None);
        (1..=1_000).for_each(|n| latencies.record(Duration::from_micros(n)));
        let found = latencies.quantiles();
        for (found, expected) in [(found.p50, 500.0), (found.p99, 990.0), (found.p999, 999.0)] {
            assert!((found.expect("recorded") / expected - 1.0).abs() < 0.002, "{found:?} against {expected}");
        }
        let mut all = Latencies::new();
        all.add(&latencies);
        all.add(&latencies);
        assert_eq!((all.count(), all.p50()), (2_000, found.p50));
    }

    #[test]
    fn shares_of_nothing_are_none() {
        assert_eq!((share(1, 4), share(0, 0)), (Some(0.25), None));
        assert_eq!(per_thousand(3, 2_000), Some(1.5));
        assert!((rate(10, Duration::from_millis(100)) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn ages_are_summed_up() {
        let ms = Duration::from_millis;
        assert_eq!(median_and_max(&mut [ms(3), ms(9), ms(1)]), Some((ms(3), ms(9))));
        assert_eq!(median_and_max(&mut []), None);
    }
}
