//! A recorder of the `metrics` crate that a test reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Keeps every metric under its name and labels, as in `name{label="value"}`. Cheap to clone; all clones are one. Install it with
/// `metrics::set_default_local_recorder` before what is looked at is built.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<String, Seen>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    value: f64,
    /// Of a histogram.
    observations: u64,
}

struct Place {
    of: Metrics,
    name: String,
}

impl Metrics {
    /// What a counter or gauge shows, or what a histogram's observations sum up to.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.seen(name).map(|seen| seen.value)
    }

    /// How many observations a histogram had.
    #[must_use]
    pub fn observations(&self, name: &str) -> Option<u64> {
        self.seen(name).map(|seen| seen.observations)
    }

    /// All that was registered.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    fn seen(&self, name: &str) -> Option<Seen> {
        self.all().get(name).copied()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, key: &Key) -> Arc<Place> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let name = if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{}}}", key.name(), labels.join(",")) };
        self.all().entry(name.clone()).or_default();
        Arc::new(Place { of: self.clone(), name })
    }
}

impl Place {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(self.of.all().entry(self.name.clone()).or_default());
    }
}

impl CounterFn for Place {
    fn increment(&self, n: u64) {
        self.change(|seen| seen.value += as_f64(n));
    }

    fn absolute(&self, n: u64) {
        self.change(|seen| seen.value = seen.value.max(as_f64(n)));
    }
}

impl GaugeFn for Place {
    fn increment(&self, value: f64) {
        self.change(|seen| seen.value += value);
    }

    fn decrement(&self, value: f64) {
        self.change(|seen| seen.value -= value);
    }

    fn set(&self, value: f64) {
        self.change(|seen| seen.value = value);
    }
}

impl HistogramFn for Place {
    fn record(&self, value: f64) {
        self.change(|seen| {
            seen.value += value;
            seen.observations += 1;
        });
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.place(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.place(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.place(key))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a test counts to less")]
fn as_f64(n: u64) -> f64 {
    n as f64
}
