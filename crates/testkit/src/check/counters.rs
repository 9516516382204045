//! What must hold of every run of counters, by name. A run ends with faults off and a drain.
//!
//! Every increment of a key is a hexadecimal digit of its own (see [`Likes`]), so a sum says how often it counts each of them, and
//! what is said here of sums is said of each increment.

use std::collections::BTreeMap;

use serde::Deserialize;
use writeway_core::cache::Bytes;
use writeway_core::codec;
use writeway_core::counts::from_journal;
use writeway_core::entry::VALUE_HEADER;
use writeway_core::journal::Reason;

use super::write_back::{self, Durable};
use crate::explorer::{Verdict, Violation, World};
use crate::sim::{Commit, Counts, Database, Journal, Likes, Loss, Read};

/// An increment that the journal accepted.
#[derive(Clone, Copy, Debug)]
struct Add {
    at: u64,
    by: u64,
}

/// Of each key, what was accepted.
type Adds = BTreeMap<u32, Vec<Add>>;

/// All that counters promise. What the journal's server lost may be missing; nothing else is, and nothing is counted twice.
///
/// # Errors
/// The first that does not hold.
pub fn counters(world: &World, journal: &Journal, counts: &Counts, durable: &[Durable]) -> Verdict {
    let database = counts.cells().database();
    world.note(|| format!("at rest, sql: {}", database.text()));
    write_back::everything_drains(journal)?;
    write_back::applied_once(database)?;
    write_back::answers_hold(journal, database)?;
    write_back::nothing_lands_late(journal, database)?;
    write_back::accepted_once(journal)?;
    let adds = adds(journal);
    counted_once(database, &adds)?;
    nothing_is_lost(journal, database, &adds)?;
    durable_means_in_sql(database, durable)?;
    bases_agree_with_sql(journal, database)?;
    reads_count_once(database, &adds)?;
    reads_see_sql(database, &adds)?;
    let (loss, counts) = (journal.loss(), world.counts());
    // What is set aside is missing. Of several losses only the last is known.
    if counts.parks == 0 && (loss.is_none() || counts.restarts == 1) {
        reads_miss_nothing(database, &adds, loss.map(|loss| loss.at))?;
    }
    write_back::nothing_is_left_behind(journal)
}

fn sum_of(value: &[u8]) -> Option<(u32, u64)> {
    let (key, likes) = from_journal::<Likes>(value)?;
    Some((codec::decode(&key)?, likes.likes.cast_unsigned()))
}

fn adds(journal: &Journal) -> Adds {
    let mut adds = Adds::new();
    for landed in journal.accepted() {
        if let Some((key, by)) = sum_of(&landed.value) {
            adds.entry(key).or_default().push(Add { at: landed.at, by });
        }
    }
    adds
}

/// How often a sum counts an increment.
fn times(sum: u64, by: u64) -> u64 {
    sum / by % 16
}

/// True if a sum is of these increments, each at most once.
fn is_once(sum: u64, adds: impl Iterator<Item = Add> + Clone) -> bool {
    adds.clone().all(|add| times(sum, add.by) <= 1) && adds.map(|add| times(sum, add.by) * add.by).sum::<u64>() == sum
}

/// `an increment is in effect once`: whatever the journal's server lost, SQL never has one twice, nor one that was not accepted.
fn counted_once(database: &Database, adds: &Adds) -> Verdict {
    for commit in database.history().commits {
        let (key, sum) = (commit.place.1, commit.value.unwrap_or(0));
        let adds = adds.get(&key).into_iter().flatten().copied();
        let holds = is_once(sum, adds.clone().filter(|add| add.at < commit.at));
        let detail = || format!("SQL came to have {sum:#x} under key {key}, of {:x?}", adds.collect::<Vec<_>>());
        Violation::unless(holds, "an increment is in effect once", detail)?;
    }
    Ok(())
}

/// `no increment is lost`: each is in SQL, or set aside, and not both. Where the journal's server came back without something, that
/// holds of what was accepted since, and of what it still held, unless that had been set aside in what it lost: letters are lost
/// with it. `only what sql refuses is set aside`.
fn nothing_is_lost(journal: &Journal, database: &Database, adds: &Adds) -> Verdict {
    let letter = |(_, value, reason): &(Bytes, Bytes, Reason)| sum_of(value).map(|(key, sum)| (key, (sum, *reason)));
    let letters: BTreeMap<u32, (u64, Reason)> = journal.dead().iter().filter_map(letter).collect();
    let (rows, loss) = (database.rows(), journal.loss());
    let kept: Vec<(u32, u64)> = loss.iter().flat_map(|loss| &loss.kept).filter_map(|(_, value)| sum_of(value)).collect();
    for (&key, adds) in adds {
        let committed = rows.get(&(0, key)).copied().unwrap_or(0);
        let (letter, reason) = letters.get(&key).copied().unwrap_or((0, Reason::Refused));
        let is_ambiguous = reason == Reason::Ambiguous;
        let may_be_aside = adds.iter().any(|add| database.is_poison(Some(add.by)));
        let refused = adds.iter().any(|add| times(letter, add.by) > 0 && database.is_poison(Some(add.by)));
        let detail = || format!("{letter:#x} of key {key}: {reason:?}");
        Violation::unless(letter == 0 || is_ambiguous || refused, "only what sql refuses is set aside", detail)?;
        let detail = || format!("{letter:#x} of key {key} is called ambiguous");
        Violation::unless(!is_ambiguous || loss.is_some(), "no increment is lost", detail)?;
        for add in adds {
            let there = (times(committed, add.by), times(letter, add.by));
            let was_kept = |loss: &Loss| {
                let is_in = |&(other, sum): &(u32, u64)| other == key && times(sum, add.by) > 0;
                loss.at < add.at || (!may_be_aside && kept.iter().any(is_in))
            };
            let detail = || {
                format!("{:#x} of key {key}: SQL has {committed:#x}, set aside is {letter:#x} ({reason:?}); {kept:x?}", add.by)
            };
            Violation::unless(is_ambiguous || there.0 + there.1 <= 1, "what is set aside is not in sql", detail)?;
            let holds = there.0 + there.1 > 0 || !loss.as_ref().is_none_or(was_kept);
            Violation::unless(holds, "no increment is lost", detail)?;
        }
    }
    Ok(())
}

/// `durable means in sql`: when a ticket says so, its increment is committed.
fn durable_means_in_sql(database: &Database, durable: &[Durable]) -> Verdict {
    let history = database.history();
    for Durable { at, key, value } in durable {
        let before = history.commits.iter().rfind(|commit| commit.place == (0, *key) && commit.at < *at);
        let committed = before.and_then(|commit| commit.value).unwrap_or(0);
        let detail = || format!("{value:x?} of key {key} was called durable at {at}; SQL had {committed:#x}");
        Violation::unless(value.is_none_or(|by| times(committed, by) == 1), "durable means in sql", detail)?;
    }
    Ok(())
}

/// `nothing stale at rest`: what is cached is what SQL holds.
fn bases_agree_with_sql(journal: &Journal, database: &Database) -> Verdict {
    #[derive(Deserialize)]
    struct Base {
        counts: Option<Likes>,
    }
    let rows = database.rows();
    for (key, entry) in journal.clean() {
        let id = std::str::from_utf8(&key).ok().and_then(|key| key.rsplit_once(':')?.1.parse().ok());
        let base = entry.get(VALUE_HEADER..).and_then(codec::decode::<Base>);
        let (Some(id), Some(Base { counts })) = (id, base) else { continue };
        let (cached, committed) = (counts.map(|counts| counts.likes.cast_unsigned()), rows.get(&(0, id)).copied());
        let detail = || format!("key {id} is cached as {cached:x?}, SQL has {committed:x?}");
        Violation::unless(cached == committed, "nothing stale at rest", detail)?;
    }
    Ok(())
}

/// `a read counts no increment twice`, nor one that was not accepted by its end, whatever the journal's server lost.
fn reads_count_once(database: &Database, adds: &Adds) -> Verdict {
    for read in database.history().reads {
        let adds = adds.get(&read.place.1).into_iter().flatten().copied();
        let holds = is_once(read.value.unwrap_or(0), adds.clone().filter(|add| add.at < read.end));
        Violation::unless(holds, "a read counts no increment twice", || told(&read, &adds.collect::<Vec<_>>()))?;
    }
    Ok(())
}

/// `a read misses no increment` that was accepted before it began. So what is read one after the other never decreases. Where the
/// journal's server came back without something, that holds of what was read by then, and of what SQL had by then.
fn reads_miss_nothing(database: &Database, adds: &Adds, lost_at: Option<u64>) -> Verdict {
    let history = database.history();
    for read in &history.reads {
        let commits: Vec<_> = history.commits.iter().filter(|commit| commit.place == read.place).collect();
        let adds: Vec<Add> = adds.get(&read.place.1).into_iter().flatten().copied().collect();
        let stays = |add: &Add, lost_at: u64| {
            let is_in = |commit: &&&Commit| times(commit.value.unwrap_or(0), add.by) > 0;
            read.end < lost_at || commits.iter().find(is_in).is_some_and(|commit| commit.at < lost_at)
        };
        let must = |add: &Add| add.at < read.start && lost_at.is_none_or(|lost_at| stays(add, lost_at));
        let counted = |add: &Add| !must(add) || times(read.value.unwrap_or(0), add.by) > 0;
        Violation::unless(adds.iter().all(counted), "a read misses no increment", || told(read, &adds))?;
    }
    Ok(())
}

/// `reads are never behind sql`: what SQL had when the read started is in every answer, whatever the journal's server lost.
fn reads_see_sql(database: &Database, adds: &Adds) -> Verdict {
    let history = database.history();
    for read in &history.reads {
        let before = history.commits.iter().rfind(|commit| commit.place == read.place && commit.at < read.start);
        let committed = before.and_then(|commit| commit.value).unwrap_or(0);
        let adds: Vec<Add> = adds.get(&read.place.1).into_iter().flatten().copied().collect();
        let counted = |add: &Add| times(committed, add.by) == 0 || times(read.value.unwrap_or(0), add.by) > 0;
        Violation::unless(adds.iter().all(counted), "reads are never behind sql", || told(read, &adds))?;
    }
    Ok(())
}

fn told(read: &Read, adds: &[Add]) -> String {
    let Read { start, end, place: (_, key), value, .. } = read;
    format!("key {key} was read as {value:x?} from {start} to {end}; accepted was {adds:x?}")
}
