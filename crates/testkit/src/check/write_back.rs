//! What must hold of every run of write-back, by name. A run ends with faults off and a drain.

use std::collections::{BTreeMap, BTreeSet};

use writeway_core::cache::Bytes;
use writeway_core::entry::VALUE_HEADER;
use writeway_core::journal::Reason;

use crate::explorer::{Verdict, Violation, World};
use crate::sim::{Answer, Cell, Commit, Database, Journal, Landed, Read, Store};

/// A ticket said that its change is in SQL.
#[derive(Clone, Copy, Debug)]
pub struct Durable {
    /// When, in the order of all that happened.
    pub at: u64,
    /// Under which key.
    pub key: u32,
    /// What had been put; `None` for a delete.
    pub value: Option<u64>,
}

/// All that write-back promises. What the journal's server lost may be missing; nothing else is, nothing goes backwards and
/// nothing is in effect twice.
///
/// # Errors
/// The first that does not hold.
pub fn write_back(world: &World, journal: &Journal, store: &Store, durable: &[Durable]) -> Verdict {
    let database = store.database();
    world.note(|| format!("at rest, sql: {}", database.text()));
    everything_drains(journal)?;
    applied_once(database)?;
    never_backwards(journal, database)?;
    clean_agrees_with_sql(journal, database)?;
    answers_hold(journal, database)?;
    nothing_lands_late(journal, database)?;
    accepted_once(journal)?;
    durable_means_in_sql(journal, database, durable)?;
    nothing_is_lost(journal, database)?;
    nothing_is_left_behind(journal)?;
    reads_see_sql(journal, database)?;
    if journal.loss().is_none() {
        reads_see_accepted_writes(journal, database)?;
    }
    Ok(())
}

/// `nothing confirmed is lost`: of each key, SQL ends with the last change whose writer was told `Ok`, or with a later one, whatever
/// the journal's server lost. Holds of writers that ask for a level that the server keeps.
///
/// # Errors
/// If it does not hold.
pub fn confirmed_is_kept(journal: &Journal, store: &Store) -> Verdict {
    let database = store.database();
    let (rows, accepted) = (database.rows(), journal.accepted());
    for write in database.history().writes.iter().filter(|write| matches!(write.answer, Some((_, Answer::Committed)))) {
        for (key, value) in accepted.iter().filter(|landed| landed.op == Some(write.op)).filter_map(of) {
            let (versions, committed) = (versions(journal, database, key), rows.get(&(0, key)).copied());
            let detail = || format!("{value:?} of key {key} was confirmed; accepted as {versions:?}, SQL has {committed:?}");
            let holds = place(&versions, committed) >= place(&versions, value);
            Violation::unless(holds, "nothing confirmed is lost", detail)?;
        }
    }
    Ok(())
}

/// The key and value of an accepted change; `None` for a delete.
fn of(landed: &Landed) -> Option<(u32, Option<u64>)> {
    value_of(&landed.key, &landed.value)
}

fn value_of(key: &Bytes, entry: &[u8]) -> Option<(u32, Option<u64>)> {
    let key = std::str::from_utf8(key).ok()?.rsplit_once(':')?.1.parse().ok()?;
    let is_absent = *entry.get(3)? == 1;
    let row = || serde_json::from_slice(entry.get(VALUE_HEADER..)?).map(|cell: Cell| cell.value).ok();
    Some((key, if is_absent { None } else { Some(row()?) }))
}

/// Of each key that was changed, the accepted values in order, behind the one at the beginning.
fn all_versions(journal: &Journal, database: &Database) -> BTreeMap<u32, Vec<(u64, Option<u64>)>> {
    let initial = database.initial();
    let mut all = BTreeMap::new();
    for landed in journal.accepted() {
        let Some((key, value)) = of(&landed) else { continue };
        let versions = all.entry(key).or_insert_with(|| vec![(0, initial.get(&(0, key)).copied())]);
        versions.push((landed.at, value));
    }
    all
}

/// The same of one key.
fn versions(journal: &Journal, database: &Database, key: u32) -> Vec<(u64, Option<u64>)> {
    let unchanged = || vec![(0, database.initial().get(&(0, key)).copied())];
    all_versions(journal, database).remove(&key).unwrap_or_else(unchanged)
}

/// `everything drains`: with faults off, nothing stays dirty or frozen.
pub(super) fn everything_drains(journal: &Journal) -> Verdict {
    let left = journal.left();
    Violation::unless(left.dirty + left.frozen == 0, "everything drains", || format!("{left:?}"))
}

/// `no change is left behind`: once all is in SQL, no change lies there that nothing will ever make clean.
pub(super) fn nothing_is_left_behind(journal: &Journal) -> Verdict {
    let left = journal.left();
    Violation::unless(left.entries == 0, "no change is left behind", || format!("{left:?}"))
}

/// `a batch is in effect once`.
pub(super) fn applied_once(database: &Database) -> Verdict {
    let batches = database.batches();
    let unique: BTreeSet<_> = batches.iter().collect();
    Violation::unless(unique.len() == batches.len(), "a batch is in effect once", || format!("{batches:?}"))
}

/// `sql never goes backwards`: the commits of each key are in the order in which their changes were accepted.
fn never_backwards(journal: &Journal, database: &Database) -> Verdict {
    let commits = database.history().commits;
    for (key, versions) in all_versions(journal, database) {
        let detail = || format!("key {key} was accepted as {versions:?}; {commits:?}");
        let reached = reached(&versions, commits.iter().filter(|commit| commit.place == (0, key)));
        Violation::unless(reached.is_some(), "sql never goes backwards", detail)?;
    }
    Ok(())
}

/// Which version SQL has at least after these commits; `None` if they are in no order in which the versions were accepted.
fn reached<'c>(versions: &[(u64, Option<u64>)], commits: impl Iterator<Item = &'c Commit>) -> Option<usize> {
    let mut at = 0;
    for commit in commits {
        at += 1 + versions[at + 1..].iter().position(|(_, value)| *value == commit.value)?;
    }
    Some(at)
}

/// `nothing accepted is lost`: SQL ends with the last change that was accepted of each key. Where the journal's server came back
/// without something, that holds of the keys that were changed since; of the others, SQL ends with nothing older than what the
/// server still held.
fn nothing_is_lost(journal: &Journal, database: &Database) -> Verdict {
    let letter = |(key, entry, reason): &(Bytes, Bytes, Reason)| {
        let (key, value) = value_of(key, entry)?;
        Some((key, (value, *reason)))
    };
    let dead: BTreeMap<u32, (Option<u64>, Reason)> = journal.dead().iter().filter_map(letter).collect();
    let (rows, loss) = (database.rows(), journal.loss());
    let mut held = BTreeMap::<u32, Vec<Option<u64>>>::new();
    for (key, value) in loss.iter().flat_map(|loss| &loss.kept).filter_map(|(key, entry)| value_of(key, entry)) {
        held.entry(key).or_default().push(value);
    }
    for (key, versions) in all_versions(journal, database) {
        let Some((since, last)) = versions.last().copied() else { continue };
        let committed = rows.get(&(0, key)).copied();
        if let Some((letter, reason)) = dead.get(&key) {
            if *reason == Reason::Ambiguous {
                let detail = || format!("{letter:?} of key {key} is called ambiguous");
                Violation::unless(loss.is_some(), "nothing accepted is lost", detail)?;
                continue;
            }
            Violation::unless(database.is_poison(*letter), "only what sql refuses is set aside", || {
                format!("{letter:?} of key {key}")
            })?;
            let newest = versions.iter().rposition(|(_, value)| value == letter);
            let outdated = place(&versions, committed) > newest;
            Violation::unless(!outdated, "a newer change in sql clears a dead letter", || {
                format!("{letter:?} of key {key}, {committed:?}")
            })?;
            if loss.is_none() {
                let detail =
                    || format!("key {key} was accepted as {versions:?}; {letter:?} was set aside, SQL has {committed:?}");
                Violation::unless(*letter == last, "nothing accepted is lost", detail)?;
            }
            continue;
        }
        let kept = loss.as_ref().filter(|loss| since < loss.at).map(|_| {
            let kept = held.get(&key).into_iter().flatten();
            kept.filter_map(|value| versions.iter().position(|(_, other)| other == value)).max().unwrap_or(0)
        });
        let holds = match kept {
            None => committed == last,
            Some(kept) => place(&versions, committed) >= Some(kept),
        };
        let detail = || format!("key {key} was accepted as {versions:?}, SQL has {committed:?}; {loss:?}");
        Violation::unless(holds, "nothing accepted is lost", detail)?;
    }
    Ok(())
}

/// Which of the versions has this value; the last, if there are several.
fn place(versions: &[(u64, Option<u64>)], value: Option<u64>) -> Option<usize> {
    versions.iter().rposition(|(_, other)| *other == value)
}

/// `an accept lands once`: it is never sent again behind the back of its caller.
pub(super) fn accepted_once(journal: &Journal) -> Verdict {
    let mut seen = BTreeSet::new();
    let twice = journal.accepted().into_iter().find(|landed| !seen.insert((landed.op, landed.key.clone())));
    Violation::unless(twice.is_none(), "an accept lands once", || format!("{twice:?}"))
}

/// `durable means in sql`: when a ticket says so, its change or a later one of its key is committed.
fn durable_means_in_sql(journal: &Journal, database: &Database, durable: &[Durable]) -> Verdict {
    for Durable { at, key, value } in durable {
        let versions = versions(journal, database, *key);
        let history = database.history();
        let commits = history.commits.iter().filter(|commit| commit.place == (0, *key) && commit.at < *at);
        let reached = commits.filter_map(|commit| place(&versions, commit.value)).max();
        let holds = reached.is_some() && reached >= place(&versions, *value);
        let detail = || format!("{value:?} of key {key} was called durable at {at}; {:?}", history.commits);
        Violation::unless(holds, "durable means in sql", detail)?;
    }
    Ok(())
}

/// `nothing stale at rest`: what is clean is what SQL holds.
fn clean_agrees_with_sql(journal: &Journal, database: &Database) -> Verdict {
    let rows = database.rows();
    for (key, entry) in journal.clean() {
        let Some((id, cached)) = value_of(&key, &entry) else { continue };
        let committed = rows.get(&(0, id)).copied();
        let detail = || format!("key {id} is clean as {cached:?}, SQL has {committed:?}");
        Violation::unless(cached == committed, "nothing stale at rest", detail)?;
    }
    Ok(())
}

/// `ok means accepted`, and `not applied means not accepted`.
pub(super) fn answers_hold(journal: &Journal, database: &Database) -> Verdict {
    let accepted = journal.accepted();
    for write in &database.history().writes {
        let landed = accepted.iter().any(|landed| landed.op == Some(write.op));
        match write.answer {
            Some((_, Answer::Committed)) => Violation::unless(landed, "ok means accepted", || format!("{write:?}"))?,
            Some((_, Answer::NotApplied)) => {
                Violation::unless(!landed, "not applied means not accepted", || format!("{write:?}"))?;
            }
            Some((_, Answer::Unknown)) | None => {}
        }
    }
    Ok(())
}

/// `nothing lands late`: nothing of a write is accepted after its caller was answered.
pub(super) fn nothing_lands_late(journal: &Journal, database: &Database) -> Verdict {
    let history = database.history();
    let answered =
        |op, at| history.writes.iter().any(|write| Some(write.op) == op && write.answer.is_some_and(|(end, _)| end < at));
    let late = journal.accepted().into_iter().find(|landed| answered(landed.op, landed.at));
    Violation::unless(late.is_none(), "nothing lands late", || format!("{:?}", late.map(|late| (late.at, late.op))))
}

/// `reads see accepted writes`: every answer is a value that was the last accepted one at some instant between the read's start
/// and its end.
fn reads_see_accepted_writes(journal: &Journal, database: &Database) -> Verdict {
    for Read { start, end, place: (_, key), value, hit } in &database.history().reads {
        let versions = versions(journal, database, *key);
        let current = versions.iter().enumerate().filter(|(n, (since, _))| {
            let until = versions.get(n + 1).map_or(u64::MAX, |next| next.0);
            *since <= *end && until >= *start
        });
        let values: Vec<Option<u64>> = current.map(|(_, (_, value))| *value).collect();
        let detail = || {
            format!("key {key} was read as {value:?} (hit: {hit}); between its start and its end only {values:?} was accepted")
        };
        Violation::unless(values.contains(value), "reads see accepted writes", detail)?;
    }
    Ok(())
}

/// `reads are never behind sql`: no answer is older than what SQL had when the read started, whatever the journal's server lost.
fn reads_see_sql(journal: &Journal, database: &Database) -> Verdict {
    let history = database.history();
    for Read { start, place: (_, key), value, hit, .. } in &history.reads {
        let versions = versions(journal, database, *key);
        let commits = history.commits.iter().filter(|commit| commit.place == (0, *key) && commit.at < *start);
        let least = reached(&versions, commits).unwrap_or(0);
        let detail = || format!("key {key} was read as {value:?} (hit: {hit}) from {start} on; {:?}", history.commits);
        Violation::unless(place(&versions, *value) >= Some(least), "reads are never behind sql", detail)?;
    }
    Ok(())
}
