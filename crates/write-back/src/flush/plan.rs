//! When a shard is due, and what a batch's items mean. Pure.

use std::time::Duration;

use writeway_core::cache::Bytes;
use writeway_core::change::Change;
use writeway_core::journal::{Item, Status};

use crate::settings::Settings;

/// Whether the shard has something to flush now. When its oldest change has waited long enough, all are taken: few large batches cost
/// less than many small ones, and what is taken early is not written more often than once in that time.
pub(super) fn due(status: &Status, settings: &Settings, urgent: bool) -> bool {
    let ready = status.dirty.saturating_sub(status.delayed);
    let pressure = ready >= settings.max_batch as u64 || status.dirty_bytes >= settings.max_batch_bytes as u64;
    let old = status.oldest.is_some_and(|oldest| oldest >= settings.max_delay);
    ready + status.open > 0 && (urgent || pressure || old || status.open > 0)
}

/// Whether what failed alone goes before the others in the next batch that is frozen: by turns. An open batch, which is only tried
/// again, is nobody's turn.
pub(super) fn suspects_first(before: bool, status: &Status) -> bool {
    if status.open == 0 { !before } else { before }
}

/// How long the flusher may sleep without missing the moment at which the shard is due.
pub(super) fn sleep(status: &Status, settings: &Settings) -> Duration {
    let due_in = status.oldest.map_or(settings.max_delay, |oldest| settings.max_delay.saturating_sub(oldest));
    due_in.clamp(Duration::from_millis(1), settings.tick())
}

/// A batch, as SQL and the journal take it.
pub(super) struct Batch<K, R> {
    /// In key order.
    pub(super) changes: Vec<Change<K, R>>,
    /// The cache key of each.
    pub(super) keys: Vec<Bytes>,
    /// Those that cannot be read.
    pub(super) damaged: Vec<Bytes>,
}

/// Reads the items.
pub(super) fn batch<K: Ord + Clone, R>(
    items: Vec<Item>,
    read: impl Fn(&Item) -> Option<Change<K, R>>,
    key_of: impl Fn(&R) -> K,
) -> Batch<K, R> {
    let (mut found, mut damaged) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match read(&item) {
            Some(change) => {
                let key = match &change {
                    Change::Put(row) => key_of(row),
                    Change::Delete(key) => key.clone(),
                };
                found.push((key, item.key, change));
            }
            None => damaged.push(item.key),
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let (keys, changes) = found.into_iter().map(|(_, at, change)| (at, change)).unzip();
    Batch { changes, keys, damaged }
}

#[cfg(test)]
mod tests {
    use writeway_core::journal::Version;

    use super::*;

    fn status(dirty: u64, oldest: u64, open: u64) -> Status {
        Status { dirty, open, oldest: Some(Duration::from_millis(oldest)), ..Status::default() }
    }

    #[test]
    fn age_count_bytes_and_a_barrier_make_it_due() {
        let settings = Settings::default();
        let due = |status: Status, urgent| due(&status, &settings, urgent);
        assert!(!due(status(0, 0, 0), true));
        assert!(!due(status(1, 199, 0), false));
        assert!(due(status(1, 200, 0), false));
        assert!(due(status(1, 0, 0), true));
        assert!(due(status(1_000, 0, 0), false));
        assert!(due(Status { dirty_bytes: 4 << 20, ..status(1, 0, 0) }, false));
        assert!(due(status(0, 0, 1), false), "an open batch is finished first");
        let delayed = Status { delayed: 2, ..status(2, 900, 0) };
        assert!(!due(delayed, true), "what is held back is not due");
    }

    #[test]
    fn what_failed_alone_and_the_others_have_their_turns() {
        assert!(suspects_first(false, &status(1, 0, 0)) && !suspects_first(true, &status(1, 0, 0)));
        // Of a suspect that fails, the batch is claimed twice: once to be tried, once to be held back.
        assert!(suspects_first(true, &status(0, 0, 1)), "invariant violated: what fails alone starves nobody");
    }

    #[test]
    fn it_sleeps_until_the_next_change_is_due() {
        let settings = Settings::default();
        assert_eq!(sleep(&status(1, 150, 0), &settings), Duration::from_millis(50));
        assert_eq!(sleep(&status(1, 900, 0), &settings), Duration::from_millis(1));
        assert_eq!(sleep(&Status::default(), &settings), settings.tick());
    }

    #[test]
    fn items_are_read_in_key_order_and_damage_is_told_apart() {
        let item = |key: &str, schema| Item { key: key.into(), version: Version::default(), schema, value: key.into() };
        let read = |item: &Item| String::from_utf8_lossy(&item.value).parse().ok().map(Change::<u32, u32>::Put);
        let read = batch(vec![item("10", 0), item("9", 0), item("x", 0)], read, |row| *row);
        assert_eq!(read.changes, [Change::Put(9), Change::Put(10)]);
        assert_eq!((read.keys, read.damaged), (vec![b"9".to_vec(), b"10".to_vec()], vec![b"x".to_vec()]));
    }
}
