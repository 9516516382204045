//! What lies under keys, drawn: rows, increments, and what somebody else wrote.

use writeway_core::cache::Bytes;
use writeway_core::entry::held::{self, Dirty, Held};
use writeway_core::entry::increments::{Increments, base_of};
use writeway_core::entry::state::{Slot, State};
use writeway_core::entry::{CLEAN, DIRTY, FORMAT, LEASE, MAGIC, VALUE};
use writeway_core::journal::Version;

use crate::draw::{Draw, Seed};
use crate::op::HOUR;

impl Draw<'_> {
    pub(crate) fn value(&mut self) -> Bytes {
        let mut entry = vec![MAGIC, VALUE, FORMAT];
        entry.extend((0..self.rng.usize(9..20)).map(|_| self.rng.u8(..)));
        entry
    }

    /// Of every second key mostly increments, of the others mostly a row.
    pub(crate) fn change(&mut self, key: &Bytes) -> Bytes {
        let counts = key.last().is_some_and(|digit| digit % 2 == 0);
        if counts == (self.rng.u8(..25) > 0) { self.increments() } else { self.value() }
    }

    /// Some of them damaged.
    fn increments(&mut self) -> Bytes {
        let names: [&[u8]; 4] = [b"n", b"likes", &[b'x'; 64], &[0, 0xd7]];
        let from = self.rng.usize(..names.len());
        let count = [0, 1, 1, 1, 2, 2, 3, 4][self.rng.usize(..8)];
        let fields = (0..count).map(|n| (names[(from + n) % names.len()].to_vec(), self.by())).collect();
        let key = vec![self.rng.u8(..2)];
        let mut bytes = Increments { key, fields }.to_bytes();
        match self.rng.u8(..30) {
            0 => bytes.truncate(self.rng.usize(3..=bytes.len())),
            1 => bytes.push(self.rng.u8(..)),
            2 => bytes.extend([&[0][..], &[7; 8]].concat()),
            3 => bytes.extend([&[65; 66][..], &[7; 8]].concat()),
            4 => bytes.extend([&[1, b'n'][..], &[7; 8], &[1, b'n'], &[7; 8]].concat()),
            5 => bytes[3 + self.rng.usize(..3)] ^= 1 << self.rng.u8(..8),
            6 => bytes[2] = FORMAT + 1,
            _ => {}
        }
        bytes
    }

    /// Such as carry, change signs, or do not fit.
    fn by(&mut self) -> i64 {
        let small = self.rng.i64(-3..=3);
        match self.rng.u8(..14) {
            0 | 1 => i64::MAX.saturating_sub(small.abs()),
            2 | 3 => i64::MIN.saturating_add(small.abs()),
            4 => (1 << 62) + small,
            5 => -(1 << 62) + small,
            6 => (1 << 32) + small,
            7 => -(1 << 32) + small,
            8 => (1 << 53) + small,
            9 => self.rng.i64(..) >> self.rng.u8(1..8),
            _ => small,
        }
    }

    /// A copy or lease of this incarnation or another, an accepted change, another kind or format, damage, or nothing.
    pub(crate) fn entry(&mut self) -> Seed {
        // There a change may come back from the batch.
        let frozen = self.ahead.shard.frozen.keys().next().cloned().filter(|_| self.rng.u8(..4) == 0);
        let key = frozen.unwrap_or_else(|| self.key());
        let key = if self.rng.u8(..3) == 0 { base_of(&key) } else { key };
        let inc = self.ahead.shard.meta.as_ref().map_or(0, |meta| meta.inc);
        let inc = if self.rng.u8(..4) == 0 { self.near(inc) } else { inc };
        let state = if self.rng.bool() {
            State::Value(self.value())
        } else {
            State::Leased { id: self.id(), owner_until: [0, self.start + 2 * HOUR, u64::MAX][self.rng.usize(..3)] }
        };
        let held = if self.rng.u8(..5) == 0 {
            let version = Version { epoch: self.rng.u64(..4), seq: self.rng.u64(..9) };
            Held::Dirty(Dirty { schema: self.schema(), version, first: version, value: self.change(&key) })
        } else {
            Held::Clean { inc, slot: Slot { state, expires: None } }
        };
        let mut bytes = held::to_bytes(&held);
        let roll = self.rng.u8(..10);
        match roll {
            0..2 => return Seed::Entry { key, bytes: None, expires: None },
            2 => bytes[2] = FORMAT + 1,
            3 => bytes[1] = [VALUE, LEASE, CLEAN, DIRTY][self.rng.usize(..4)],
            4 => bytes.truncate(self.rng.usize(..bytes.len())),
            5 => bytes.extend([7; 3]),
            6 => bytes[0] = self.rng.u8(..),
            _ => {}
        }
        let expires = match held::from_bytes(&bytes, None) {
            Some(Held::Clean { .. }) => Some(self.start + 3 * HOUR),
            _ => None,
        };
        Seed::Entry { key, bytes: Some(bytes), expires }
    }
}
