//! What happens next, drawn so that most of it means something.

use std::time::Duration;

use fastrand::Rng;
use redis::Cmd;
use writeway_core::cache::{Bytes, Id};
use writeway_core::entry::held::{self, Held};
use writeway_core::entry::shard::ShardState;
use writeway_core::entry::state::{Slot, State};
use writeway_core::journal::{Accept, Ack, BatchId, Bounds, Freeze, Identity, Install, PAGE, Reason, Version};

use crate::Model;
use crate::op::{HOUR, Op};
use crate::place::{NAMES, Place};

/// What happens to the server past the scripts.
#[derive(Clone, Debug)]
pub(crate) enum Seed {
    /// The shard as another server knows it: that server was restored from a copy of this one.
    Restored(Identity),
    /// Somebody else wrote or removed an entry.
    Entry { key: Bytes, bytes: Option<Bytes>, expires: Option<u64> },
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) seeded: Option<Seed>,
    pub(crate) op: Op,
    pub(crate) who: Identity,
}

impl Seed {
    pub(crate) fn cmd(&self, place: &Place) -> Cmd {
        match self {
            Seed::Restored(identity) => redis::Cmd::hset(&place.parts[0], "identity", &identity.0),
            Seed::Entry { key, bytes: None, .. } => redis::Cmd::del(place.full(key)),
            Seed::Entry { key, bytes: Some(bytes), expires } => {
                let mut cmd = redis::Cmd::set(place.full(key), bytes);
                if let Some(at) = expires {
                    cmd.arg("PXAT").arg(at);
                }
                cmd
            }
        }
    }

    pub(crate) fn apply(&self, shard: &mut ShardState) {
        match self {
            Seed::Restored(identity) => shard.meta.as_mut().expect("installed").identity = identity.clone(),
            Seed::Entry { key, bytes, expires } => {
                shard.entries.remove(key);
                if let Some(held) = bytes.as_deref().and_then(|bytes| held::from_bytes(bytes, *expires)) {
                    shard.entries.insert(key.clone(), held);
                }
            }
        }
    }
}

/// Draws on a model that runs ahead, by a clock that stands still: its guesses need only be good on the whole.
pub(crate) struct Draw<'a> {
    pub(crate) rng: Rng,
    pub(crate) ahead: Model,
    pub(crate) start: u64,
    place: &'a Place,
    /// How often each script was drawn.
    drawn: [usize; NAMES.len()],
}

impl Draw<'_> {
    pub(crate) fn new(seed: u64, start: u64, place: &Place) -> Draw<'_> {
        Draw { rng: Rng::with_seed(seed), ahead: Model::default(), start, place, drawn: [0; NAMES.len()] }
    }

    pub(crate) fn step(&mut self) -> Step {
        let seeded = match self.rng.u8(..100) {
            0..3 if self.ahead.shard.meta.is_some() => Some(Seed::Restored(self.identity())),
            3..14 if self.place.keys.len() < PAGE => Some(self.entry()),
            _ => None,
        };
        if let Some(seeded) = &seeded {
            seeded.apply(&mut self.ahead.shard);
        }
        let meta = self.ahead.shard.meta.clone().unwrap_or_default();
        let known = meta.recovering.clone().unwrap_or_else(|| meta.identity.clone());
        let two_pages = self.ahead.shard.frozen.len() > PAGE;
        let one_in = if self.wide() && !two_pages { 40 } else { 12 };
        let who = if known.0.is_empty() || self.rng.u8(..one_in) == 0 { self.identity() } else { known };
        let ready = meta.identity == who && meta.recovering.is_none();
        // Mostly such as have something to do.
        let among: &[usize] = match self.rng.u8(..10) {
            0..7 if meta.recovering.is_some() && two_pages => &[11, 12, 13, 13],
            0..7 if meta.recovering.is_some() => &[7, 11, 12, 13, 14],
            0..7 if ready && self.wide() => &[4, 4, 4, 8, 8, 8, 9, 10, 7, 16, 16, 21],
            0..7 if ready => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 15, 16, 17, 18, 19, 20, 21],
            0..5 => &[7],
            _ => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21],
        };
        // The one of four that is furthest behind; a wide shard has to fill up.
        let four = [(); 4].map(|()| among[self.rng.usize(..among.len())]);
        let pick = if self.wide() { four[0] } else { four.into_iter().min_by_key(|n| self.drawn[*n]).expect("four") };
        self.drawn[pick] += 1;
        let op = self.op(pick, &who);
        op.run(&mut self.ahead, &who, self.start, self.start);
        Step { seeded, op, who }
    }

    fn op(&mut self, pick: usize, who: &Identity) -> Op {
        match pick {
            0 => Op::Lease {
                key: self.key(),
                id: self.id(),
                discard: self.rng.u8(..4) == 0,
                owner_for: [0, HOUR][self.rng.usize(..2)],
            },
            1 => self.fill(),
            2 => Op::Invalidate { key: self.key() },
            3 => Op::Status,
            4 => self.accept(),
            5 => self.settled(),
            6 => Op::Lead { holder: self.id(), hold: [0, HOUR, HOUR][self.rng.usize(..3)] },
            7 => {
                let meta = self.ahead.shard.meta.clone().unwrap_or_default();
                let identity = if self.rng.u8(..10) == 0 { self.identity() } else { who.clone() };
                let epoch = if self.rng.u8(..10) == 0 { meta.epoch.saturating_sub(1) } else { meta.epoch + 1 };
                Op::Install(Install {
                    identity,
                    epoch,
                    batch: self.near(meta.batch),
                    diverged: (self.rng.u8(..8) == 0).then(|| self.near(meta.epoch)),
                })
            }
            8 => self.claim(),
            9 => {
                let (epoch, batch) = (self.epoch(), self.batch());
                let keys = self.frozen_keys();
                let acks = keys.into_iter().map(|key| Ack { key, clean: self.clean() }).collect();
                Op::Acknowledge { epoch, batch, acks }
            }
            10 => Op::Park {
                epoch: self.epoch(),
                batch: self.batch(),
                keys: self.frozen_keys(),
                reason: [Reason::Refused, Reason::Damaged][self.rng.usize(..2)],
                cause: self.cause(),
            },
            11 => Op::Dirty { epoch: self.epoch(), from: [0, 0, 1, 3, 250][self.rng.usize(..5)] },
            12 => {
                let cause = self.rng.bool().then(|| self.cause());
                Op::Supersede { epoch: self.epoch(), keys: self.some_keys(), cause }
            }
            13 => {
                let drop = self.rng.bool().then(|| self.frozen_keys());
                Op::Release { epoch: self.epoch(), batch: self.batch(), drop }
            }
            14 => {
                let batch = self.ahead.shard.meta.as_ref().map_or(0, |meta| meta.batch);
                Op::Resume { epoch: self.epoch(), batch: self.near(batch) }
            }
            15 => Op::DeadLetters { after: self.rng.bool().then(|| self.letter()).map(|(key, version)| (version, key)) },
            16 => Op::Split { epoch: self.epoch(), batch: self.batch(), keep: self.keep() },
            17 => Op::Delay {
                epoch: self.epoch(),
                batch: self.batch(),
                pause: [1, 2, 20, HOUR][self.rng.usize(..4)],
                counts: self.rng.bool(),
            },
            18 => {
                let bounds = [self.bounds(), self.tight_bounds()][self.rng.usize(..2)];
                Op::Redrive { letters: self.letters(), bounds }
            }
            20 => Op::Ended { epoch: self.epoch(), batch: self.batch() },
            21 => Op::Count { keys: self.some_keys() },
            // Mostly in vain: letters should last.
            _ if self.rng.u8(..3) > 0 => Op::Discard { letters: vec![(self.key(), Version::default())] },
            _ => Op::Discard { letters: self.letters() },
        }
    }

    fn fill(&mut self) -> Op {
        let leased = self.ahead.shard.entries.iter().find_map(|(key, held)| match held {
            Held::Clean { slot: Slot { state: State::Leased { id, .. }, .. }, .. } => Some((key.clone(), *id)),
            _ => None,
        });
        let (key, lease) = leased.filter(|_| self.rng.u8(..3) > 0).unwrap_or_else(|| (self.key(), self.id()));
        Op::Fill { key, lease, entry: self.value() }
    }

    fn accept(&mut self) -> Op {
        let mut keys = self.some_keys();
        // Letters should meet later changes.
        let dead = self.ahead.shard.dead.keys().next().cloned();
        keys.extend(dead.filter(|_| !self.wide() && self.rng.bool()));
        let changes = keys.into_iter().map(|key| Accept { schema: self.schema(), value: self.change(&key), key }).collect();
        let bounds = self.bounds();
        Op::Accept { changes, bounds, in_time: self.rng.u8(..12) > 0 }
    }

    fn bounds(&mut self) -> Bounds {
        let wide = self.wide();
        let generous = wide || self.rng.u8(..3) > 0;
        Bounds {
            keys: if generous { 1 << 50 } else { self.rng.u64(..6) },
            bytes: if generous { 1 << 50 } else { self.rng.u64(..120) },
            age: Duration::from_millis(if wide { HOUR } else { [0, 3, HOUR, HOUR, HOUR, HOUR, HOUR][self.rng.usize(..7)] }),
        }
    }

    fn tight_bounds(&mut self) -> Bounds {
        let tight = Bounds { keys: 1 << 50, bytes: 1 << 50, age: Duration::from_millis(HOUR) };
        match self.rng.u8(..3) {
            0 => Bounds { keys: self.rng.u64(..3), ..tight },
            1 => Bounds { bytes: self.rng.u64(..40), ..tight },
            _ => Bounds { age: Duration::ZERO, ..tight },
        }
    }

    fn keep(&mut self) -> u64 {
        if self.wide() { self.rng.u64(..300) } else { self.rng.u64(..3) }
    }

    /// Mostly of what was set aside.
    fn letter(&mut self) -> (Bytes, Version) {
        let dead: Vec<_> = self.ahead.shard.dead.iter().map(|(key, dead)| (key.clone(), dead.change.version)).collect();
        if dead.is_empty() || self.rng.u8(..5) == 0 {
            let key = self.key();
            let version = self.version(&key);
            return (key, version);
        }
        // There increments meet others.
        let met: Vec<_> = dead.iter().filter(|(key, _)| self.ahead.shard.dirty.contains_key(key)).collect();
        if !met.is_empty() && self.rng.u8(..4) > 0 {
            met[self.rng.usize(..met.len())].clone()
        } else {
            dead[self.rng.usize(..dead.len())].clone()
        }
    }

    fn letters(&mut self) -> Vec<(Bytes, Version)> {
        (0..self.rng.usize(1..4)).map(|_| self.letter()).collect()
    }

    fn settled(&mut self) -> Op {
        let changes = self.some_keys().into_iter().map(|key| {
            let version = self.version(&key);
            (key, version)
        });
        let changes = changes.collect();
        let inc = self.ahead.shard.meta.as_ref().map_or(0, |meta| meta.inc);
        Op::Settled { inc: if self.rng.u8(..4) == 0 { self.near(inc) } else { inc }, changes }
    }

    /// At or beside one that the key has somewhere.
    fn version(&mut self, key: &Bytes) -> Version {
        let shard = &self.ahead.shard;
        let dirty = match shard.entries.get(key) {
            Some(Held::Dirty(dirty)) => Some(dirty),
            _ => None,
        };
        let frozen = shard.frozen.get(key).map(|frozen| &frozen.change);
        let dead = shard.dead.get(key).map(|dead| &dead.change);
        let meta = shard.meta.clone().unwrap_or_default();
        let last = Version { epoch: meta.epoch, seq: meta.seq };
        let near = [dirty, frozen, dead][self.rng.usize(..3)];
        let near = near.map_or(last, |change| [change.version, change.first][self.rng.usize(..2)]);
        let seq = if self.rng.u8(..30) == 0 { u64::MAX - self.rng.u64(..3) } else { self.near(near.seq) };
        Version { epoch: if self.rng.u8(..10) == 0 { self.near(near.epoch) } else { near.epoch }, seq }
    }

    fn claim(&mut self) -> Op {
        let wide = self.wide();
        let freeze = Freeze {
            schema: self.schema(),
            max_keys: if wide { [250, 500, 5_000][self.rng.usize(..3)] } else { self.rng.u64(1..6) },
            max_bytes: if wide || self.rng.bool() { 1 << 40 } else { self.rng.u64(1..80) },
            suspects_first: self.rng.bool(),
        };
        let from = if wide { [0, 0, 200, 400, 199][self.rng.usize(..5)] } else { [0, 0, 0, 0, 1, 2][self.rng.usize(..6)] };
        Op::Claim { epoch: self.epoch(), from, freeze }
    }

    fn wide(&self) -> bool {
        self.place.keys.len() > PAGE
    }

    /// One schema in most of a wide run, so that a claim's search has to go far for the other.
    pub(crate) fn schema(&mut self) -> u32 {
        if self.wide() { u32::from(self.rng.u16(..2_000) == 0) } else { u32::from(self.rng.u8(..5) == 0) }
    }

    pub(crate) fn key(&mut self) -> Bytes {
        self.place.keys[self.rng.usize(..self.place.keys.len())].clone()
    }

    fn some_keys(&mut self) -> Vec<Bytes> {
        let all = self.place.keys.len();
        let count = if self.wide() { self.rng.usize(150..=PAGE) } else { self.rng.usize(1..4) };
        let from = self.rng.usize(..all);
        (0..count).map(|n| if self.wide() { self.place.keys[(from + n) % all].clone() } else { self.key() }).collect()
    }

    /// Mostly such as are in the open batch.
    fn frozen_keys(&mut self) -> Vec<Bytes> {
        let frozen: Vec<Bytes> = self.ahead.shard.frozen.keys().cloned().collect();
        if frozen.is_empty() || self.rng.u8(..5) == 0 {
            return self.some_keys();
        }
        // Few of many, mostly: a batch of more than one page should last.
        let count = match self.wide() {
            true if self.rng.u8(..4) == 0 => PAGE,
            true => self.rng.usize(1..40),
            false => self.rng.usize(1..4),
        };
        let from = self.rng.usize(..frozen.len());
        frozen.iter().cycle().skip(from).take(count).cloned().collect()
    }

    fn epoch(&mut self) -> u64 {
        let epoch = self.ahead.shard.meta.as_ref().map_or(0, |meta| meta.epoch);
        if self.rng.u8(..25) == 0 { self.near(epoch) } else { epoch }
    }

    fn batch(&mut self) -> BatchId {
        let meta = self.ahead.shard.meta.clone().unwrap_or_default();
        match meta.open {
            Some(open) if self.rng.u8(..10) > 0 => open.id,
            _ => BatchId { epoch: self.near(meta.epoch), batch: self.near(meta.batch) },
        }
    }

    pub(crate) fn near(&mut self, n: u64) -> u64 {
        (n + self.rng.u64(..3)).saturating_sub(1)
    }

    fn identity(&mut self) -> Identity {
        Identity(vec![b'A' + self.rng.u8(..2)])
    }

    pub(crate) fn id(&mut self) -> Id {
        Id([self.rng.u8(..3); 16])
    }

    fn cause(&mut self) -> String {
        ["", "ambiguous", "größer"][self.rng.usize(..3)].to_owned()
    }

    fn clean(&mut self) -> Option<(Bytes, Duration)> {
        self.rng.bool().then(|| (self.value(), Duration::from_millis(HOUR)))
    }
}
