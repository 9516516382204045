//! Words that must appear in no output.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A [`Subscriber`] that keeps all that is said, at every level, and looks for the words in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Canaries(Arc<Mutex<Heard>>);

#[derive(Debug)]
struct Heard {
    words: Vec<String>,
    events: usize,
    sung: Vec<String>,
}

impl Canaries {
    /// Looks for these words.
    #[must_use]
    pub fn new(words: &[&str]) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Canaries(Arc::new(Mutex::new(Heard { words, events: 0, sung: Vec::new() })))
    }

    /// Looks for the words in a text of another source.
    pub fn look(&self, whence: &str, text: &str) {
        let mut heard = self.heard();
        if heard.words.iter().any(|word| text.contains(word.as_str())) {
            heard.sung.push(format!("{whence}: {text}"));
        }
    }

    /// How many events and spans were heard.
    #[must_use]
    pub fn events(&self) -> usize {
        self.heard().events
    }

    /// The texts in which a word was found.
    #[must_use]
    pub fn sung(&self) -> Vec<String> {
        self.heard().sung.clone()
    }

    fn hear(&self, of: &Metadata<'_>, record: impl FnOnce(&mut Text)) {
        let mut text = Text(format!("{} {}", of.target(), of.name()));
        record(&mut text);
        self.heard().events += 1;
        self.look("tracing", &text.0);
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Canaries {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.hear(span.metadata(), |text| span.record(text));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut text = Text(String::new());
        values.record(&mut text);
        self.look("tracing", &text.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.hear(event.metadata(), |text| event.record(text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
