//! One operation on the machine.

use writeway_core::cache::{Bytes, Lease};
use writeway_core::entry::held::Held;
use writeway_core::entry::shard::ShardState;
use writeway_core::error::{Kind, Result};
use writeway_core::journal::{
    Accepted, Bound, DeadLetter, Found, Identity, Install, Installed, Park, Redriven, Release, Settled, Split,
};

use crate::Model;
use crate::op::{HOUR, Op, letter as reason, millis, not_after};

impl Op {
    /// On the machine; its answer in the script's words.
    pub(crate) fn run(&self, model: &mut Model, who: &Identity, start: u64, now: u64) -> Vec<Bytes> {
        self.answer(model, who, start, now).unwrap_or_else(|e| {
            assert_eq!(e.kind(), Kind::Fenced);
            vec![b"EPOCH".to_vec()]
        })
    }

    fn answer(&self, model: &mut Model, who: &Identity, start: u64, now: u64) -> Result<Vec<Bytes>> {
        let shard = &mut model.shard;
        Ok(match self {
            Op::Lease { key, id, discard, owner_for } => match shard.lease(who, key, *id, *discard, now, *owner_for, HOUR)? {
                Lease::Hit(entry) => vec![b"HIT".into(), entry],
                Lease::Dirty(entry) => vec![b"DIRTY".into(), entry],
                Lease::Granted(id) => vec![b"GRANTED".into(), id.0.into()],
                Lease::Busy => word("BUSY"),
                Lease::Bypass => word("BYPASS"),
            },
            Op::Fill { key, lease, entry } => {
                let before = shard.entries.get(key).cloned();
                shard.fill(who, key, *lease, entry, HOUR, now)?;
                word(if shard.entries.get(key) == before.as_ref() { "BROKEN" } else { "FILLED" })
            }
            Op::Invalidate { key } => {
                let kept = matches!(shard.entries.get(key), Some(Held::Dirty(_)));
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
                let more = [s.open, s.open_bytes, s.dead, s.version.seq, s.over].map(|n| n.to_string());
                let last = [s.suspects, s.delayed, s.tries, s.known].map(|n| n.to_string());
                let all = numbers.into_iter().chain([oldest]).chain(more).chain(last).map(String::into_bytes);
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
            Op::Count { keys } => {
                let counted = shard.count(who, keys, now)?;
                let parts = counted.counts.into_iter().flat_map(|count| [count.base, count.frozen, count.pending]);
                let parts = parts.map(|part| part.unwrap_or_else(|| b"-".to_vec()));
                numbers(&[counted.acked, counted.open]).into_iter().chain(parts).collect()
            }
            _ => self.flusher_answer(shard, who, now)?,
        })
    }

    fn flusher_answer(&self, shard: &mut ShardState, who: &Identity, now: u64) -> Result<Vec<Bytes>> {
        Ok(match self {
            Op::Install(install) => match shard.install(who, install) {
                Installed::Refused => word("REFUSED"),
                Installed::Ready => word("READY"),
                Installed::Recover(found) => recover(&found),
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
                    words.extend(numbers(&[claimed.tries, claimed.strikes]));
                    words
                }
            },
            Op::Acknowledge { epoch, batch, acks } => numbers(&[shard.acknowledge(who, *epoch, *batch, acks, now)?]),
            Op::Park { epoch, batch, keys, reason, cause } => {
                numbers(&[shard.park(who, *epoch, *batch, Park { keys, reason: *reason, cause }, now)?])
            }
            Op::Split { epoch, batch, keep } => match shard.split(who, *epoch, *batch, *keep)? {
                None => word("NONE"),
                Some(Split { id, more }) => [word("SPLIT"), numbers(&[id.epoch, id.batch, more.into()])].concat(),
            },
            Op::Delay { epoch, batch, pause, counts } => {
                numbers(&[shard.delay(who, *epoch, *batch, *pause, *counts, now)?.into()])
            }
            Op::Ended { epoch, batch } => {
                shard.ended(who, *epoch, *batch)?;
                word("DONE")
            }
            Op::Redrive { letters, bounds } => {
                vec![shard.redrive(who, letters, *bounds, now)?.into_iter().map(driven).collect()]
            }
            Op::Discard { letters } => numbers(&[shard.discard(who, letters)?]),
            Op::Dirty { epoch, from } => shard.dirty_keys(who, *epoch, *from)?,
            Op::Supersede { epoch, keys, cause } => {
                shard.supersede(who, *epoch, keys, cause.as_deref(), now)?;
                word("DONE")
            }
            Op::Release { epoch, batch, drop } => {
                let how = drop.as_deref().map_or(Release::Dissolve, Release::Drop);
                numbers(&[shard.release(who, *epoch, *batch, how)?])
            }
            Op::Resume { epoch, batch } => {
                shard.resume(who, &Install { identity: who.clone(), epoch: *epoch, batch: *batch, diverged: None })?;
                word("DONE")
            }
            Op::DeadLetters { after } => {
                let letters = shard.dead_letters(after.as_ref()).into_iter();
                let numbers = |letter: &DeadLetter| {
                    let (at, tries) = (millis(letter.at), u32::try_from(letter.tries).expect("few"));
                    [&letter.schema.to_be_bytes()[..], &letter.version.epoch.to_be_bytes(), &letter.version.seq.to_be_bytes()]
                        .concat()
                        .into_iter()
                        .chain([&at.to_be_bytes()[..], &tries.to_be_bytes(), &[reason(letter.reason)]].concat())
                        .collect()
                };
                letters
                    .flat_map(|letter| [letter.key.clone(), numbers(&letter), letter.cause.into_bytes(), letter.value])
                    .collect()
            }
            _ => unreachable!("a reader's or writer's"),
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
        Accepted::Unfit => word("UNFIT"),
    }
}

fn driven(driven: Redriven) -> u8 {
    match driven {
        Redriven::Dirty => b'D',
        Redriven::Superseded => b'S',
        Redriven::Gone => b'G',
        Redriven::Foreign => b'F',
        Redriven::Unfit => b'U',
        Redriven::Full(Bound::Keys) => b'K',
        Redriven::Full(Bound::Bytes) => b'B',
        Redriven::Full(Bound::Age) => b'A',
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

fn recover(found: &Found) -> Vec<Bytes> {
    let open = found.open.map_or(vec![b"-".into(), b"-".into()], |id| numbers(&[id.epoch, id.batch]));
    let held = [found.first, found.epoch, found.batch, found.dirty, found.whole.into()];
    [word("RECOVER"), open, numbers(&held)].concat()
}
