//! All that lies under a shard's keys, and whether the machine holds the same.

use std::collections::BTreeMap;
use std::fmt::Debug;

use redis::{Pipeline, Value};
use writeway_core::cache::Bytes;
use writeway_core::entry::held::{self, DIRTY_HEADER, Dirty, Held};
use writeway_core::entry::shard::{Began, Dead, Frozen, Meta, Open};
use writeway_core::journal::{BatchId, Identity, Reason, Version};

use crate::Model;
use crate::place::Place;

/// Adds the commands that read everything; they cost the server less than a script that does.
pub(crate) fn ask(pipeline: &mut Pipeline, place: &Place) {
    let [meta, dirty, frozen, open, dead, letters, lease, strikes] = &place.parts;
    pipeline.cmd("TIME").cmd("HGETALL").arg(meta);
    for ranked in [dirty, frozen] {
        pipeline.cmd("ZRANGE").arg(ranked).arg(0).arg(-1).arg("WITHSCORES");
    }
    pipeline.cmd("HGETALL").arg(open).cmd("ZRANGE").arg(dead).arg(0).arg(-1).cmd("HGETALL").arg(letters);
    pipeline.cmd("HGETALL").arg(strikes).cmd("GET").arg(lease).cmd("MGET").arg(&place.full).arg(&place.full_bases);
    for key in place.full.iter().chain(&place.full_bases) {
        pipeline.cmd("PEXPIRETIME").arg(key);
    }
}

pub(crate) struct Dump {
    pub(crate) now: u64,
    meta: Meta,
    dirty: BTreeMap<Bytes, u64>,
    frozen: BTreeMap<Bytes, Frozen>,
    dead: BTreeMap<Bytes, Dead>,
    strikes: BTreeMap<Bytes, u64>,
    entries: BTreeMap<Bytes, Held>,
    leader: Option<Bytes>,
}

impl Dump {
    /// Takes the answers to [`ask`].
    pub(crate) fn read(answers: &mut impl Iterator<Item = Value>, place: &Place) -> Dump {
        let mut next = || answers.next().expect("one answer per command");
        let now = millis(next());
        let meta = meta(pairs(next()));
        let cache_key = |member: &[u8]| [place.stem.as_slice(), member].concat();
        let ranked = |pairs: Vec<(Bytes, Value)>| pairs.into_iter().map(|(member, score)| (member, number(score)));
        let dirty = ranked(pairs(next())).map(|(member, since)| (cache_key(&member), since)).collect();
        let order: Vec<_> = ranked(pairs(next())).collect();
        let mut open: BTreeMap<_, _> = pairs(next()).into_iter().map(|(field, value)| (field, text(value))).collect();
        let frozen = order.into_iter().map(|(member, at)| {
            let head = open.remove(&[b"h", member.as_slice()].concat()).expect("a frozen change has its numbers");
            let value = open.remove(&[b"v", member.as_slice()].concat()).expect("a frozen change has its value");
            assert_eq!(head.len(), 44);
            (cache_key(&member), Frozen { at, since: word(&head, 0), change: change(&head[8..], value) })
        });
        let frozen = frozen.collect();
        assert!(open.is_empty(), "the open batch holds what is not in its order: {open:?}");
        let dead: Vec<Bytes> = list(next()).into_iter().map(text).collect();
        let mut letters: BTreeMap<_, _> = pairs(next()).into_iter().map(|(member, letter)| (member, text(letter))).collect();
        let dead = dead.into_iter().map(|ranked| {
            let (version, member) = ranked.split_at(16);
            let letter = letters.remove(member).expect("a letter");
            assert_eq!(letter[4..20], *version, "it is listed by its version");
            (cache_key(member), self::letter(&letter))
        });
        let dead = dead.collect();
        assert!(letters.is_empty(), "letters that are not listed: {letters:?}");
        let strikes = ranked(pairs(next())).map(|(member, strikes)| (cache_key(&member), strikes)).collect();
        let leader = match next() {
            Value::Nil => None,
            leader => Some(text(leader)),
        };
        let values = list(next());
        let entries = place.keys.iter().chain(&place.bases).zip(values).filter_map(|(key, value)| {
            let expires = next();
            let (Value::BulkString(bytes), Value::Int(expires)) = (value, expires) else { return None };
            let expires = u64::try_from(expires).ok();
            let held = held::from_bytes(&bytes, expires)?;
            let dirty = matches!(held, Held::Dirty(_));
            assert!(!dirty || expires.is_none(), "an accepted change never expires");
            assert!((dirty && bytes.len() < DIRTY_HEADER) || held::to_bytes(&held) == bytes, "{bytes:?}");
            Some((key.clone(), held))
        });
        let entries = entries.collect();
        Dump { now, meta, dirty, frozen, dead, strikes, entries, leader }
    }

    /// Where the machine holds something else.
    pub(crate) fn compare(&self, model: &Model) -> Result<(), String> {
        let shard = &model.shard;
        let (meta, leader) = (shard.meta.clone().unwrap_or_default(), model.leader.map(|id| id.0.to_vec()));
        if (&self.meta, &self.leader) != (&meta, &leader) {
            return Err(format!("script {:?} {:?}, machine {meta:?} {leader:?}", self.meta, self.leader));
        }
        equal("dirty", &self.dirty, &shard.dirty)?;
        equal("frozen", &self.frozen, &shard.frozen)?;
        equal("dead", &self.dead, &shard.dead)?;
        equal("strikes", &self.strikes, &shard.strikes)?;
        equal("entries", &self.entries, &shard.entries)
    }
}

fn equal<T: PartialEq + Debug>(what: &str, script: &BTreeMap<Bytes, T>, machine: &BTreeMap<Bytes, T>) -> Result<(), String> {
    if script == machine {
        return Ok(());
    }
    let differs = script.keys().chain(machine.keys()).find(|key| script.get(*key) != machine.get(*key)).expect("they differ");
    let (script, machine) = (script.get(differs), machine.get(differs));
    Err(format!("{what}: {}: script {script:?}, machine {machine:?}", differs.escape_ascii()))
}

fn meta(fields: Vec<(Bytes, Value)>) -> Meta {
    let mut fields: BTreeMap<String, Bytes> =
        fields.into_iter().map(|(name, value)| (String::from_utf8(name).expect("a name"), text(value))).collect();
    let mut number = |name: &str| fields.remove(name).map(|text| number(Value::BulkString(text)));
    let [epoch, inc, batch, seq, acked, dirty_bytes, known] =
        ["epoch", "inc", "batch", "seq", "acked", "dirty_bytes", "known"].map(|name| number(name).unwrap_or_default());
    let open = ["open_epoch", "open_batch", "open_count", "open_whole", "open_bytes"].map(&mut number);
    let [tries, keep, since, first] = ["open_tries", "open_keep", "open_since", "open_first"].map(&mut number);
    let began = ["began_batch", "began_epoch", "began_open", "began_first"].map(&mut number);
    let open = match open {
        [Some(epoch), Some(batch), Some(count), Some(whole), Some(bytes)] => {
            let (id, since, tries) = (BatchId { epoch, batch }, since.unwrap_or(epoch), tries.unwrap_or(0));
            Some(Open { id, first: first.unwrap_or(batch), since, count, whole: whole == 1, bytes, tries, keep })
        }
        [None, None, None, None, None] if tries.or(keep).or(since).or(first).is_none() => None,
        other => panic!("half an open batch: {other:?}"),
    };
    let identity = Identity(fields.remove("identity").unwrap_or_default());
    let recovering = fields.remove("recovering").map(Identity);
    assert!(fields.is_empty(), "{fields:?}");
    let began = match began {
        [Some(batch), Some(epoch), Some(open), Some(first)] => {
            Some(Began { batch, open: Some((BatchId { epoch, batch: open }, first)) })
        }
        [Some(batch), None, None, None] => Some(Began { batch, open: None }),
        [None, None, None, None] => None,
        other => panic!("half of what it began with: {other:?}"),
    };
    Meta { identity, recovering, known, began, epoch, inc, batch, seq, acked, dirty_bytes, open }
}

fn letter(bytes: &[u8]) -> Dead {
    let length = u32::from_be_bytes(bytes[49..53].try_into().expect("four"));
    let (cause, value) = bytes[53..].split_at(usize::try_from(length).expect("short"));
    let reason = match bytes[48] {
        b'R' => Reason::Refused,
        b'D' => Reason::Damaged,
        b'A' => Reason::Ambiguous,
        other => panic!("a reason: {other}"),
    };
    Dead {
        change: change(bytes, value.to_vec()),
        reason,
        cause: String::from_utf8(cause.to_vec()).expect("UTF-8"),
        tries: u32::from_be_bytes(bytes[44..48].try_into().expect("four")).into(),
        at: word(bytes, 36),
    }
}

fn change(head: &[u8], value: Bytes) -> Dirty {
    let version = |at| Version { epoch: word(head, at), seq: word(head, at + 8) };
    Dirty { schema: u32::from_be_bytes(head[..4].try_into().expect("four")), version: version(4), first: version(20), value }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight"))
}

fn pairs(value: Value) -> Vec<(Bytes, Value)> {
    let mut parts = list(value).into_iter();
    std::iter::from_fn(|| Some((text(parts.next()?), parts.next().expect("pairs")))).collect()
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(parts) => parts,
        other => panic!("a list: {other:?}"),
    }
}

fn text(value: Value) -> Bytes {
    match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("a string: {other:?}"),
    }
}

fn number(value: Value) -> u64 {
    match value {
        Value::Int(n) => u64::try_from(n).expect("not negative"),
        Value::BulkString(text) => std::str::from_utf8(&text).ok().and_then(|n| n.parse().ok()).expect("a whole number"),
        other => panic!("a number: {other:?}"),
    }
}

fn millis(time: Value) -> u64 {
    let [seconds, micros] = <[Value; 2]>::try_from(list(time)).expect("two");
    number(seconds) * 1_000 + number(micros) / 1_000
}
