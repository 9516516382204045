//! One operation, and the call of its script.

use std::time::Duration;

use redis::Cmd;
use writeway_core::cache::{Bytes, Id};
use writeway_core::journal::{Accept, Ack, BatchId, Bounds, Freeze, Identity, Install, Reason, Version};

use crate::place::{Place, SHAS};

pub(crate) const HOUR: u64 = 3_600_000;

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
    Park { epoch: u64, batch: BatchId, keys: Vec<Bytes>, reason: Reason, cause: String },
    Dirty { epoch: u64, from: u64 },
    Supersede { epoch: u64, keys: Vec<Bytes>, cause: Option<String> },
    Release { epoch: u64, batch: BatchId, drop: Option<Vec<Bytes>> },
    Resume { epoch: u64, batch: u64 },
    DeadLetters { after: Option<(Version, Bytes)> },
    Split { epoch: u64, batch: BatchId, keep: u64 },
    Delay { epoch: u64, batch: BatchId, pause: u64, counts: bool },
    Ended { epoch: u64, batch: BatchId },
    Redrive { letters: Vec<(Bytes, Version)>, bounds: Bounds },
    Discard { letters: Vec<(Bytes, Version)> },
    Count { keys: Vec<Bytes> },
}

/// The time limit of a change that is in time, and of one that is late.
pub(crate) fn not_after(in_time: bool, start: u64) -> u64 {
    if in_time { start + HOUR } else { start - HOUR }
}

impl Op {
    pub(crate) fn index(&self) -> usize {
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
            Op::Split { .. } => 16,
            Op::Delay { .. } => 17,
            Op::Redrive { .. } => 18,
            Op::Discard { .. } => 19,
            Op::Ended { .. } => 20,
            Op::Count { .. } => 21,
        }
    }

    /// The shard's own keys and the cache keys that the script is given.
    fn keys(&self) -> (&'static [usize], Vec<&Bytes>) {
        match self {
            Op::Lease { key, .. } | Op::Fill { key, .. } => (&[0], vec![key]),
            Op::Invalidate { key } => (&[], vec![key]),
            Op::Status => (&[0, 1, 2, 4, 3, 7], vec![]),
            Op::Accept { changes, .. } => (&[0, 1, 2, 3], changes.iter().map(|change| &change.key).collect()),
            Op::Settled { changes, .. } => (&[0, 1, 3, 5], changes.iter().map(|(key, _)| key).collect()),
            Op::Lead { .. } => (&[6], vec![]),
            Op::Install(_) | Op::Dirty { .. } => (&[0, 1], vec![]),
            Op::Claim { .. } | Op::Delay { .. } => (&[0, 1, 2, 3, 7], vec![]),
            Op::Split { .. } => (&[0, 1, 2, 3], vec![]),
            Op::Release { drop, .. } => (&[0, 1, 2, 3, 7, 4, 5], drop.iter().flatten().collect()),
            Op::Acknowledge { acks, .. } => (&[0, 2, 3, 7, 4, 5], acks.iter().map(|ack| &ack.key).collect()),
            Op::Park { keys, .. } => (&[0, 2, 3, 4, 5, 7], keys.iter().collect()),
            Op::Supersede { keys, .. } => (&[0, 1, 4, 5, 2, 7], keys.iter().collect()),
            Op::Resume { .. } | Op::Ended { .. } => (&[0], vec![]),
            Op::DeadLetters { .. } => (&[4, 5], vec![]),
            Op::Redrive { letters, .. } => (&[0, 1, 2, 3, 4, 5], letters.iter().map(|(key, _)| key).collect()),
            Op::Discard { letters } => (&[0, 4, 5], letters.iter().map(|(key, _)| key).collect()),
            Op::Count { keys } => (&[0, 3], keys.iter().collect()),
        }
    }

    pub(crate) fn cmd(&self, who: &Identity, place: &Place, start: u64) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        let (parts, keys) = self.keys();
        cmd.arg(&SHAS[self.index()]).arg(parts.len() + keys.len());
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
            Op::Invalidate { .. } | Op::Status | Op::Count { .. } => cmd,
            Op::Lease { id, discard, owner_for, .. } => cmd.arg(&id.0[..]).arg(u8::from(*discard)).arg(owner_for).arg(HOUR),
            Op::Fill { lease, entry, .. } => cmd.arg(&lease.0[..]).arg(entry).arg(HOUR),
            Op::Accept { changes, bounds, in_time } => {
                cmd.arg(not_after(*in_time, start)).arg(bounds.keys).arg(bounds.bytes).arg(millis(bounds.age));
                changes.iter().fold(cmd, |cmd, change| cmd.arg(&change.schema.to_be_bytes()[..]).arg(&change.value))
            }
            Op::Settled { inc, changes } => changes.iter().fold(cmd.arg(inc), |cmd, (_, version)| cmd.arg(in_bytes(*version))),
            Op::Redrive { letters, bounds } => {
                cmd.arg(bounds.keys).arg(bounds.bytes).arg(millis(bounds.age));
                letters.iter().fold(cmd, |cmd, (_, version)| cmd.arg(in_bytes(*version)))
            }
            Op::Discard { letters } => letters.iter().fold(cmd, |cmd, (_, version)| cmd.arg(in_bytes(*version))),
            Op::Split { epoch, batch, keep } => cmd.arg(epoch).arg(batch.epoch).arg(batch.batch).arg(keep),
            Op::Delay { epoch, batch, pause, counts } => {
                cmd.arg(epoch).arg(batch.epoch).arg(batch.batch).arg(pause).arg(u8::from(*counts))
            }
            Op::Ended { epoch, batch } => cmd.arg(epoch).arg(batch.epoch).arg(batch.batch),
            Op::Lead { holder, hold } => cmd.arg(&holder.0[..]).arg(hold),
            Op::Install(Install { identity, epoch, batch, diverged }) => {
                cmd.arg(&identity.0).arg(epoch).arg(batch).arg(diverged.map_or(String::new(), |epoch| epoch.to_string()))
            }
            Op::Claim { epoch, from, freeze } => {
                cmd.arg(epoch).arg(from).arg(&freeze.schema.to_be_bytes()[..]);
                cmd.arg(freeze.max_keys).arg(freeze.max_bytes).arg(u8::from(freeze.suspects_first))
            }
            Op::Acknowledge { epoch, batch, acks } => {
                cmd.arg(epoch).arg(batch.epoch).arg(batch.batch);
                acks.iter().fold(cmd, |cmd, ack| match &ack.clean {
                    Some((entry, ttl)) => cmd.arg(entry).arg(millis(*ttl)),
                    None => cmd.arg("").arg(0),
                })
            }
            Op::Park { epoch, batch, reason, cause, .. } => {
                cmd.arg(epoch).arg(batch.epoch).arg(batch.batch).arg(&[letter(*reason)][..]).arg(cause)
            }
            Op::Dirty { epoch, from } => cmd.arg(epoch).arg(from),
            Op::Supersede { epoch, cause, .. } => cmd.arg(epoch).arg(cause),
            Op::Release { epoch, batch, drop } => {
                cmd.arg(epoch).arg(batch.epoch).arg(batch.batch).arg(if drop.is_some() { "DROP" } else { "DISSOLVE" })
            }
            Op::Resume { epoch, batch } => cmd.arg(epoch).arg(batch),
            Op::DeadLetters { after } => match after {
                None => cmd.arg("-"),
                Some((version, key)) => cmd.arg([b"(", &in_bytes(*version)[..], &key[place.stem.len()..]].concat()),
            },
        };
    }
}

fn in_bytes(version: Version) -> Vec<u8> {
    [version.epoch.to_be_bytes(), version.seq.to_be_bytes()].concat()
}

pub(crate) fn letter(reason: Reason) -> u8 {
    match reason {
        Reason::Refused => b'R',
        Reason::Damaged => b'D',
        Reason::Ambiguous => b'A',
    }
}

pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).expect("short")
}
