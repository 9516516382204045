//! The metrics of the feature `metrics`: every name once, with what it means.
//!
//! A counter or event of the family is named `<noun>.<start|done|failed>`, as in the log event `flush.failed`, and so is its
//! metric: `writeway_flush_failed_total`. Labels are the namespace, and words of which there are a few; never a key, never a value.
//!
//! What is counted is counted with or without the feature: see [`stats`](crate::stats). With it, the same counts go to the recorder
//! that the process has installed by then, so install it before `build` and `connect`.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It only grows, from the start of the process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Single observations.
    Histogram,
}

/// A metric, as it is registered and described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// In Prometheus's form: its unit is in its last word but `_total`.
    pub name: &'static str,
    /// How it moves.
    pub shape: Shape,
    /// What it means, in a sentence.
    pub means: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $shape:ident $name:literal, $means:literal;)+) => {
        $( #[doc = $means] pub const $constant: Metric = Metric { name: $name, shape: Shape::$shape, means: $means }; )+

        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    READ_HIT = Counter "writeway_read_hit_total", "Keys that a read found in the cache";
    READ_MISS = Counter "writeway_read_miss_total", "Keys that a read did not find in the cache, damage included";
    READ_UNANSWERED = Counter "writeway_read_unanswered_total", "Keys of which the cache said nothing to a read";
    READ_FAILED = Counter "writeway_read_failed_total", "Reads that ended with an error, by kind";
    READ_SECONDS = Histogram "writeway_read_seconds", "Time from a read's call to its answer";
    ENTRY_DAMAGED = Counter "writeway_entry_damaged_total", "Cached values that did not fit their key, type or schema";
    LOAD_DONE = Counter "writeway_load_done_total", "Statements that loaded rows from SQL for reads";
    LOAD_FAILED = Counter "writeway_load_failed_total", "Loads from SQL that failed, or waited too long for their turn";
    LOAD_JOINED = Counter "writeway_load_joined_total", "Reads that shared another read's load";
    FILL_DONE = Counter "writeway_fill_done_total", "Loaded rows that were handed to the cache";
    FILL_FAILED = Counter "writeway_fill_failed_total", "Loaded rows that could not be handed to the cache";

    WRITE_DONE = Counter "writeway_write_done_total", "Changes that were committed; of write-back, accepted";
    WRITE_FAILED = Counter "writeway_write_failed_total", "Writes that ended with an error, by kind";
    WRITE_UNKNOWN = Counter "writeway_write_unknown_total", "Writes of which it is not known whether they took effect";
    WRITE_UNCONFIRMED = Counter "writeway_write_unconfirmed_total", "Accepted changes that were not confirmed at their level in time";
    WRITE_SECONDS = Histogram "writeway_write_seconds", "Time from a write's call to its answer";
    WRITE_PUBLISHED = Counter "writeway_write_published_total", "Keys whose new value a write left in the cache";
    WRITE_INVALIDATED = Counter "writeway_write_invalidated_total", "Keys that a write removed from the cache";
    WRITE_LAPSED = Counter "writeway_write_lapsed_total", "Keys of committed writes of which the cache could not be told";

    DIRTY_ROWS = Gauge "writeway_dirty_rows", "Rows of the namespace on their way to SQL, of all processes";
    DIRTY_BYTES = Gauge "writeway_dirty_bytes", "Bytes of the rows on their way to SQL";
    DIRTY_OLDEST_SECONDS = Gauge "writeway_dirty_oldest_seconds", "For how long the oldest row on its way has waited";
    DIRTY_FULLNESS_RATIO = Gauge "writeway_dirty_fullness_ratio", "How near the fullest shard is to refusing rows, by rows, bytes or age; at 1 it does";
    DIRTY_SUSPECTS = Gauge "writeway_dirty_suspects", "Changes on their way that failed alone, and are held back to be tried again alone";
    DEAD_LETTERS = Gauge "writeway_dead_letters", "Changes that were set aside for a person to look at";
    FLUSH_START = Counter "writeway_flush_start_total", "Transactions with a batch that were begun in SQL";
    FLUSH_DONE = Counter "writeway_flush_done_total", "Batches that are in SQL, flushed by this process";
    FLUSH_FAILED = Counter "writeway_flush_failed_total", "Turns of the flusher that failed, and are repeated";
    FLUSH_SPLIT = Counter "writeway_flush_split_total", "Batches that failed and were halved, to find the row that fails";
    FLUSH_FENCED = Counter "writeway_flush_fenced_total", "Shards that another process took over while this one had them";
    FLUSH_ROWS = Counter "writeway_flush_rows_total", "Rows of the batches that are in SQL";
    FLUSH_SECONDS = Histogram "writeway_flush_seconds", "Time of one batch's transaction in SQL";
    BATCH_ROWS = Histogram "writeway_batch_rows", "Rows of one batch";
    RECOVERY_DONE = Counter "writeway_recovery_done_total", "Shards found on another server or an older state: what was accepted may be lost";
    CHANGE_DELAYED = Counter "writeway_change_delayed_total", "Failures of changes alone, after which they were held back";
    CHANGE_PARKED = Counter "writeway_change_parked_total", "Changes that were set aside as dead letters because SQL refused them";
    CHANGE_SUPERSEDED = Counter "writeway_change_superseded_total", "Restored changes that were dropped because SQL has something newer";
    CHANGE_QUARANTINED = Counter "writeway_change_quarantined_total", "Restored changes that were set aside because nobody can tell";
    CHANGE_DAMAGED = Counter "writeway_change_damaged_total", "Accepted changes that were set aside because they cannot be read";
    SETTINGS_DRIFTED = Counter "writeway_settings_drifted_total", "How often Redis was found set up otherwise than declared";

    AUDIT_DONE = Counter "writeway_audit_done_total", "Clean values that audits compared with SQL";
    AUDIT_STALE = Counter "writeway_audit_stale_total", "Clean values that audits found to differ from SQL";

    REDIS_BREAKER_OPEN = Gauge "writeway_redis_breaker_open", "1 while calls to Redis are held back because it does not answer";
    REDIS_BREAKER_OPENED = Counter "writeway_redis_breaker_opened_total", "How often calls to Redis began to be held back";
    REDIS_CALL_REFUSED = Counter "writeway_redis_call_refused_total", "Calls to Redis that were held back";
    REDIS_CALL_UNANSWERED = Counter "writeway_redis_call_unanswered_total", "Calls to Redis that were not answered in time";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_prometheus_names_and_given_once() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("writeway_"), "{}", metric.name);
            assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.shape == Shape::Counter, "{}", metric.name);
            // An exporter adds these to a histogram's name.
            assert!(["_bucket", "_count", "_sum"].iter().all(|end| !metric.name.ends_with(end)), "{}", metric.name);
        }
    }
}
