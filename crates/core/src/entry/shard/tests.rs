#[path = "count_tests.rs"]
mod count;
#[path = "failure_tests.rs"]
mod failure;

use std::time::Duration;

use super::*;
use crate::entry::state::Slot;
use crate::error::Kind;
use crate::journal::{Ack, BatchId, Freeze, Install, Installed, PAGE, Release};

const ALL: Freeze = Freeze { schema: 0, max_keys: 1_000, max_bytes: 1 << 20, suspects_first: false };
const WIDE: Bounds = Bounds { keys: 1_000, bytes: 1 << 20, age: Duration::from_secs(60) };

fn server(name: &str) -> Identity {
    Identity(name.into())
}

fn key(name: &str) -> Bytes {
    name.into()
}

fn change(name: &str, value: &str) -> Accept {
    Accept { key: key(name), schema: 0, value: value.into() }
}

fn install(on: &str, epoch: u64, batch: u64) -> Install {
    Install { identity: server(on), epoch, batch, diverged: None }
}

/// Installed on server `a` in epoch 1.
fn shard() -> ShardState {
    let mut shard = ShardState::default();
    assert!(matches!(shard.install(&server("a"), &install("a", 1, 0)), Installed::Recover(found) if found == Default::default()));
    shard.resume(&server("a"), &install("a", 1, 0)).expect("it recovers");
    shard
}

fn put(shard: &mut ShardState, name: &str, value: &str, now: u64) -> Version {
    match shard.accept(&server("a"), &[change(name, value)], WIDE, u64::MAX, now) {
        Ok(Accepted::As { versions, .. }) => versions[0],
        other => panic!("{other:?}"),
    }
}

fn claim(shard: &mut ShardState, epoch: u64) -> Option<crate::journal::Claimed> {
    shard.claim(&server("a"), epoch, 0, ALL, 0).expect("led")
}

fn ack(shard: &mut ShardState, epoch: u64, batch: BatchId, keys: &[&str]) -> u64 {
    let acks: Vec<Ack> = keys.iter().map(|name| Ack { key: key(name), clean: None }).collect();
    shard.acknowledge(&server("a"), epoch, batch, &acks, 0).expect("led")
}

fn settled(shard: &ShardState, name: &str, version: Version) -> Settled {
    shard.settled(&server("a"), 1, &[(key(name), version)]).expect("installed")[0]
}

#[test]
fn a_put_is_dirty_then_frozen_then_clean() {
    let mut shard = shard();
    let first = put(&mut shard, "k", "1", 5);
    assert_eq!(shard.get(&server("a"), &key("k"), 5).expect("installed"), Lookup::Dirty(b"1".to_vec()));
    let batch = claim(&mut shard, 1).expect("due");
    assert_eq!((batch.id, batch.items.len(), batch.whole), (BatchId { epoch: 1, batch: 1 }, 1, true));
    let second = put(&mut shard, "k", "2", 6);
    assert_eq!(batch.items[0].value, b"1", "a copy");
    assert_eq!(claim(&mut shard, 1).expect("open").items, batch.items, "the open batch stays as it is");
    assert_eq!((settled(&shard, "k", first), settled(&shard, "k", second)), (Settled::Pending, Settled::Pending));
    assert_eq!(ack(&mut shard, 1, batch.id, &["k"]), 0);
    assert_eq!((settled(&shard, "k", first), settled(&shard, "k", second)), (Settled::Durable, Settled::Pending));
    assert_eq!(shard.get(&server("a"), &key("k"), 6).expect("installed"), Lookup::Dirty(b"2".to_vec()), "newer than the batch");
    let batch = claim(&mut shard, 1).expect("due");
    let entry = crate::entry::Seal::new::<u8>(0, 64).seal(b"k", Some(b"2")).expect("short");
    let acks = [Ack { key: key("k"), clean: Some((entry.clone(), Duration::from_secs(1))) }];
    shard.acknowledge(&server("a"), 1, batch.id, &acks, 0).expect("led");
    assert_eq!(shard.get(&server("a"), &key("k"), 999).expect("installed"), Lookup::Hit(entry));
    assert_eq!(shard.get(&server("a"), &key("k"), 1_000).expect("installed"), Lookup::Miss);
    let status = shard.status(&server("a"), 0);
    assert_eq!((status.dirty, status.dirty_bytes, status.open, status.open_bytes), (0, 0, 0, 0));
}

#[test]
fn a_key_written_without_pause_settles() {
    let mut shard = shard();
    let first = put(&mut shard, "k", "1", 0);
    let batch = claim(&mut shard, 1).expect("due");
    put(&mut shard, "k", "2", 0);
    ack(&mut shard, 1, batch.id, &["k"]);
    assert_eq!(settled(&shard, "k", first), Settled::Durable, "although the key is dirty");
}

#[test]
fn bounds_hold_for_the_dirty_set_and_the_open_batch_together() {
    let mut shard = shard();
    let tight = Bounds { keys: 2, bytes: 5, age: Duration::from_millis(10) };
    let accept = |shard: &mut ShardState, name: &str, value: &str, now| {
        shard.accept(&server("a"), &[change(name, value)], tight, 100, now).expect("installed")
    };
    assert!(matches!(accept(&mut shard, "a", "1", 0), Accepted::As { dirty: 1, dirty_bytes: 1, .. }));
    claim(&mut shard, 1);
    assert!(matches!(accept(&mut shard, "b", "22", 0), Accepted::As { .. }));
    assert_eq!(accept(&mut shard, "c", "3", 0), Accepted::Full(Bound::Keys));
    assert!(matches!(accept(&mut shard, "b", "2222", 0), Accepted::As { .. }), "coalesced");
    assert_eq!(accept(&mut shard, "b", "22222", 0), Accepted::Full(Bound::Bytes));
    assert!(matches!(accept(&mut shard, "b", "2", 10), Accepted::As { .. }));
    assert!(matches!(accept(&mut shard, "b", "2", 11), Accepted::As { .. }), "what replaces a dirty change is no more work");
    assert_eq!(accept(&mut shard, "c", "2", 11), Accepted::Full(Bound::Age));
    assert_eq!(accept(&mut shard, "b", "2", 101), Accepted::Late);
}

#[test]
fn another_epoch_and_another_server_are_fenced() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 0);
    let batch = claim(&mut shard, 1).expect("due");
    let older = shard.install(&server("a"), &install("a", 1, 0));
    assert_eq!(older, Installed::Refused, "invariant violated: only a newer epoch is installed");
    let elsewhere = shard.install(&server("b"), &install("a", 9, 0));
    assert_eq!(elsewhere, Installed::Refused, "invariant violated: an epoch is installed where it was meant to be or not at all");
    assert_eq!(shard.install(&server("a"), &install("a", 2, 0)), Installed::Ready);
    for (answer, whose) in [
        (shard.claim(&server("a"), 1, 0, ALL, 0).map(drop), "an earlier epoch"),
        (shard.acknowledge(&server("a"), 1, batch.id, &[], 0).map(drop), "an earlier epoch"),
        (shard.get(&server("b"), &key("k"), 0).map(drop), "another server"),
        (shard.accept(&server("b"), &[change("k", "2")], WIDE, 9, 0).map(drop), "another server"),
    ] {
        assert_eq!(answer.map_err(|e| e.kind()), Err(Kind::Fenced), "invariant violated: {whose} is fenced");
    }
    let again = claim(&mut shard, 2).expect("open");
    assert_eq!((again.id, &again.items), (batch.id, &batch.items), "the same batch, the same number");
    let other = BatchId { epoch: 2, batch: 1 };
    ack(&mut shard, 2, other, &["k"]);
    assert_eq!(shard.frozen.len(), 1, "invariant violated: only the batch of that name is acknowledged");
}

#[test]
fn a_restored_server_is_compared_with_the_log() {
    let (all, none) = ([key("a"), key("b")], [key("c")]);
    for how in [Release::Drop(&all), Release::Drop(&none), Release::Dissolve] {
        let mut shard = shard();
        let first = put(&mut shard, "a", "1", 0);
        put(&mut shard, "b", "1", 0);
        let batch = claim(&mut shard, 1).expect("due");
        put(&mut shard, "b", "2", 0);
        put(&mut shard, "c", "1", 0);
        let then = install("b", 2, 7);
        let Installed::Recover(found) = shard.install(&server("b"), &then) else { panic!("another server") };
        assert_eq!((found.batch, found.open, found.dirty), (1, Some(batch.id), 2));
        assert!(shard.get(&server("b"), &key("a"), 0).is_err(), "nothing is read meanwhile");
        let in_sql = how == Release::Drop(&all);
        let left = shard.release(&server("b"), 2, batch.id, how).expect("recovering");
        assert_eq!(left, if how == Release::Drop(&none) { 2 } else { 0 }, "only what is named is dropped");
        shard.release(&server("b"), 2, batch.id, Release::Dissolve).expect("recovering");
        assert_eq!(shard.dirty_keys(&server("b"), 2, 0).expect("recovering").contains(&key("a")), !in_sql);
        shard.supersede(&server("b"), 2, &[key("c")], Some("ambiguous"), 0).expect("recovering");
        shard.resume(&server("b"), &then).expect("recovering");
        let meta = shard.meta.clone().expect("installed");
        assert_eq!((meta.batch, meta.inc, meta.epoch, &meta.identity), (7, 2, 2, &server("b")));
        assert_eq!(shard.dead_letters(None).len(), 1);
        assert_eq!(shard.get(&server("b"), &key("b"), 0).expect("installed"), Lookup::Dirty(b"2".to_vec()));
        let of = |name: &str| shard.settled(&server("b"), 1, &[(key(name), first)]).expect("installed")[0];
        let expected = if in_sql { Settled::Unknown } else { Settled::Pending };
        assert_eq!(of("a"), expected);
    }
}

#[test]
fn what_is_clean_in_another_incarnation_is_a_miss_and_cannot_be_filled() {
    let mut shard = shard();
    let id = Id([1; 16]);
    shard.lease(&server("a"), &key("k"), id, false, 0, 10, 100).expect("installed");
    let then = install("b", 2, 0);
    shard.install(&server("b"), &then);
    shard.resume(&server("b"), &then).expect("recovering");
    shard.fill(&server("b"), &key("k"), id, b"old", 100, 0).expect("installed");
    assert_eq!(shard.get(&server("b"), &key("k"), 0).expect("installed"), Lookup::Miss);
    let next = Id([2; 16]);
    assert_eq!(shard.lease(&server("b"), &key("k"), next, false, 0, 10, 100).expect("installed"), Lease::Granted(next));
}

#[test]
fn a_batch_is_frozen_page_by_page() {
    let mut shard = shard();
    for n in 0..PAGE * 2 + 1 {
        put(&mut shard, &format!("{n:04}"), "1", 0);
    }
    let first = claim(&mut shard, 1).expect("due");
    assert_eq!((first.items.len(), first.whole), (PAGE, false));
    let pages: Vec<_> =
        [PAGE, 2 * PAGE].map(|from| shard.claim(&server("a"), 1, from as u64, ALL, 0).expect("led").expect("open")).into();
    assert_eq!((pages[0].items.len(), pages[0].whole, pages[1].items.len(), pages[1].whole), (PAGE, false, 1, true));
    let few = Freeze { max_keys: 5, ..ALL };
    ack(&mut shard, 1, first.id, &[]);
    assert_eq!(shard.frozen.len(), PAGE * 2 + 1);
    let mut other = self::shard();
    for n in 0..7 {
        put(&mut other, &format!("{n:04}"), "1", 0);
    }
    let page = other.claim(&server("a"), 1, 0, few, 0).expect("led").expect("due");
    assert_eq!((page.items.len(), page.whole, other.dirty.len()), (5, true, 2));
}

#[test]
fn a_batch_that_lost_some_of_its_changes_is_read_to_its_end() {
    let mut shard = shard();
    let names: Vec<String> = (0..PAGE * 2 + 50).map(|n| format!("{n:04}")).collect();
    for name in &names {
        put(&mut shard, name, "1", 0);
    }
    let mut page = claim(&mut shard, 1).expect("due");
    for from in [PAGE, 2 * PAGE] {
        page = shard.claim(&server("a"), 1, from as u64, ALL, 0).expect("led").expect("open");
    }
    assert!(page.whole);
    // Its flusher dies while it acknowledges, and did not begin at the beginning.
    let done: Vec<&str> = names[10..PAGE].iter().map(String::as_str).collect();
    ack(&mut shard, 1, page.id, &done);
    let (mut found, mut whole) = (Vec::new(), false);
    for _ in 0..4 {
        if !whole {
            let page = shard.claim(&server("a"), 1, found.len() as u64, ALL, 0).expect("led").expect("open");
            whole = page.whole;
            found.extend(page.items.into_iter().map(|item| item.key));
        }
    }
    let left: Vec<_> = names[..10].iter().chain(&names[PAGE..]).map(|name| key(name)).collect();
    assert_eq!((found, whole), (left, true), "invariant violated: each change of a batch is claimed once");
}

#[test]
fn what_was_frozen_in_what_was_lost_is_not_flushed_again() {
    let mut shard = shard();
    for n in 0..PAGE * 2 + 1 {
        put(&mut shard, &format!("{n:04}"), "1", 0);
    }
    let batch = claim(&mut shard, 1).expect("due").id;
    shard.claim(&server("a"), 1, PAGE as u64, ALL, 0).expect("led").expect("open");
    let newer = put(&mut shard, "0000", "2", 0);
    // Here the server's file ends: the last key was frozen, too, and all are in SQL.
    let then = install("b", 2, batch.batch);
    let Installed::Recover(found) = shard.install(&server("b"), &then) else { panic!("another server") };
    assert_eq!((found.open, found.whole), (Some(batch), false));
    let last = key(&format!("{:04}", PAGE * 2));
    shard.supersede(&server("b"), 2, &[key("0000"), last], None, 0).expect("recovering");
    assert_eq!(shard.dirty.keys().collect::<Vec<_>>(), [&key("0000")], "invariant violated: sql never goes backwards");

    // Cut short, and begun again: a key that was released must not be taken for one that was lost.
    let page: Vec<Bytes> = (0..PAGE).map(|n| key(&format!("{n:04}"))).collect();
    assert_eq!(shard.release(&server("b"), 2, batch, Release::Drop(&page)).expect("recovering"), PAGE as u64);
    let Installed::Recover(found) = shard.install(&server("b"), &install("b", 3, batch.batch)) else { panic!("recovering") };
    assert!(found.whole, "invariant violated: a newer change stays");
    let rest: Vec<Bytes> = (PAGE..2 * PAGE).map(|n| key(&format!("{n:04}"))).collect();
    assert_eq!(shard.release(&server("b"), 3, batch, Release::Drop(&rest)).expect("recovering"), 0);
    let change = Dirty { version: newer, first: newer, value: b"2".to_vec(), ..Dirty::default() };
    assert_eq!(shard.entries.get(&key("0000")), Some(&Held::Dirty(change)), "invariant violated: a newer change stays");
}

#[test]
fn other_schemas_wait_for_a_process_that_knows_them() {
    let mut shard = shard();
    let newer = Accept { schema: 1, ..change("a", "1") };
    shard.accept(&server("a"), &[newer], WIDE, 9, 0).expect("installed");
    assert_eq!(claim(&mut shard, 1), None);
    put(&mut shard, "b", "1", 0);
    assert_eq!(claim(&mut shard, 1).expect("due").items[0].key, key("b"));
    assert_eq!(shard.dirty.len(), 1);
}

#[test]
fn to_what_another_flusher_froze_nothing_is_added() {
    let mut shard = shard();
    for n in 0..PAGE + 1 {
        put(&mut shard, &format!("{n:04}"), "1", 0);
    }
    let first = claim(&mut shard, 1).expect("due");
    assert!(!first.whole, "its flusher dies here");
    assert_eq!(shard.install(&server("a"), &install("a", 2, 0)), Installed::Ready);
    let newer = Accept { schema: 1, ..change("new", "1") };
    shard.accept(&server("a"), &[newer], WIDE, 9, 0).expect("installed");
    let found = shard.claim(&server("a"), 2, 0, Freeze { schema: 1, ..ALL }, 0).expect("led").expect("open");
    assert_eq!(
        (found.id, &found.items, found.whole),
        (first.id, &first.items, true),
        "invariant violated: a batch is of one schema"
    );
    assert_eq!(shard.dirty.len(), 2);
}

#[test]
fn what_was_cut_short_is_frozen_by_whoever_meets_it() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 0);
    shard.entries.insert(key("k"), Held::Dirty(Dirty::default()));
    let found = shard.claim(&server("a"), 1, 0, Freeze { schema: 7, ..ALL }, 0).expect("led");
    let schemas = found.map(|found| found.items.iter().map(|item| item.schema).collect::<Vec<_>>());
    assert_eq!(schemas, Some(vec![7]), "invariant violated: damage holds up nobody");
}

#[test]
fn an_acknowledge_breaks_a_lease() {
    let mut shard = shard();
    put(&mut shard, "k", "1", 0);
    let batch = claim(&mut shard, 1).expect("due");
    // Somebody removed the entry, and a reader is loading.
    let slot = Slot { state: crate::entry::state::State::Leased { id: Id([1; 16]), owner_until: 9 }, expires: Some(9) };
    shard.entries.insert(key("k"), Held::Clean { inc: 1, slot });
    ack(&mut shard, 1, batch.id, &["k"]);
    assert!(shard.entries.is_empty(), "invariant violated: an acknowledge breaks the lease");
}

#[test]
fn the_flush_lease_has_one_holder() {
    let mut shard = ShardState::default();
    let (one, two) = (Id([1; 16]), Id([2; 16]));
    assert!(shard.lead(one, 10, 0) && !shard.lead(two, 10, 9) && shard.lead(one, 10, 9));
    assert!(shard.lead(two, 10, 19), "lapsed");
    assert!(shard.lead(two, 0, 19) && shard.lead(one, 10, 19), "given up");
}
