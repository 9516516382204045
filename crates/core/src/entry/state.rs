//! The state of one look-aside key, as pure functions of (state, arguments, time).
//!
//! This is the one definition of the protocol's cache side. The in-process cache is a map of [`Slot`]s, the explorer's cache is
//! the same behind a simulated call, and the Lua scripts are its second form, held to it by a differential property test.
//!
//! **Invariant.** If every commit on a key lies between its writer's `begin` and that token's deadline, then whenever the state
//! is `Value(v)`, `v` is the committed row now:
//! * *fill* acts only on the lease it was granted: unbroken, it means no `begin` since the grant, hence no commit;
//! * *finish* publishes only for a token that is live, alone and unpoisoned: every other writer committed before this writer's
//!   `begin`, or begins after this `finish`;
//! * a later commit is preceded by its `begin`, which leaves `Value`.
//!
//! Barriers have no expiry of the key, so that an eviction policy that needs one cannot remove them.

use crate::cache::{Begun, Bytes, Finished, Id, Lease, Lookup};
use crate::entry::{BARRIER, FORMAT, LEASE, MAGIC, VALUE, VALUE_HEADER};

/// Writers that may be between begin and finish on one key at once. One more is refused.
pub const MAX_TOKENS: usize = 64;

/// What lies under a cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing, or damage.
    #[default]
    Absent,
    /// A whole value entry; its content is the caller's.
    Value(Bytes),
    /// Somebody may fill.
    Leased {
        /// Whoever fills must name it.
        id: Id,
        /// Until then nobody takes the lease over.
        owner_until: u64,
    },
    /// Writers are between begin and finish.
    Barrier {
        /// Who, and until when.
        tokens: Vec<(Id, u64)>,
        /// Writers overlapped: nobody may publish.
        poisoned: bool,
    },
    /// The right magic with another kind or format: hands off.
    Foreign(Bytes),
}

/// One key: its state and when the key expires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What lies there.
    pub state: State,
    /// When the cache drops it by itself; `None` for never. Only what has an expiry may be evicted.
    pub expires: Option<u64>,
}

impl Slot {
    /// Drops what has expired. To be called before anything else.
    pub fn expire(&mut self, now: u64) {
        if self.expires.is_some_and(|at| at <= now) {
            *self = Slot::default();
        }
    }

    /// Only a value is a hit.
    #[must_use]
    pub fn get(&self) -> Lookup {
        match &self.state {
            State::Value(entry) => Lookup::Hit(entry.clone()),
            _ => Lookup::Miss,
        }
    }

    /// Asks for the right to fill. An expired lease is taken over under its old id, so that the slow loader's result stays good.
    /// `discard` treats a value as nothing: its bytes were seen to be damaged.
    pub fn lease(&mut self, id: Id, discard: bool, now: u64, owner_for: u64, keep_for: u64) -> Lease {
        let id = match &self.state {
            State::Value(entry) if !discard => return Lease::Hit(entry.clone()),
            State::Leased { owner_until, .. } if *owner_until > now => return Lease::Busy,
            State::Barrier { tokens, .. } if live(tokens, now) => return Lease::Bypass,
            State::Foreign(_) => return Lease::Bypass,
            State::Leased { id, .. } => *id,
            State::Value(_) | State::Barrier { .. } | State::Absent => id,
        };
        self.set(State::Leased { id, owner_until: now + owner_for }, Some(now + keep_for));
        Lease::Granted(id)
    }

    /// Stores a loaded value, only into the lease under which it was loaded.
    pub fn fill(&mut self, lease: Id, entry: &[u8], ttl: u64, now: u64) {
        if matches!(self.state, State::Leased { id, .. } if id == lease) {
            self.set(State::Value(entry.to_vec()), Some(now + ttl));
        }
    }

    /// Removes a value and voids a lease. Writers that are under way may no longer publish. False: hands off.
    pub fn invalidate(&mut self, now: u64) -> bool {
        match &mut self.state {
            State::Foreign(_) => return false,
            State::Barrier { tokens, poisoned } if live(tokens, now) => *poisoned = true,
            _ => *self = Slot::default(),
        }
        true
    }

    /// A writer is about to COMMIT. Refused if it arrives after `not_after`: its caller has been answered.
    pub fn begin(&mut self, token: Id, within: u64, not_after: u64, now: u64) -> Begun {
        if now > not_after {
            return Begun::Late;
        }
        let (mut tokens, mut poisoned) = match std::mem::take(&mut self.state) {
            State::Foreign(entry) => {
                self.state = State::Foreign(entry);
                return Begun::Foreign;
            }
            State::Barrier { tokens, poisoned } => (tokens, poisoned),
            _ => (Vec::new(), false),
        };
        // A commit whose token has expired came before this begin.
        tokens.retain(|&(other, until)| other != token && until > now);
        poisoned = poisoned && !tokens.is_empty();
        let full = tokens.len() >= MAX_TOKENS;
        if !full {
            poisoned = poisoned || !tokens.is_empty();
            tokens.push((token, now + within));
        }
        self.set(State::Barrier { tokens, poisoned }, None);
        if full { Begun::Full } else { Begun::Placed }
    }

    /// A writer has ended. Publishes only where no other writer overlapped.
    pub fn finish(&mut self, token: Id, publish: Option<(&[u8], u64)>, now: u64) -> Finished {
        let (tokens, poisoned) = match &mut self.state {
            State::Foreign(_) => return Finished::Voided,
            State::Barrier { tokens, poisoned } => (tokens, poisoned),
            _ => {
                *self = Slot::default();
                return Finished::Voided;
            }
        };
        let mine = tokens.iter().any(|&(other, until)| other == token && until > now);
        tokens.retain(|&(other, until)| other != token && until > now);
        if !tokens.is_empty() {
            *poisoned = true;
            return Finished::Voided;
        }
        match publish {
            Some((entry, ttl)) if mine && !*poisoned => {
                self.set(State::Value(entry.to_vec()), Some(now + ttl));
                Finished::Published
            }
            _ => {
                *self = Slot::default();
                Finished::Voided
            }
        }
    }

    fn set(&mut self, state: State, expires: Option<u64>) {
        *self = Slot { state, expires };
    }
}

fn live(tokens: &[(Id, u64)], now: u64) -> bool {
    tokens.iter().any(|&(_, until)| until > now)
}

/// The bytes of a state, as they lie in Redis; `None` for no key.
#[must_use]
pub fn to_bytes(state: &State) -> Option<Bytes> {
    let mut out;
    match state {
        State::Absent => return None,
        State::Value(entry) | State::Foreign(entry) => return Some(entry.clone()),
        State::Leased { id, owner_until } => {
            out = vec![MAGIC, LEASE, FORMAT];
            out.extend_from_slice(&id.0);
            out.extend_from_slice(&owner_until.to_be_bytes());
        }
        State::Barrier { tokens, poisoned } => {
            out = vec![MAGIC, BARRIER, FORMAT, u8::from(*poisoned)];
            for (token, until) in tokens {
                out.extend_from_slice(&token.0);
                out.extend_from_slice(&until.to_be_bytes());
            }
        }
    }
    Some(out)
}

/// The state of bytes found in a cache; anything that is no entry is damage, hence [`State::Absent`].
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> State {
    let Some((&[magic, kind, format], body)) = bytes.split_first_chunk::<3>() else { return State::Absent };
    if magic != MAGIC {
        return State::Absent;
    }
    match (kind, format) {
        (VALUE, FORMAT) if bytes.len() >= VALUE_HEADER => State::Value(bytes.to_vec()),
        (LEASE, FORMAT) => timed_id(body).map_or(State::Absent, |(id, owner_until)| State::Leased { id, owner_until }),
        (BARRIER, FORMAT) => barrier(body).unwrap_or_default(),
        (VALUE, FORMAT) => State::Absent,
        _ => State::Foreign(bytes.to_vec()),
    }
}

fn barrier(body: &[u8]) -> Option<State> {
    let (&flags, list) = body.split_first()?;
    let tokens = list.chunks(24).map(timed_id).collect::<Option<Vec<_>>>()?;
    (flags <= 1 && !tokens.is_empty() && tokens.len() <= MAX_TOKENS).then_some(State::Barrier { tokens, poisoned: flags == 1 })
}

fn timed_id(bytes: &[u8]) -> Option<(Id, u64)> {
    let (id, time) = bytes.split_first_chunk::<16>()?;
    Some((Id(*id), u64::from_be_bytes(time.try_into().ok()?)))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
