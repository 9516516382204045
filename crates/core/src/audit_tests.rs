//! What a try proves.

use super::*;
use crate::journal::Version;

const HELD: &[u8] = b"held";

fn suspect(key: Option<u8>) -> Suspect<u8> {
    let found = if key.is_some() { Lookup::Hit(HELD.into()) } else { Lookup::Dirty(HELD.into()) };
    Suspect { at: b"{rows:0}:e:1".to_vec(), key, found, row: Some(1.into()), proofs: 0 }
}

fn shard(seq: u64, dirty: u64) -> Option<Status> {
    Some(Status { installed: true, version: Version { epoch: 1, seq }, dirty, ..Status::default() })
}

fn sight(suspect: &Suspect<u8>, row: Option<u8>, before: Option<Status>, after: Option<Status>) -> Sight<u8> {
    let looks = || vec![suspect.found.clone()];
    let rows = row.map(|row| (1, row.into())).into_iter().collect();
    Sight { before: vec![before], first: looks(), rows, second: looks(), after: vec![after] }
}

#[test]
fn a_clean_value_is_stale_only_where_nothing_was_accepted_meanwhile() {
    let clean = suspect(Some(1));
    let verdict = |row, before, after| sight(&clean, row, before, after).verdict(0, &clean);
    assert!(matches!(verdict(Some(2), shard(5, 9), shard(5, 3)), Verdict::Proof));
    assert!(matches!(verdict(None, shard(5, 0), shard(5, 0)), Verdict::Proof), "sql has no such row");
    assert!(matches!(verdict(Some(2), None, None), Verdict::Proof), "look-aside");
    let moved = verdict(Some(2), shard(5, 0), shard(7, 0));
    assert!(matches!(moved, Verdict::Nothing), "invariant violated: an audit raises no false alarm");
    assert!(matches!(verdict(Some(1), shard(5, 0), shard(5, 0)), Verdict::Changed), "it is right by now");
    for at in 0..2 {
        let mut sight = sight(&clean, Some(2), shard(5, 0), shard(5, 0));
        *[&mut sight.first, &mut sight.second][at] = vec![Lookup::Miss];
        assert!(matches!(sight.verdict(0, &clean), Verdict::Changed), "invariant violated: an audit raises no false alarm");
    }
}

#[test]
fn a_dirty_entry_is_stranded_only_where_its_shard_has_nothing_on_its_way() {
    let dirty = suspect(None);
    let verdict = |before, after| sight(&dirty, None, before, after).verdict(0, &dirty);
    assert!(matches!(verdict(shard(5, 0), shard(5, 0)), Verdict::Proof));
    assert!(matches!(verdict(shard(5, 1), shard(5, 0)), Verdict::Changed));
    assert!(matches!(verdict(shard(5, 0), shard(6, 0)), Verdict::Nothing));
    let letter = Some(Status { dead: 1, ..shard(5, 0).unwrap_or_default() });
    assert!(matches!(verdict(letter.clone(), letter), Verdict::Changed), "it may be the one that was set aside");
}
