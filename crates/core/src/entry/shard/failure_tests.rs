//! A batch that fails, and what was set aside.

use super::*;
use crate::journal::{Claimed, Park, Redriven, Split};

pub(super) fn on_with(shard: &mut ShardState, epoch: u64) {
    assert_eq!(shard.install(&server("a"), &install("a", epoch, 0)), Installed::Ready);
}

pub(super) fn split(shard: &mut ShardState, epoch: u64, batch: BatchId, keep: u64) -> Option<Split> {
    shard.split(&server("a"), epoch, batch, keep).expect("led")
}

pub(super) fn delay(shard: &mut ShardState, epoch: u64, batch: BatchId, pause: u64, now: u64) -> bool {
    shard.delay(&server("a"), epoch, batch, pause, true, now).expect("led")
}

pub(super) fn park(shard: &mut ShardState, epoch: u64, batch: BatchId, name: &str, reason: Reason) -> u64 {
    shard.park(&server("a"), epoch, batch, Park { keys: &[key(name)], reason, cause: "why" }, 7).expect("led")
}

pub(super) fn redrive(shard: &mut ShardState, name: &str, version: Version, bounds: Bounds) -> Redriven {
    shard.redrive(&server("a"), &[(key(name), version)], bounds, 0).expect("installed")[0]
}

fn claim_at(shard: &mut ShardState, epoch: u64, suspects_first: bool, now: u64) -> Option<Claimed> {
    shard.claim(&server("a"), epoch, 0, Freeze { suspects_first, ..ALL }, now).expect("led")
}

/// So many changes in one batch of the first epoch, by four digits.
fn batch_of(count: usize) -> (ShardState, BatchId) {
    let mut shard = shard();
    for n in 0..count {
        put(&mut shard, &format!("{n:04}"), "1", 0);
    }
    let id = claim(&mut shard, 1).expect("due").id;
    for from in (PAGE..count).step_by(PAGE) {
        shard.claim(&server("a"), 1, from as u64, ALL, 0).expect("led").expect("open");
    }
    assert_eq!((shard.frozen.len(), shard.dirty.len()), (count, 0));
    (shard, id)
}

/// One change of `k`, set aside, in the second epoch.
fn letter() -> (ShardState, Version) {
    let mut shard = shard();
    let version = put(&mut shard, "k", "1", 0);
    let id = claim(&mut shard, 1).expect("due").id;
    on_with(&mut shard, 2);
    assert_eq!(park(&mut shard, 2, id, "k", Reason::Refused), 0);
    assert!(shard.dead.contains_key(&key("k")) && shard.entries.is_empty());
    (shard, version)
}

#[test]
fn a_batch_is_split_in_a_later_epoch_and_gets_a_number() {
    let mut shard = shard();
    put(&mut shard, "a", "1", 3);
    put(&mut shard, "b", "1", 4);
    let id = claim(&mut shard, 1).expect("due").id;
    assert_eq!(split(&mut shard, 1, id, 1), None, "invariant violated: what may yet land is not split");
    on_with(&mut shard, 2);
    let halved = split(&mut shard, 2, id, 1).expect("open");
    assert_ne!(halved.id, id, "invariant violated: what is flushed in part has a number of its own");
    assert_eq!(
        halved,
        Split { id: BatchId { epoch: 1, batch: 2 }, more: false },
        "invariant violated: a part keeps the epoch of its freeze"
    );
    assert_eq!(shard.frozen.keys().collect::<Vec<_>>(), [&key("a")]);
    assert_eq!(shard.dirty, BTreeMap::from([(key("b"), 4)]), "due since then");
    assert_eq!(split(&mut shard, 2, id, 1), None, "there is no such batch any more");
    let tried = claim(&mut shard, 2).expect("open");
    assert_eq!((tried.id, tried.items.len(), tried.whole), (halved.id, 1, true));
    ack(&mut shard, 2, halved.id, &["a"]);
    assert_eq!(claim(&mut shard, 2).expect("due").id, BatchId { epoch: 2, batch: 3 });
}

#[test]
fn a_large_batch_is_split_page_by_page() {
    let (mut shard, id) = batch_of(3 * PAGE + 1);
    on_with(&mut shard, 2);
    let begun = split(&mut shard, 2, id, 300).expect("open");
    assert_eq!((begun.more, shard.frozen.len()), (true, 2 * PAGE + 1));
    let done = split(&mut shard, 2, begun.id, 5).expect("open");
    assert_eq!((done.id, done.more), (begun.id, false), "it goes on as it began");
    let first: Vec<Bytes> = (0..300).map(|n| key(&format!("{n:04}"))).collect();
    assert_eq!(shard.frozen.keys().cloned().collect::<Vec<_>>(), first, "invariant violated: the first changes stay");
    let status = shard.status(&server("a"), 0);
    assert_eq!((status.dirty, status.dirty_bytes, status.open_bytes), (301, 301, 300));
}

#[test]
fn a_split_does_not_go_on_after_a_claim() {
    let (mut shard, id) = batch_of(2 * PAGE + 2);
    on_with(&mut shard, 2);
    let begun = split(&mut shard, 2, id, 1).expect("open");
    assert!(begun.more);
    let tried = claim(&mut shard, 2).expect("open");
    assert_eq!(split(&mut shard, 2, tried.id, 1), None, "invariant violated: what may yet land is not split");
}

#[test]
fn a_newer_change_stands_for_what_a_split_returns() {
    let mut shard = shard();
    put(&mut shard, "a", "1", 0);
    let first = put(&mut shard, "b", "1", 0);
    let id = claim(&mut shard, 1).expect("due").id;
    put(&mut shard, "b", "2", 5);
    on_with(&mut shard, 2);
    split(&mut shard, 2, id, 1).expect("open");
    let Some(Held::Dirty(dirty)) = shard.entries.get(&key("b")) else { panic!("accepted") };
    assert_eq!(dirty.value, b"2", "invariant violated: a newer change stays");
    assert_eq!((dirty.first, shard.dirty[&key("b")]), (first, 0), "invariant violated: a barrier waits for the older change");
    assert_eq!(settled(&shard, "b", first), Settled::Pending, "invariant violated: durable means in sql");
}

#[test]
fn what_failed_alone_is_due_later_and_frozen_alone() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 5);
    let id = claim(&mut shard, 1).expect("due").id;
    on_with(&mut shard, 2);
    assert!(delay(&mut shard, 2, id, 100, 1_000));
    let status = shard.status(&server("a"), 1_000);
    assert_eq!((status.dirty, status.delayed, status.suspects, status.dirty_bytes), (1, 1, 1, 1));
    let early = claim_at(&mut shard, 2, true, 1_099);
    assert_eq!(early, None, "invariant violated: what failed alone is held back");
    put(&mut shard, "o", "1", 1_050);
    put(&mut shard, "p", "1", 1_100);
    let others = claim_at(&mut shard, 2, false, 1_100).expect("due");
    let keys: Vec<_> = others.items.iter().map(|item| &item.key).collect();
    assert_eq!(keys, [&key("o"), &key("p")], "invariant violated: what failed alone is frozen alone");
    ack(&mut shard, 2, others.id, &["o", "p"]);
    put(&mut shard, "q", "1", 1_101);
    let alone = claim_at(&mut shard, 2, true, 1_101).expect("due");
    let keys: Vec<_> = alone.items.iter().map(|item| &item.key).collect();
    assert_eq!(keys, [&key("k")], "invariant violated: what failed alone is frozen alone");
    assert_eq!((alone.strikes, alone.whole), (1, true));
    ack(&mut shard, 2, alone.id, &["k"]);
    assert_eq!(shard.status(&server("a"), 1_101).suspects, 0, "it is in sql");
}

#[test]
fn only_one_change_is_held_back_and_only_in_a_later_epoch() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 0);
    let id = claim(&mut shard, 1).expect("due").id;
    assert!(!delay(&mut shard, 1, id, 10, 0), "invariant violated: what may yet land is not held back");
    on_with(&mut shard, 2);
    assert!(delay(&mut shard, 2, id, 10, 0) && !delay(&mut shard, 2, id, 10, 0));
    let (mut two, id) = batch_of(2);
    on_with(&mut two, 2);
    assert!(!delay(&mut two, 2, id, 10, 0));
    assert_eq!(two.frozen.len(), 2);
}

#[test]
fn a_newer_change_waits_as_long_as_what_failed() {
    let mut shard = shard();
    let first = put(&mut shard, "k", "1", 0);
    let id = claim(&mut shard, 1).expect("due").id;
    put(&mut shard, "k", "2", 3);
    on_with(&mut shard, 2);
    assert!(delay(&mut shard, 2, id, 100, 10));
    let Some(Held::Dirty(dirty)) = shard.entries.get(&key("k")) else { panic!("accepted") };
    assert_eq!(dirty.value, b"2", "invariant violated: a newer change stays");
    assert_eq!(dirty.first, first);
    assert_eq!(claim_at(&mut shard, 2, true, 109), None, "invariant violated: what failed alone is held back");
    assert_eq!((shard.dirty[&key("k")], shard.queue.len()), (110, 1));
    assert_eq!(claim_at(&mut shard, 2, true, 110).map(|claimed| claimed.strikes), Some(1));
}

#[test]
fn what_was_refused_is_set_aside_in_a_later_epoch() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 0);
    let id = claim(&mut shard, 1).expect("due").id;
    park(&mut shard, 1, id, "k", Reason::Refused);
    assert!(shard.dead.is_empty(), "invariant violated: what may yet land is not set aside");
    on_with(&mut shard, 2);
    assert!(delay(&mut shard, 2, id, 0, 0));
    let id = claim(&mut shard, 2).expect("due").id;
    put(&mut shard, "k", "2", 0);
    on_with(&mut shard, 3);
    assert_eq!(park(&mut shard, 3, id, "k", Reason::Refused), 0);
    let dead = &shard.dead[&key("k")];
    assert_eq!((dead.tries, dead.at, &dead.change.value[..]), (2, 7, &b"1"[..]));
    assert_eq!(shard.get(&server("a"), &key("k"), 0).expect("installed"), Lookup::Dirty(b"2".to_vec()));
    let id = claim(&mut shard, 3).expect("due").id;
    assert_eq!(park(&mut shard, 3, id, "k", Reason::Damaged), 0);
    let dead = &shard.dead[&key("k")];
    assert_eq!((dead.tries, dead.reason, &dead.change.value[..]), (0, Reason::Damaged, &b"2"[..]), "damage has no other try");
    assert!(dead.change.first < dead.change.version, "one letter stands for both");
}

#[test]
fn what_is_in_sql_clears_an_older_letter() {
    let (mut shard, version) = letter();
    assert_eq!(settled(&shard, "k", version), Settled::Dead);
    put(&mut shard, "k", "2", 0);
    let id = claim(&mut shard, 2).expect("due").id;
    assert!(shard.dead.contains_key(&key("k")), "not yet");
    ack(&mut shard, 2, id, &["k"]);
    assert!(shard.dead.is_empty(), "invariant violated: a newer change in sql clears a dead letter");
}

#[test]
fn a_letter_is_driven_again_unless_something_newer_is_on_its_way() {
    let (mut shard, version) = letter();
    let other = Version { seq: version.seq + 1, ..version };
    assert_eq!(redrive(&mut shard, "k", other, WIDE), Redriven::Gone, "invariant violated: a letter is named by its version");
    let none = Bounds { keys: 0, ..WIDE };
    assert_eq!(redrive(&mut shard, "k", version, none), Redriven::Full(Bound::Keys));
    let short = Bounds { bytes: 0, ..WIDE };
    assert_eq!(redrive(&mut shard, "k", version, short), Redriven::Full(Bound::Bytes));
    let mut newer = shard.clone();
    for state in ["dirty", "frozen", "frozen, its entry removed"] {
        match state {
            "dirty" => drop(put(&mut newer, "k", "2", 0)),
            "frozen" => drop(claim(&mut newer, 2).expect("due")),
            _ => drop(newer.entries.remove(&key("k"))),
        }
        let driven = redrive(&mut newer, "k", version, WIDE);
        assert_eq!(driven, Redriven::Superseded, "invariant violated: a newer change stays: {state}");
    }
    let mut foreign = shard.clone();
    foreign.entries.insert(key("k"), Held::Foreign(b"?".to_vec()));
    assert_eq!(redrive(&mut foreign, "k", version, WIDE), Redriven::Foreign);

    assert_eq!(redrive(&mut shard, "k", version, WIDE), Redriven::Dirty);
    let Some(Held::Dirty(dirty)) = shard.entries.get(&key("k")) else { panic!("driven again") };
    assert!(dirty.version > version && dirty.first == version && shard.dead.is_empty());
    assert_eq!((settled(&shard, "k", version), shard.status(&server("a"), 0).dirty_bytes), (Settled::Pending, 1));
    assert_eq!(redrive(&mut shard, "k", version, WIDE), Redriven::Gone);
}

#[test]
fn only_the_letter_of_that_version_is_discarded() {
    let (mut shard, version) = letter();
    let other = Version { seq: version.seq + 1, ..version };
    let gone = shard.discard(&server("a"), &[(key("k"), other), (key("x"), version)]).expect("installed");
    assert_eq!((gone, shard.dead.len()), (0, 1), "invariant violated: a letter is named by its version");
    assert_eq!(shard.discard(&server("a"), &[(key("k"), version), (key("k"), version)]).expect("installed"), 1);
    assert!(shard.dead.is_empty());
}

#[test]
fn letters_come_in_the_order_of_their_versions_and_in_pages_that_fit() {
    let mut shard = shard();
    for seq in 1..=5 {
        let version = Version { epoch: 1, seq };
        let change = Dirty { version, first: version, value: vec![0; 1 << 20], ..Dirty::default() };
        let dead = Dead { change, reason: Reason::Damaged, cause: String::new(), tries: 0, at: 0 };
        shard.bury(&key(&format!("{}", 9 - seq)), dead);
    }
    let seqs = |letters: &[crate::journal::DeadLetter]| letters.iter().map(|letter| letter.version.seq).collect::<Vec<_>>();
    let page = shard.dead_letters(None);
    assert_eq!(seqs(&page), [1, 2, 3, 4], "no further one after four mebibytes");
    let last = page.last().map(|letter| (letter.version, letter.key.clone()));
    assert_eq!(seqs(&shard.dead_letters(last.as_ref())), [5]);
}

#[test]
fn a_recovery_drops_or_marks_letters() {
    let (mut shard, _) = letter();
    assert!(matches!(shard.install(&server("b"), &install("b", 3, 9)), Installed::Recover(_)));
    shard.supersede(&server("b"), 3, &[key("k")], Some("who knows"), 0).expect("recovering");
    assert_eq!(shard.dead[&key("k")].reason, Reason::Ambiguous);
    shard.supersede(&server("b"), 3, &[key("k")], None, 0).expect("recovering");
    assert!(shard.dead.is_empty(), "invariant violated: a newer change in sql clears a dead letter");
}

#[test]
fn a_server_that_comes_back_recovers_and_says_what_it_knew() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 0);
    let back = |epoch, diverged| Install { diverged, ..install("a", epoch, 0) };
    assert_eq!(
        shard.install(&server("a"), &back(4, Some(3))),
        Installed::Refused,
        "invariant violated: who opened it meanwhile is not taken for another server"
    );
    for (epoch, diverged) in [(5, Some(1)), (6, None)] {
        let Installed::Recover(found) = shard.install(&server("a"), &back(epoch, diverged)) else {
            panic!("invariant violated: a server that comes back is compared");
        };
        assert_eq!(found.epoch, 1, "invariant violated: what another server flushed is later");
        assert_eq!(shard.status(&server("a"), 0).known, 1);
    }
    shard.resume(&server("a"), &back(6, None)).expect("recovering");
    assert_eq!((shard.status(&server("a"), 0).known, shard.dirty.len()), (6, 1));
}

#[test]
fn a_failure_that_is_not_its_own_leaves_a_suspect_and_no_strike_more() {
    let (mut shard, first) = batch_of(1);
    on_with(&mut shard, 2);
    assert_eq!(shard.delay(&server("a"), 2, first, 5, false, 0).ok(), Some(true));
    assert_eq!(shard.strikes.values().collect::<Vec<_>>(), [&1], "it is tried alone");
    let second = claim_at(&mut shard, 2, true, 5).expect("due").id;
    on_with(&mut shard, 3);
    assert_eq!(shard.delay(&server("a"), 3, second, 5, false, 5).ok(), Some(true));
    assert_eq!(shard.strikes.values().collect::<Vec<_>>(), [&1], "invariant violated: what is the server's fault is not counted");
}

#[test]
fn a_try_that_ended_is_no_death() {
    let (mut shard, id) = batch_of(2);
    for tries in 1..=2 {
        assert_eq!(claim(&mut shard, 1).expect("open").tries, tries);
    }
    shard.ended(&server("a"), 1, BatchId { batch: 9, ..id }).expect("led");
    assert_eq!(claim(&mut shard, 1).expect("open").tries, 3, "another batch's");
    shard.ended(&server("a"), 1, id).expect("led");
    assert_eq!(claim(&mut shard, 1).expect("open").tries, 1, "invariant violated: a try that ended is no death");
}
