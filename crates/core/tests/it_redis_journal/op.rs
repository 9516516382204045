//! One operation: as a script's call, and on the machine.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Value};
use writeway_core::cache::{Bytes, Id, Lease};
use writeway_core::entry::held::Held;
use writeway_core::error::{Kind, Result};
use writeway_core::journal::{
    Accept, Accepted, Ack, BatchId, Bound, Bounds, Freeze, Identity, Install, Installed, Release, Settled, Shard, Version,
};

use crate::Model;

pub(crate) const HOUR: u64 = 3_600_000;

macro_rules! scripts {
    ($($name:literal),+) => {
        pub(crate) const NAMES: &[&str] = &[$($name),+];
        pub(crate) const SOURCES: &[&str] = &[$(include_str!(concat!("../../src/redis/scripts/journal/", $name, ".lua"))),+];
    };
}
scripts!(
    "lease",
    "fill",
    "invalidate",
    "status",
    "accept",
    "settled",
    "lead",
    "install",
    "claim",
    "acknowledge",
    "park",
    "dirty",
    "supersede",
    "release",
    "resume",
    "dead_letters"
);

/// Every answer of every script.
pub(crate) const ANSWERS: &str = "lease EPOCH, lease HIT, lease DIRTY, lease GRANTED, lease BUSY, lease BYPASS, fill EPOCH, fill FILLED, \
    fill BROKEN, invalidate VOIDED, invalidate FOREIGN, status 0, status 1, accept EPOCH, accept AS, accept FULL KEYS, \
    accept FULL BYTES, accept FULL AGE, accept LATE, accept FOREIGN, settled EPOCH, settled D, settled P, settled X, settled U, \
    lead 0, lead 1, install REFUSED, install READY, install RECOVER, claim EPOCH, claim OPEN, claim NONE, acknowledge EPOCH, \
    acknowledge 0, acknowledge 1, park EPOCH, park 0, park 1, dirty EPOCH, dirty 0, dirty 1, supersede EPOCH, supersede DONE, \
    release EPOCH, release 0, resume EPOCH, resume DONE, dead_letters 0, dead_letters 1";

/// Where a shard lies.
pub(crate) struct Place {
    /// Cache keys, and as they lie in Redis.
    pub(crate) keys: Vec<Bytes>,
    pub(crate) full: Vec<Bytes>,
    /// `{namespace:0}:e:`
    pub(crate) stem: Bytes,
    prefix: Bytes,
    /// meta, dirty, frozen, open, dead, letters, lease
    pub(crate) parts: Vec<Bytes>,
}

impl Place {
    pub(crate) fn new(prefix: &str, keys: usize) -> Place {
        let shard = Shard { namespace: "posts".into(), number: 0 };
        let stem = [shard.stem().as_slice(), b"e:"].concat();
        let keys: Vec<Bytes> = (0..keys).map(|n| [stem.as_slice(), n.to_string().as_bytes()].concat()).collect();
        let prefix = format!("{prefix}:").into_bytes();
        let full = |key: &[u8]| [prefix.as_slice(), key].concat();
        let parts = ["meta", "dirty", "frozen", "open", "dead", "letters", "lease"];
        let parts = parts.map(|part| full(&[shard.stem().as_slice(), part.as_bytes()].concat())).into();
        Place { full: keys.iter().map(|key| full(key)).collect(), keys, stem, prefix, parts }
    }

    pub(crate) fn full(&self, key: &[u8]) -> Bytes {
        [self.prefix.as_slice(), key].concat()
    }

    pub(crate) fn delete_all(&self) -> Cmd {
        let mut cmd = redis::cmd("DEL");
        for key in self.parts.iter().chain(&self.full) {
            cmd.arg(key);
        }
        cmd
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Lease { key: Bytes, id: Id, discard: bool, owner_for: u64 },
    Fill { key: Bytes, lease: Id, entry: Bytes },
    Invalidate { key: Bytes },
    Status,
    Accept { changes: Vec<Accept>, bounds: Bounds, in_time: bool },
    Settled { inc: u64, changes: Vec<(Bytes, Version)> },
    Lead { holder: Id, hold: u64 },
    Install(Install),
    Claim { epoch: u64, from: u64, freeze: Freeze },
    Acknowledge { epoch: u64, batch: BatchId, acks: Vec<Ack> },
    Park { epoch: u64, batch: BatchId, keys: Vec<Bytes>, cause: String },
    Dirty { epoch: u64, from: u64 },
    Supersede { epoch: u64, keys: Vec<Bytes>, cause: Option<String> },
    Release { epoch: u64, batch: BatchId, how: Release },
    Resume { epoch: u64, batch: u64 },
    DeadLetters { after: Option<Bytes> },
}

pub(crate) fn sha(source: &'static str) -> &'static str {
    static SHAS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
        SOURCES.iter().chain([&crate::dump::SOURCE]).map(|s| (*s, redis::Script::new(s).get_hash().to_owned())).collect()
    });
    &SHAS[source]
}

/// The time limit of a change that is in time, and of one that is late.
fn not_after(in_time: bool, start: u64) -> u64 {
    if in_time { start + HOUR } else { start - HOUR }
}

impl Op {
    fn index(&self) -> usize {
        match self {
            Op::Lease { .. } => 0,
            Op::Fill { .. } => 1,
            Op::Invalidate { .. } => 2,
            Op::Status => 3,
            Op::Accept { .. } => 4,
            Op::Settled { .. } => 5,
            Op::Lead { .. } => 6,
            Op::Install(_) => 7,
            Op::Claim { .. } => 8,
            Op::Acknowledge { .. } => 9,
            Op::Park { .. } => 10,
            Op::Dirty { .. } => 11,
            Op::Supersede { .. } => 12,
            Op::Release { .. } => 13,
            Op::Resume { .. } => 14,
            Op::DeadLetters { .. } => 15,
        }
    }

    /// The shard's own keys and the cache keys that the script is given.
    fn keys(&self) -> (&'static [usize], Vec<&Bytes>) {
        match self {
            Op::Lease { key, .. } | Op::Fill { key, .. } => (&[0], vec![key]),
            Op::Invalidate { key } => (&[], vec![key]),
            Op::Status => (&[0, 1, 2, 4, 3], vec![]),
            Op::Accept { changes, .. } => (&[0, 1, 2, 3], changes.iter().map(|change| &change.key).collect()),
            Op::Settled { changes, .. } => (&[0, 1, 3, 5], changes.iter().map(|(key, _)| key).collect()),
            Op::Lead { .. } => (&[6], vec![]),
            Op::Install(_) | Op::Dirty { .. } => (&[0, 1], vec![]),
            Op::Claim { .. } | Op::Release { .. } => (&[0, 1, 2, 3], vec![]),
            Op::Acknowledge { acks, .. } => (&[0, 2, 3], acks.iter().map(|ack| &ack.key).collect()),
            Op::Park { keys, .. } => (&[0, 2, 3, 4, 5], keys.iter().collect()),
            Op::Supersede { keys, .. } => (&[0, 1, 4, 5], keys.iter().collect()),
            Op::Resume { .. } => (&[0], vec![]),
            Op::DeadLetters { .. } => (&[4, 5], vec![]),
        }
    }

    pub(crate) fn cmd(&self, who: &Identity, place: &Place, start: u64) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        let (parts, keys) = self.keys();
        cmd.arg(sha(SOURCES[self.index()])).arg(parts.len() + keys.len());
        for part in parts {
            cmd.arg(&place.parts[*part]);
        }
        for key in keys {
            cmd.arg(place.full(key));
        }
        if !matches!(self, Op::Invalidate { .. } | Op::Lead { .. } | Op::DeadLetters { .. }) {
            cmd.arg(&who.0);
        }
        self.arguments(&mut cmd, place, start);
        cmd
    }

    fn arguments(&self, cmd: &mut Cmd, place: &Place, start: u64) {
        match self {
            Op::Invalidate { .. } | Op::Status => cmd,
            Op::Lease { id, discard, owner_for, .. } => cmd.arg(&id.0[..]).arg(u8::from(*discard)).arg(owner_for).arg(HOUR),
            Op::Fill { lease, entry, .. } => cmd.arg(&lease.0[..]).arg(entry).arg(HOUR),
            Op::Accept { changes, bounds, in_time } => {
                cmd.arg(not_after(*in_time, start)).arg(bounds.keys).arg(bounds.bytes).arg(millis(bounds.age));
                changes.iter().fold(cmd, |cmd, change| cmd.arg(&change.schema.to_be_bytes()[..]).arg(&change.value))
            }
            Op::Settled { inc, changes } => changes.iter().fold(cmd.arg(inc), |cmd, (_, version)| {
                cmd.arg([version.epoch.to_be_bytes(), version.seq.to_be_bytes()].concat())
            }),
            Op::Lead { holder, hold } => cmd.arg(&holder.0[..]).arg(hold),
            Op::Install(Install { identity, epoch, batch }) => cmd.arg(&identity.0).arg(epoch).arg(batch),
            Op::Claim { epoch, from, freeze } => {
                cmd.arg(epoch).arg(from).arg(&freeze.schema.to_be_bytes()[..]).arg(millis(freeze.waited));
                cmd.arg(freeze.max_keys).arg(freeze.max_bytes)
            }
            Op::Acknowledge { epoch, batch, acks } => {
                cmd.arg(epoch).arg(batch.epoch).arg(batch.batch);
                acks.iter().fold(cmd, |cmd, ack| match &ack.clean {
                    Some((entry, ttl)) => cmd.arg(entry).arg(millis(*ttl)),
                    None => cmd.arg("").arg(0),
                })
            }
            Op::Park { epoch, batch, cause, .. } => cmd.arg(epoch).arg(batch.epoch).arg(batch.batch).arg(cause),
            Op::Dirty { epoch, from } => cmd.arg(epoch).arg(from),
            Op::Supersede { epoch, cause, .. } => cmd.arg(epoch).arg(cause),
            Op::Release { epoch, batch, how } => {
                cmd.arg(epoch).arg(batch.epoch).arg(batch.batch).arg(if *how == Release::Drop { "DROP" } else { "DISSOLVE" })
            }
            Op::Resume { epoch, batch } => cmd.arg(epoch).arg(batch),
            Op::DeadLetters { after } => match after {
                None => cmd.arg("-"),
                Some(key) => cmd.arg([b"(", &key[place.stem.len()..]].concat()),
            },
        };
    }

    /// On the machine; its answer in the script's words.
    pub(crate) fn run(&self, model: &mut Model, who: &Identity, start: u64, now: u64) -> Vec<Bytes> {
        self.answer(model, who, start, now).unwrap_or_else(|e| {
            assert_eq!(e.kind(), Kind::Fenced);
            vec![b"EPOCH".to_vec()]
        })
    }

    fn answer(&self, model: &mut Model, who: &Identity, start: u64, now: u64) -> Result<Vec<Bytes>> {
        let shard = &mut model.shard;
        let before = shard.clone();
        Ok(match self {
            Op::Lease { key, id, discard, owner_for } => match shard.lease(who, key, *id, *discard, now, *owner_for, HOUR)? {
                Lease::Hit(entry) => vec![b"HIT".into(), entry],
                Lease::Dirty(entry) => vec![b"DIRTY".into(), entry],
                Lease::Granted(id) => vec![b"GRANTED".into(), id.0.into()],
                Lease::Busy => word("BUSY"),
                Lease::Bypass => word("BYPASS"),
            },
            Op::Fill { key, lease, entry } => {
                shard.fill(who, key, *lease, entry, HOUR, now)?;
                word(if *shard == before { "BROKEN" } else { "FILLED" })
            }
            Op::Invalidate { key } => {
                let kept = matches!(before.entries.get(key), Some(Held::Dirty(_)));
                word(if !shard.invalidate(key, now) {
                    "FOREIGN"
                } else if kept {
                    "KEPT"
                } else {
                    "VOIDED"
                })
            }
            Op::Status => {
                let s = shard.status(who, now);
                let oldest = s.oldest.map_or("-1".to_owned(), |waited| millis(waited).to_string());
                let numbers = [u64::from(s.installed), s.epoch, s.dirty, s.dirty_bytes].map(|n| n.to_string());
                let more = [s.open, s.open_bytes, s.dead, s.version.seq].map(|n| n.to_string());
                let all = numbers.into_iter().chain([oldest]).chain(more).map(String::into_bytes);
                [s.identity.0].into_iter().chain(all).collect()
            }
            Op::Accept { changes, bounds, in_time } => {
                accepted(&shard.accept(who, changes, *bounds, not_after(*in_time, start), now)?)
            }
            Op::Settled { inc, changes } => vec![shard.settled(who, *inc, changes)?.into_iter().map(letter).collect()],
            Op::Lead { holder, hold } => {
                let mine = shard.lead(*holder, *hold, now);
                if mine {
                    model.leader = (*hold > 0).then_some(*holder);
                }
                numbers(&[u64::from(mine)])
            }
            Op::Install(install) => match shard.install(who, install) {
                Installed::Refused => word("REFUSED"),
                Installed::Ready => word("READY"),
                Installed::Recover(found) => {
                    let open = found.open.map_or(vec![b"-".into(), b"-".into()], |id| numbers(&[id.epoch, id.batch]));
                    [word("RECOVER"), open, numbers(&[found.batch, found.dirty])].concat()
                }
            },
            Op::Claim { epoch, from, freeze } => match shard.claim(who, *epoch, *from, *freeze, now)? {
                None => word("NONE"),
                Some(claimed) => {
                    let mut words = word("OPEN");
                    words.extend(numbers(&[claimed.id.epoch, claimed.id.batch, u64::from(claimed.whole)]));
                    for item in claimed.items {
                        let version = [item.version.epoch.to_be_bytes(), item.version.seq.to_be_bytes()].concat();
                        words.extend([item.key, [&item.schema.to_be_bytes()[..], &version].concat(), item.value]);
                    }
                    words
                }
            },
            Op::Acknowledge { epoch, batch, acks } => numbers(&[shard.acknowledge(who, *epoch, *batch, acks, now)?]),
            Op::Park { epoch, batch, keys, cause } => numbers(&[shard.park(who, *epoch, *batch, keys, cause)?]),
            Op::Dirty { epoch, from } => shard.dirty_keys(who, *epoch, *from)?,
            Op::Supersede { epoch, keys, cause } => {
                shard.supersede(who, *epoch, keys, cause.as_deref())?;
                word("DONE")
            }
            Op::Release { epoch, batch, how } => numbers(&[shard.release(who, *epoch, *batch, *how)?]),
            Op::Resume { epoch, batch } => {
                shard.resume(who, &Install { identity: who.clone(), epoch: *epoch, batch: *batch })?;
                word("DONE")
            }
            Op::DeadLetters { after } => {
                let letters = shard.dead_letters(after.as_ref()).into_iter();
                letters.flat_map(|letter| [letter.key, letter.cause.into_bytes(), letter.value]).collect()
            }
        })
    }
}

fn accepted(accepted: &Accepted) -> Vec<Bytes> {
    match accepted {
        Accepted::As { versions, inc, dirty, dirty_bytes } => {
            let last = versions.last().copied().unwrap_or_default();
            [word("AS"), numbers(&[last.epoch, last.seq, *inc, *dirty, *dirty_bytes])].concat()
        }
        Accepted::Full(bound) => vec![
            b"FULL".into(),
            match bound {
                Bound::Keys => b"KEYS".into(),
                Bound::Bytes => b"BYTES".into(),
                Bound::Age => b"AGE".into(),
            },
        ],
        Accepted::Late => word("LATE"),
        Accepted::Foreign => word("FOREIGN"),
    }
}

fn letter(settled: Settled) -> u8 {
    match settled {
        Settled::Durable => b'D',
        Settled::Pending => b'P',
        Settled::Dead => b'X',
        Settled::Unknown => b'U',
    }
}

fn word(word: &str) -> Vec<Bytes> {
    vec![word.as_bytes().to_vec()]
}

fn numbers(numbers: &[u64]) -> Vec<Bytes> {
    numbers.iter().map(|n| n.to_string().into_bytes()).collect()
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).expect("short")
}

/// A script's answer as words, without the clock; cache keys whole, letters taken apart as the machine's answer is.
pub(crate) fn words(op: &Op, answer: Value) -> Vec<Bytes> {
    let mut words = Vec::new();
    flatten(answer, &mut words);
    let fenced = words == [b"EPOCH"];
    let stem = b"{posts:0}:e:";
    let whole = |member: Bytes| [&stem[..], &member].concat();
    match op {
        Op::Accept { .. } if !fenced => words.truncate(words.len() - 2),
        Op::Claim { .. } if !fenced => {
            for member in words.iter_mut().skip(4).step_by(3) {
                *member = whole(std::mem::take(member));
            }
        }
        Op::Dirty { .. } if !fenced => words = words.into_iter().map(whole).collect(),
        Op::DeadLetters { .. } => {
            let pairs = words.chunks(2).flat_map(|pair| {
                let length = usize::try_from(u32::from_be_bytes(pair[1][36..40].try_into().expect("four"))).expect("short");
                [whole(pair[0].clone()), pair[1][40..40 + length].to_vec(), pair[1][40 + length..].to_vec()]
            });
            words = pairs.collect();
        }
        _ => {}
    }
    words
}

fn flatten(answer: Value, words: &mut Vec<Bytes>) {
    match answer {
        Value::BulkString(bytes) => words.push(bytes),
        Value::SimpleString(text) => words.push(text.into_bytes()),
        Value::Int(n) => words.push(n.to_string().into_bytes()),
        Value::Nil => words.push(b"-".to_vec()),
        Value::Array(parts) => parts.into_iter().for_each(|part| flatten(part, words)),
        other => panic!("invariant violated: script matches machine\n  {other:?}"),
    }
}

/// Under which name an answer is counted.
pub(crate) fn name(op: &Op, answer: &[Bytes]) -> String {
    let first = answer.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    let left = |n: &str| u8::from(n != "0").to_string();
    let kind = match op {
        _ if first == "EPOCH" => first,
        Op::Accept { .. } if first == "FULL" => format!("FULL {}", String::from_utf8_lossy(&answer[1])),
        Op::Status => String::from_utf8_lossy(&answer[1]).into_owned(),
        Op::Settled { .. } => first.chars().next().map(String::from).unwrap_or_default(),
        Op::Acknowledge { .. } | Op::Park { .. } | Op::Release { .. } => left(&first),
        Op::Dirty { .. } | Op::DeadLetters { .. } => u8::from(!answer.is_empty()).to_string(),
        _ => first,
    };
    format!("{} {kind}", NAMES[op.index()])
}
