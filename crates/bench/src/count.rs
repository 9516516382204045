//! What the servers had to do, counted by the drivers and the servers, not by us: SQL statements through diesel's instrumentation,
//! cache commands through Redis' own statistics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result};
use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use redis::aio::MultiplexedConnection;

use crate::place::Place;

/// Formatting a statement costs more than counting it, so latencies are never measured while this is set.
static COUNTING: AtomicBool = AtomicBool::new(false);
static STATEMENTS: AtomicU64 = AtomicU64::new(0);

/// Commands by which a key is written or removed, in scripts or outside.
const CACHE_WRITES: [&str; 8] = ["set", "setex", "psetex", "getset", "getdel", "del", "unlink", "pexpire"];

struct CountStatements;

impl Instrumentation for CountStatements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        // BEGIN and COMMIT have events of their own besides, but reach the driver as queries.
        if let InstrumentationEvent::StartQuery { query, .. } = event
            && COUNTING.load(Ordering::Relaxed)
        {
            STATEMENTS.fetch_add(statements_in(&query.to_string()), Ordering::Relaxed);
        }
    }
}

/// A batch holds several. None of the bench's statements has a semicolon inside a literal.
fn statements_in(text: &str) -> u64 {
    let sql = text.split(" -- binds:").next().unwrap_or_default();
    sql.split(';').filter(|statement| !statement.trim().is_empty()).count() as u64
}

/// Makes every connection opened from now on count.
///
/// # Errors
/// diesel's, as they come.
pub(crate) fn install() -> Result<()> {
    Ok(set_default_instrumentation(|| Some(Box::new(CountStatements)))?)
}

/// Calls by command, those that a script ran included.
pub(crate) type Commands = BTreeMap<String, u64>;

/// Counts from its start.
pub(crate) struct Count {
    commands: Option<Commands>,
}

/// What was done meanwhile, by whomever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) statements: u64,
    /// None where the cache does not count.
    pub(crate) commands: Option<Commands>,
}

impl Count {
    /// # Errors
    /// If Redis does not tell its statistics.
    pub(crate) async fn start(place: &mut impl Place) -> Result<Self> {
        let commands = place.commands().await?;
        STATEMENTS.store(0, Ordering::Relaxed);
        COUNTING.store(true, Ordering::Relaxed);
        Ok(Count { commands })
    }

    /// # Errors
    /// If Redis does not tell its statistics.
    pub(crate) async fn stop(self, place: &mut impl Place) -> Result<Counted> {
        COUNTING.store(false, Ordering::Relaxed);
        let before = self.commands.unwrap_or_default();
        let since = |(name, calls): (String, u64)| {
            let more = calls.saturating_sub(before.get(&name).copied().unwrap_or(0));
            (more > 0 && name != "info").then_some((name, more))
        };
        let commands = place.commands().await?.map(|now| now.into_iter().filter_map(since).collect());
        Ok(Counted { statements: STATEMENTS.load(Ordering::Relaxed), commands })
    }
}

impl Counted {
    pub(crate) fn add(&mut self, other: Counted) {
        self.statements += other.statements;
        for (name, calls) in other.commands.into_iter().flatten() {
            *self.commands.get_or_insert_default().entry(name).or_default() += calls;
        }
    }

    pub(crate) fn cache_writes(&self) -> Option<u64> {
        let commands = self.commands.as_ref()?;
        Some(CACHE_WRITES.iter().filter_map(|&name| commands.get(name)).sum())
    }
}

/// # Errors
/// If Redis does not tell its statistics.
pub(crate) async fn commands(redis: &mut MultiplexedConnection) -> Result<Commands> {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.context("INFO commandstats")?;
    Ok(info.lines().filter_map(calls).collect())
}

/// `cmdstat_set:calls=12,usec=…`
fn calls(line: &str) -> Option<(String, u64)> {
    let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    Some((name.to_owned(), figures.split(',').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_inside_a_batch_and_not_inside_binds() {
        assert_eq!(statements_in("BEGIN"), 1);
        assert_eq!(statements_in("SAVEPOINT a; SET CONSTRAINTS ALL IMMEDIATE; COMMIT;"), 3);
        assert_eq!(statements_in("SELECT 1 WHERE a = $1 -- binds: [\"x; y\"]"), 1);
    }

    #[test]
    fn the_server_s_statistics_are_read() {
        assert_eq!(calls("cmdstat_set:calls=12,usec=30,usec_per_call=2.5"), Some(("set".to_owned(), 12)));
        assert_eq!(calls("# Commandstats"), None);
        let mut sum = Counted { statements: 1, commands: None };
        assert_eq!(sum.cache_writes(), None);
        sum.add(Counted { statements: 0, commands: Some(BTreeMap::from([("set".to_owned(), 2), ("get".to_owned(), 9)])) });
        sum.add(Counted { statements: 2, commands: Some(BTreeMap::from([("set".to_owned(), 1), ("del".to_owned(), 4)])) });
        assert_eq!((sum.statements, sum.cache_writes()), (3, Some(7)));
    }
}
