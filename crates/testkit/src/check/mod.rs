//! What must hold of every run, by name. Seeded bugs name the invariant they break.

mod counters;
mod write_back;

use std::collections::BTreeSet;

use writeway_core::entry::VALUE_HEADER;
use writeway_core::entry::state::{Slot, State};

use crate::explorer::{Verdict, Violation, World};
use crate::sim::{Answer, Cache, Cell, Database, Read, Store};

pub use counters::counters;
pub use write_back::{Durable, confirmed_is_kept, write_back};

/// All that strict mode promises, whatever failed.
///
/// # Errors
/// The first that does not hold.
pub fn strict(world: &World, cache: &Cache, store: &Store) -> Verdict {
    at_rest(world, cache, store);
    reads_are_linearizable(store.database())?;
    answers_hold(store.database())?;
    nothing_lands_late(cache, store.database())?;
    nothing_stale_at_rest(cache, store.database())?;
    no_orphan_barrier(world, cache, store.database())
}

/// What eventual mode promises: answers hold always; the cache agrees with SQL at rest if nobody died, the cache was told of
/// every write, and no statement landed after its writer had given up.
///
/// # Errors
/// The first that does not hold.
pub fn eventual(world: &World, cache: &Cache, store: &Store) -> Verdict {
    at_rest(world, cache, store);
    answers_hold(store.database())?;
    let counts = world.counts();
    if counts.crashes == 0 && counts.late_landings == 0 && cache.failures() == 0 {
        nothing_stale_at_rest(cache, store.database())?;
    }
    Ok(())
}

fn at_rest(world: &World, cache: &Cache, store: &Store) {
    world.note(|| format!("at rest, sql: {}", store.database().text()));
    world.note(|| format!("at rest, cache: {}", cache.text()));
}

/// `hits are linearizable`: every answer, from the cache or from SQL, is a value that was committed and current at some
/// instant between the read's start and its end. It includes that no read is older than an acknowledged write before it, and
/// that no two reads one after the other go backwards.
///
/// # Errors
/// The first read that was stale.
pub fn reads_are_linearizable(database: &Database) -> Verdict {
    let (history, initial) = (database.history(), database.initial());
    for read in &history.reads {
        // (since when, which value), the initial one first.
        let changes = history.commits.iter().filter(|commit| commit.changed && commit.place == read.place);
        let first = (0, initial.get(&read.place).copied());
        let versions = std::iter::once(first).chain(changes.map(|commit| (commit.at, commit.value))).collect::<Vec<_>>();
        let current = versions.iter().enumerate().filter(|(n, (since, _))| {
            let until = versions.get(n + 1).map_or(u64::MAX, |next| next.0);
            *since <= read.end && until >= read.start
        });
        let values = current.map(|(_, (_, value))| *value).collect::<Vec<_>>();
        Violation::unless(values.contains(&read.value), "hits are linearizable", || stale(read, &values))?;
    }
    Ok(())
}

fn stale(read: &Read, values: &[Option<u64>]) -> String {
    let Read { place: (_, key), value, hit, .. } = read;
    let from = if *hit { "the cache" } else { "SQL" };
    format!("a read of key {key} was answered {value:?} from {from}; between its start and its end only {values:?} was current")
}

/// `ok means committed`: when a write was acknowledged, all its changes were committed. `not applied means not committed`:
/// none of its changes is committed, not later either.
///
/// # Errors
/// The first write of which it is not so.
pub fn answers_hold(database: &Database) -> Verdict {
    let history = database.history();
    for write in &history.writes {
        let of_op = || history.commits.iter().filter(|commit| commit.op == Some(write.op));
        match write.answer {
            Some((end, Answer::Committed)) => {
                let landed = |&(place, value): &(_, _)| of_op().any(|c| c.place == place && c.value == value && c.at <= end);
                let missing = write.changes.iter().find(|change| !landed(change));
                let detail = || format!("acknowledged, but not committed by then: {missing:?}");
                Violation::unless(missing.is_none(), "ok means committed", detail)?;
            }
            Some((_, Answer::NotApplied)) => {
                let landed = of_op().find(|commit| commit.changed);
                let detail = || format!("answered `NotApplied`, but committed: {landed:?}");
                Violation::unless(landed.is_none(), "not applied means not committed", detail)?;
            }
            Some((_, Answer::Unknown)) | None => {}
        }
    }
    Ok(())
}

/// `nothing lands late`: no barrier is placed for a write that has been answered.
///
/// # Errors
/// The first that was.
pub fn nothing_lands_late(cache: &Cache, database: &Database) -> Verdict {
    let history = database.history();
    let answered =
        |op: u64, at: u64| history.writes.iter().any(|write| write.op == op && write.answer.is_some_and(|(end, _)| end < at));
    let late = cache.placed().into_iter().find(|placed| placed.op.is_some_and(|op| answered(op, placed.at)));
    Violation::unless(late.is_none(), "nothing lands late", || format!("placed after its writer was answered: {late:?}"))
}

/// `nothing stale at rest`: what the cache would serve now is what SQL holds.
///
/// # Errors
/// The first key of which it is not so.
pub fn nothing_stale_at_rest(cache: &Cache, database: &Database) -> Verdict {
    let rows = database.rows();
    for (key, slot) in cache.slots() {
        let State::Value(entry) = &slot.state else { continue };
        let Some(place) = database.place_of(&key) else { continue };
        let cached = cached_value(entry).map_err(|why| unreadable(&key, why))?;
        let committed = rows.get(&place).copied();
        let detail = || format!("{} is cached as {cached:?}, SQL has {committed:?}", String::from_utf8_lossy(&key));
        Violation::unless(cached == committed, "nothing stale at rest", detail)?;
    }
    Ok(())
}

fn cached_value(entry: &[u8]) -> Result<Option<u64>, &'static str> {
    match entry.get(VALUE_HEADER..) {
        None => Err("too short"),
        Some([]) => Ok(None),
        Some(payload) => serde_json::from_slice(payload).map(|cell: Cell| Some(cell.value)).map_err(|_| "no row"),
    }
}

fn unreadable(key: &[u8], why: &str) -> Violation {
    Violation { invariant: "nothing stale at rest", detail: format!("{}: {why}", String::from_utf8_lossy(key)) }
}

/// `no orphan barrier`: when all calls are answered, a live barrier is left only by a writer that is in doubt, that died, or
/// whose finish did not get through.
///
/// # Errors
/// The first orphan.
pub fn no_orphan_barrier(world: &World, cache: &Cache, database: &Database) -> Verdict {
    let counts = world.counts();
    if counts.crashes + counts.cancels > 0 {
        return Ok(());
    }
    let history = database.history();
    let in_doubt = history.writes.iter().filter(|write| write.in_doubt()).map(|write| write.op).collect::<BTreeSet<_>>();
    let placed = cache.placed();
    let excused = |token, key: &[u8]| {
        let op = placed.iter().find(|placed| placed.token == token).and_then(|placed| placed.op);
        cache.finish_failed(token, key) || op.is_none_or(|op| in_doubt.contains(&op))
    };
    let now = world.now_ms();
    for (key, Slot { state, .. }) in cache.slots() {
        let State::Barrier { tokens, .. } = state else { continue };
        let orphan = tokens.iter().find(|&&(token, until)| until > now && !excused(token, &key));
        let detail = || format!("{} still has the barrier {orphan:?}", String::from_utf8_lossy(&key));
        Violation::unless(orphan.is_none(), "no orphan barrier", detail)?;
    }
    Ok(())
}
