use proptest::prelude::*;

use super::*;

const A: Id = Id([1; 16]);
const B: Id = Id([2; 16]);
const ROW: &[u8] = &[MAGIC, VALUE, FORMAT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 42];

fn leased(id: Id) -> Slot {
    let mut slot = Slot::default();
    assert_eq!(slot.lease(id, false, 0, 10, 100), Lease::Granted(id));
    slot
}

fn barrier(tokens: &[Id]) -> Slot {
    let mut slot = Slot::default();
    for &token in tokens {
        assert_eq!(slot.begin(token, 100, 0, 0), Begun::Placed);
    }
    slot
}

#[test]
fn a_fill_needs_its_own_unbroken_lease() {
    let mut slot = leased(A);
    slot.fill(B, ROW, 50, 1);
    assert_eq!(slot.get(), Lookup::Miss);
    slot.fill(A, ROW, 50, 1);
    assert_eq!((slot.get(), slot.expires), (Lookup::Hit(ROW.to_vec()), Some(51)));

    let mut slot = leased(A);
    assert_eq!(slot.begin(B, 100, 0, 0), Begun::Placed);
    slot.fill(A, ROW, 50, 1);
    assert_eq!(slot.get(), Lookup::Miss, "a begin breaks the lease");
}

#[test]
fn a_lease_taken_over_keeps_its_id() {
    let mut slot = leased(A);
    assert_eq!(slot.lease(B, false, 9, 10, 100), Lease::Busy);
    assert_eq!(slot.lease(B, false, 10, 10, 100), Lease::Granted(A));
}

#[test]
fn a_damaged_value_is_discarded_on_request() {
    let mut slot = leased(A);
    slot.fill(A, ROW, 50, 1);
    assert_eq!(slot.lease(B, false, 2, 10, 100), Lease::Hit(ROW.to_vec()));
    assert_eq!(slot.lease(B, true, 2, 10, 100), Lease::Granted(B));
}

#[test]
fn readers_pass_by_a_live_barrier_and_remove_a_lapsed_one() {
    let mut slot = barrier(&[A]);
    assert_eq!(slot.lease(B, false, 99, 10, 100), Lease::Bypass);
    assert_eq!(slot.expires, None, "a barrier never expires as a key");
    assert_eq!(slot.lease(B, false, 100, 10, 100), Lease::Granted(B));
}

#[test]
fn only_a_sole_live_unpoisoned_writer_publishes() {
    assert_eq!(barrier(&[A]).finish(A, Some((ROW, 50)), 1), Finished::Published);
    assert_eq!(barrier(&[A]).finish(A, Some((ROW, 50)), 100), Finished::Voided, "its deadline has passed");
    assert_eq!(barrier(&[A]).finish(A, None, 1), Finished::Voided);
    assert_eq!(barrier(&[A]).finish(B, Some((ROW, 50)), 1), Finished::Voided, "its token is gone");

    let mut overlapped = barrier(&[A, B]);
    assert_eq!(overlapped.finish(A, Some((ROW, 50)), 1), Finished::Voided);
    assert_eq!(overlapped.finish(B, Some((ROW, 50)), 1), Finished::Voided, "alone by now, but poisoned");
    assert_eq!(overlapped, Slot::default());
}

#[test]
fn a_finish_without_its_barrier_leaves_nothing() {
    let mut slot = leased(A);
    slot.fill(A, ROW, 50, 1);
    assert_eq!(slot.finish(B, Some((ROW, 50)), 2), Finished::Voided);
    assert_eq!(slot, Slot::default());
}

#[test]
fn a_begin_is_idempotent_and_bounded_in_time_and_number() {
    let mut slot = barrier(&[A]);
    assert_eq!(slot.begin(A, 100, 5, 5), Begun::Placed);
    assert_eq!(slot.finish(A, Some((ROW, 50)), 6), Finished::Published, "a repeated begin does not poison itself");
    assert_eq!(slot.begin(A, 100, 5, 6), Begun::Late);
    assert_eq!(slot.get(), Lookup::Hit(ROW.to_vec()));

    let mut full = Slot::default();
    for n in 0..MAX_TOKENS {
        let token = Id([u8::try_from(n).expect("small"); 16]);
        assert_eq!(full.begin(token, 100, 0, 0), Begun::Placed);
    }
    assert_eq!(full.begin(Id([200; 16]), 100, 0, 0), Begun::Full);
    assert_eq!(full.begin(Id([200; 16]), 100, 100, 100), Begun::Placed, "lapsed tokens make room");
}

#[test]
fn another_kind_or_format_is_left_alone() {
    for bytes in [&[MAGIC, b'D', FORMAT, 1][..], &[MAGIC, VALUE, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut slot = Slot { state: from_bytes(bytes), expires: None };
        let before = slot.clone();
        assert_eq!(slot.get(), Lookup::Miss);
        assert_eq!(slot.lease(A, true, 0, 10, 100), Lease::Bypass);
        assert_eq!(slot.begin(A, 100, 0, 0), Begun::Foreign);
        assert_eq!(slot.finish(A, Some((ROW, 50)), 0), Finished::Voided);
        assert!(!slot.invalidate(0));
        slot.fill(A, ROW, 50, 0);
        assert_eq!(slot, before);
    }
}

#[test]
fn an_invalidation_voids_leases_and_keeps_writers_from_publishing() {
    let mut slot = leased(A);
    assert!(slot.invalidate(0));
    slot.fill(A, ROW, 50, 1);
    assert_eq!(slot.get(), Lookup::Miss);

    let mut slot = barrier(&[A]);
    assert!(slot.invalidate(0));
    assert_eq!(slot.lease(B, false, 1, 10, 100), Lease::Bypass, "the writer's barrier stands");
    assert_eq!(slot.finish(A, Some((ROW, 50)), 1), Finished::Voided);
}

proptest! {
    #[test]
    fn states_survive_their_bytes(seed in proptest::collection::vec((any::<[u8; 16]>(), any::<u64>()), 1..=MAX_TOKENS), poisoned: bool) {
        let (id, owner_until) = seed[0];
        let tokens = seed.iter().map(|&(id, until)| (Id(id), until)).collect();
        for state in [State::Leased { id: Id(id), owner_until }, State::Barrier { tokens, poisoned }, State::Value(ROW.to_vec())] {
            prop_assert_eq!(to_bytes(&state).map(|b| from_bytes(&b)), Some(state));
        }
    }

    #[test]
    fn no_bytes_panic_and_damage_is_absence(mut bytes: Vec<u8>) {
        let _ = from_bytes(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = first.wrapping_add(u8::from(*first == MAGIC));
        }
        prop_assert_eq!(from_bytes(&bytes), State::Absent);
    }
}
