//! Increments: summed up when they are accepted, moved when they are frozen, never outdated.

use super::failure::{delay, on_with, park, redrive, split};
use super::*;
use crate::entry::increments::{Increments, base_of};
use crate::journal::{Count, Redriven};

const KEY: &str = "{c:0}:e:1";
const OTHER: &str = "{c:0}:e:2";

fn by(fields: &[(&str, i64)]) -> Bytes {
    let fields = fields.iter().map(|(name, by)| (name.as_bytes().to_vec(), *by)).collect();
    Increments { key: b"1".to_vec(), fields }.to_bytes()
}

fn n(by_n: i64) -> Bytes {
    by(&[("n", by_n)])
}

fn accept(shard: &mut ShardState, name: &str, schema: u32, value: Bytes) -> Accepted {
    shard.accept(&server("a"), &[Accept { key: key(name), schema, value }], WIDE, u64::MAX, 0).expect("installed")
}

fn add(shard: &mut ShardState, name: &str, by_n: i64) -> Version {
    match accept(shard, name, 0, n(by_n)) {
        Accepted::As { versions, .. } => versions[0],
        other => panic!("{other:?}"),
    }
}

fn count(shard: &mut ShardState, name: &str) -> Count {
    shard.count(&server("a"), &[key(name)], 0).expect("installed").counts.remove(0)
}

fn pending(shard: &mut ShardState, name: &str) -> Option<Bytes> {
    count(shard, name).pending
}

fn dirty(shard: &ShardState, name: &str) -> Dirty {
    match shard.entries.get(&key(name)) {
        Some(Held::Dirty(dirty)) => dirty.clone(),
        other => panic!("{other:?}"),
    }
}

fn clean(entry: &[u8]) -> Option<(Bytes, Duration)> {
    Some((crate::entry::Seal::new::<u8>(0, 64).seal(b"k", Some(entry)).expect("short"), Duration::from_secs(1)))
}

/// One increment that was set aside, in the second epoch.
fn letter(by_n: i64) -> (ShardState, Version) {
    let mut shard = shard();
    let version = add(&mut shard, KEY, by_n);
    let id = claim(&mut shard, 1).expect("due").id;
    on_with(&mut shard, 2);
    assert_eq!(park(&mut shard, 2, id, KEY, Reason::Refused), 0);
    (shard, version)
}

#[test]
fn what_is_accepted_is_added_to_what_is_in_no_batch() {
    let mut shard = shard();
    let first = add(&mut shard, KEY, 1);
    assert!(matches!(accept(&mut shard, KEY, 3, by(&[("n", 2), ("m", 5)])), Accepted::As { .. }));
    let last = add(&mut shard, KEY, 4);
    let Dirty { schema, first: since, version, value } = dirty(&shard, KEY);
    assert_eq!(value, by(&[("n", 7), ("m", 5)]), "invariant violated: increments are added up");
    assert_eq!((since, version), (first, last), "invariant violated: a sum stands for all that are in it");
    assert_eq!(schema, 3, "invariant violated: who flushes a sum knows all of its fields");
    let status = shard.status(&server("a"), 0);
    assert_eq!((status.dirty, status.dirty_bytes), (1, value.len() as u64));
}

#[test]
fn a_sum_that_does_not_fit_changes_nothing() {
    let mut shard = shard();
    add(&mut shard, KEY, i64::MAX);
    let before = shard.clone();
    let accepts = [OTHER, KEY].map(|name| Accept { key: key(name), schema: 0, value: n(1) });
    let accepted = shard.accept(&server("a"), &accepts, WIDE, u64::MAX, 0).expect("installed");
    assert_eq!(accepted, Accepted::Unfit, "invariant violated: a sum never wraps");
    let row = accept(&mut shard, KEY, 0, b"a row".to_vec());
    assert_eq!(row, Accepted::Unfit, "invariant violated: no row replaces increments");
    assert_eq!(shard, before, "invariant violated: what is refused is not accepted in part");
}

#[test]
fn what_is_frozen_is_moved_and_what_comes_later_is_for_the_next_batch() {
    let mut shard = shard();
    let first = add(&mut shard, KEY, 1);
    let batch = claim(&mut shard, 1).expect("due");
    let alone = Count { base: None, frozen: Some(n(1)), pending: None };
    assert_eq!(count(&mut shard, KEY), alone, "invariant violated: an increment is in one place");
    let second = add(&mut shard, KEY, 2);
    let both = Count { base: None, frozen: Some(n(1)), pending: Some(n(2)) };
    assert_eq!(count(&mut shard, KEY), both, "invariant violated: an increment is in one place");
    assert_eq!(claim(&mut shard, 1).expect("open").items, batch.items, "the open batch stays as it is");
    assert_eq!((settled(&shard, KEY, first), settled(&shard, KEY, second)), (Settled::Pending, Settled::Pending));
    ack(&mut shard, 1, batch.id, &[KEY]);
    assert_eq!((settled(&shard, KEY, first), settled(&shard, KEY, second)), (Settled::Durable, Settled::Pending));
    assert_eq!(claim(&mut shard, 1).expect("due").items[0].value, n(2));
}

#[test]
fn an_acknowledge_sets_the_base_and_says_how_old_a_row_may_be() {
    let mut shard = shard();
    let base = base_of(&key(KEY));
    let acknowledge = |shard: &mut ShardState, clean| {
        add(shard, KEY, 1);
        let id = claim(shard, 1).expect("due").id;
        shard.acknowledge(&server("a"), 1, id, &[Ack { key: key(KEY), clean }], 0).expect("led");
        let counted = shard.count(&server("a"), &[key(KEY)], 0).expect("installed");
        assert_eq!(
            (counted.acked, counted.open),
            (id.batch, 0),
            "invariant violated: a row from before a batch is too old after it"
        );
        counted.counts[0].base.clone()
    };
    let row = clean(b"1");
    assert_eq!(acknowledge(&mut shard, row.clone()), row.map(|(entry, _)| entry));
    assert_eq!(acknowledge(&mut shard, None), None, "invariant violated: no base is older than the last batch of its counter");
    for row in [None, clean(b"3")] {
        let id = Id::from(9);
        let lease = shard.lease(&server("a"), &base, id, false, 0, 100, 100).expect("installed");
        assert_eq!(lease, Lease::Granted(id));
        let now = acknowledge(&mut shard, row);
        let (stale, _) = clean(b"0").expect("sealed");
        shard.fill(&server("a"), &base, id, &stale, 100, 0).expect("installed");
        let filled = count(&mut shard, KEY).base;
        assert_eq!(filled, now, "invariant violated: an acknowledge breaks a lease");
    }
}

#[test]
fn a_split_and_a_delay_add_what_was_frozen_to_what_came_since() {
    let mut shard = shard();
    let first = add(&mut shard, KEY, 1);
    assert!(matches!(accept(&mut shard, OTHER, 0, n(10)), Accepted::As { .. }));
    let id = claim(&mut shard, 1).expect("due").id;
    add(&mut shard, OTHER, 20);
    add(&mut shard, KEY, 2);
    on_with(&mut shard, 2);
    let id = split(&mut shard, 2, id, 1).expect("open").id;
    assert_eq!(pending(&mut shard, OTHER), Some(n(30)), "invariant violated: what returns is added to what came since");
    on_with(&mut shard, 3);
    assert!(delay(&mut shard, 3, id, 100, 0));
    let Dirty { value, first: since, .. } = dirty(&shard, KEY);
    assert_eq!((value, since), (n(3), first), "invariant violated: what returns is added to what came since");
    let status = shard.status(&server("a"), 0);
    assert_eq!((status.dirty, status.dirty_bytes, status.open), (2, (n(3).len() + n(30).len()) as u64, 0));
}

#[test]
fn what_returns_alone_is_pending_again() {
    let mut shard = shard();
    add(&mut shard, KEY, 1);
    let id = claim(&mut shard, 1).expect("due").id;
    on_with(&mut shard, 2);
    assert!(delay(&mut shard, 2, id, 0, 0));
    assert_eq!(count(&mut shard, KEY), Count { base: None, frozen: None, pending: Some(n(1)) });
}

#[test]
fn what_returns_and_is_no_sum_any_more_is_kept_as_damage() {
    let mut shard = shard();
    add(&mut shard, KEY, i64::MAX);
    let id = claim(&mut shard, 1).expect("due").id;
    add(&mut shard, KEY, 1);
    on_with(&mut shard, 2);
    assert!(delay(&mut shard, 2, id, 0, 0));
    let both = [n(i64::MAX), n(1)].concat();
    assert_eq!(pending(&mut shard, KEY), Some(both), "invariant violated: what was accepted is not thrown away");
    assert_eq!(accept(&mut shard, KEY, 0, n(1)), Accepted::Unfit);
}

#[test]
fn a_released_batch_is_added_to_what_came_since() {
    let mut shard = shard();
    add(&mut shard, KEY, 1);
    let id = claim(&mut shard, 1).expect("due").id;
    add(&mut shard, KEY, 2);
    assert!(matches!(shard.install(&server("b"), &install("b", 2, 5)), Installed::Recover(_)));
    assert_eq!(shard.release(&server("b"), 2, id, Release::Dissolve).expect("recovering"), 0);
    shard.resume(&server("b"), &install("b", 2, 5)).expect("recovering");
    let counted = shard.count(&server("b"), &[key(KEY)], 0).expect("installed");
    assert_eq!(counted.counts[0].pending, Some(n(3)), "invariant violated: what returns is added to what came since");
    assert_eq!(counted.acked, 5, "invariant violated: a row from before a restore is too old after it");
}

#[test]
fn a_base_of_another_incarnation_is_none() {
    let mut shard = shard();
    add(&mut shard, KEY, 1);
    let id = claim(&mut shard, 1).expect("due").id;
    shard.acknowledge(&server("a"), 1, id, &[Ack { key: key(KEY), clean: clean(b"1") }], 0).expect("led");
    assert!(count(&mut shard, KEY).base.is_some());
    assert!(matches!(shard.install(&server("b"), &install("b", 2, 1)), Installed::Recover(_)));
    let meanwhile = shard.count(&server("b"), &[key(KEY)], 0).map_err(|e| e.kind());
    assert!(meanwhile.is_err(), "invariant violated: nothing is counted while a server is compared");
    shard.resume(&server("b"), &install("b", 2, 1)).expect("recovering");
    let counted = shard.count(&server("b"), &[key(KEY)], 0).expect("installed");
    assert_eq!(counted.counts[0].base, None, "invariant violated: no base is of another incarnation");
}

#[test]
fn a_refused_counter_that_has_a_letter_waits() {
    let (mut shard, version) = letter(1);
    assert_eq!(settled(&shard, KEY, version), Settled::Dead);
    add(&mut shard, KEY, 2);
    let id = claim(&mut shard, 2).expect("due").id;
    on_with(&mut shard, 3);
    assert_eq!(
        park(&mut shard, 3, id, KEY, Reason::Refused),
        1,
        "invariant violated: one letter says what became of all it holds"
    );
    assert_eq!(shard.dead[&key(KEY)].change.value, n(1));
    assert_eq!(count(&mut shard, KEY).frozen, Some(n(2)));
    assert_eq!(ack(&mut shard, 3, id, &[KEY]), 0);
    assert_eq!(shard.dead[&key(KEY)].change.value, n(1), "invariant violated: no letter of increments is outdated");
}

#[test]
fn damage_joins_a_letter() {
    let (mut shard, _) = letter(1);
    let last = add(&mut shard, KEY, 2);
    let id = claim(&mut shard, 2).expect("due").id;
    assert_eq!(park(&mut shard, 2, id, KEY, Reason::Damaged), 0);
    let Dead { change, reason, .. } = &shard.dead[&key(KEY)];
    assert_eq!((&change.value, change.version, *reason), (&n(3), last, Reason::Damaged));
}

#[test]
fn a_letter_that_is_driven_again_is_added() {
    let (mut shard, version) = letter(1);
    add(&mut shard, KEY, 2);
    claim(&mut shard, 2).expect("due");
    let last = add(&mut shard, KEY, 4);
    assert_eq!(redrive(&mut shard, KEY, version, WIDE), Redriven::Dirty, "invariant violated: nothing supersedes increments");
    let Dirty { value, first, version: now, .. } = dirty(&shard, KEY);
    assert_eq!(value, n(5), "invariant violated: increments are added up");
    assert!(first == version && now > last && shard.dead.is_empty());
    assert_eq!(settled(&shard, KEY, version), Settled::Pending);
    assert_eq!(redrive(&mut shard, KEY, version, WIDE), Redriven::Gone, "invariant violated: a letter is driven again once");
}

#[test]
fn a_letter_whose_sum_does_not_fit_stays() {
    let (mut shard, version) = letter(i64::MAX);
    add(&mut shard, KEY, 1);
    let before = shard.clone();
    assert_eq!(redrive(&mut shard, KEY, version, WIDE), Redriven::Unfit);
    assert_eq!(shard, before);
}

#[test]
fn a_recovery_marks_a_letter_of_a_counter_that_was_flushed_since() {
    let (mut shard, _) = letter(1);
    add(&mut shard, KEY, 2);
    assert!(matches!(shard.install(&server("b"), &install("b", 3, 9)), Installed::Recover(_)));
    shard.supersede(&server("b"), 3, &[key(KEY)], None, 0).expect("recovering");
    let Dead { change, reason, .. } = &shard.dead[&key(KEY)];
    assert_eq!(change.value, n(1), "invariant violated: no letter of increments is outdated");
    assert_eq!(*reason, Reason::Ambiguous, "invariant violated: what may have been driven again is called ambiguous");
    assert!(shard.dirty.is_empty() && shard.entries.is_empty());
}

#[test]
fn a_recovery_that_cannot_tell_sets_all_of_it_aside() {
    let (mut shard, _) = letter(1);
    let last = add(&mut shard, KEY, 2);
    assert!(matches!(shard.install(&server("b"), &install("b", 3, 9)), Installed::Recover(_)));
    shard.supersede(&server("b"), 3, &[key(KEY)], Some("who knows"), 0).expect("recovering");
    let Dead { change, reason, .. } = &shard.dead[&key(KEY)];
    assert_eq!((&change.value, change.version), (&n(3), last), "invariant violated: what was accepted is not thrown away");
    assert_eq!(*reason, Reason::Ambiguous);
}
