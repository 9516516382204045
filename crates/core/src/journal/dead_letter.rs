//! Changes that were set aside.

use std::fmt;
use std::time::Duration;

use super::{Bound, Version};
use crate::cache::Bytes;

/// Why a change was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// SQL refused it, or the table's own code failed on it, time and again, while SQL took others or answered at least.
    Refused,
    /// It cannot be read.
    Damaged,
    /// The cache server was restored to a state that is older than the batch log reaches: SQL may have something newer.
    Ambiguous,
}

/// A change that was set aside.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The cache key.
    pub key: Bytes,
    /// Which change of it.
    pub version: Version,
    /// Its row's schema version.
    pub schema: u32,
    /// Why it was set aside.
    pub reason: Reason,
    /// The same in words; may quote what SQL said, and so the row.
    pub cause: String,
    /// How often it failed alone.
    pub tries: u64,
    /// When it was set aside, by the server's clock, since the Unix epoch.
    pub at: Duration,
    /// The value entry as it was accepted.
    pub value: Bytes,
}

/// Without what may quote the row.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeadLetter { version, schema, reason, tries, at, .. } = self;
        let mut letter = f.debug_struct("DeadLetter");
        letter.field("version", version).field("schema", schema).field("reason", reason).field("tries", tries).field("at", at);
        letter.finish_non_exhaustive()
    }
}

/// What to set aside, and why.
#[derive(Clone, Copy, Debug)]
pub struct Park<'a> {
    /// The cache keys.
    pub keys: &'a [Bytes],
    /// Why.
    pub reason: Reason,
    /// In words.
    pub cause: &'a str,
}

/// What became of a dead letter that was to be driven again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redriven {
    /// It is dirty again, as the key's newest change.
    Dirty,
    /// A newer change of the key is on its way: the letter stays until that one is in SQL.
    Superseded,
    /// There is no such letter (any more).
    Gone,
    /// Not yet, because a bound would be passed.
    Full(Bound),
    /// The key belongs to a newer release or to another strategy.
    Foreign,
    /// Its increments cannot be added to those that are dirty.
    Unfit,
}
