//! What to be woken up for, as long as there are no metrics: two looks at `stats()`, some seconds apart.

use std::time::Duration;

use writeway_back::Stats;

/// What is normal for a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// As given to the builder.
    pub max_dirty: u64,
    /// How far SQL may be behind: some times `max_delay`, and far less than `max_age`.
    pub behind: Duration,
}

/// What is wrong, in words for whoever is woken up.
#[must_use]
pub fn alarms(before: &Stats, now: &Stats, limits: Limits) -> Vec<&'static str> {
    let signs = [
        (now.oldest > Some(limits.behind), "SQL is behind: it is away, or too slow"),
        (now.dirty > limits.max_dirty * 3 / 4, "three quarters of max_dirty are taken: writes will be refused soon"),
        (now.dead > before.dead, "changes were set aside: SQL has older rows"),
        (now.retries > before.retries && now.batches == before.batches, "every flush of this process fails"),
        (now.fenced > before.fenced, "another process took a shard over: was this one paused?"),
    ];
    signs.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use writeway_back::{MemoryJournal, MemoryStore, WriteBack};

    use super::*;

    const LIMITS: Limits = Limits { max_dirty: 100, behind: Duration::from_secs(2) };

    #[tokio::test]
    async fn a_namespace_at_work_is_quiet() {
        let table = MemoryStore::new(|row: &(i64, String)| row.0);
        let builder = WriteBack::builder(table).namespace("rows").allow_volatile_changes();
        let rows = builder.build(MemoryJournal::new()).await.unwrap();
        let before = rows.stats().await.unwrap();
        rows.put((7, "tea".into())).await.unwrap().durable().await.unwrap();
        assert_eq!(alarms(&before, &rows.stats().await.unwrap(), LIMITS), Vec::<&str>::new());
    }

    #[test]
    fn each_sign_is_told() {
        let before = Stats::default();
        let signs: [fn(&mut Stats); 5] = [
            |now| now.oldest = Some(Duration::from_secs(3)),
            |now| now.dirty = 76,
            |now| now.dead = 1,
            |now| now.retries = 1,
            |now| now.fenced = 1,
        ];
        for sign in signs {
            let mut now = Stats::default();
            sign(&mut now);
            assert_eq!(alarms(&before, &now, LIMITS).len(), 1, "{now:?}");
        }
        let mut now = Stats::default();
        (now.retries, now.batches) = (1, 1);
        assert!(alarms(&before, &now, LIMITS).is_empty(), "one that failed and then went through");
    }
}
