//! The scripts. Those of look-aside do one operation on one key each; their states and answers are those of
//! [`entry::state`](crate::entry::state). Those of write-back do one operation on one shard each, by
//! [`entry::shard`](crate::entry::shard).

use std::sync::OnceLock;

use redis::{Cmd, Pipeline};

use super::compose::composed;

/// A script and the name under which the server keeps it.
pub(super) struct Script {
    /// Without the functions that it shares.
    own: &'static str,
    whole: OnceLock<Whole>,
}

struct Whole {
    source: String,
    sha: String,
}

/// How a script is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By name; the server may have forgotten it.
    Named,
    /// By name, after it was loaded in the same pipeline.
    Loaded,
    /// With its source, which cannot miss.
    Whole,
}

/// `Slot::lease`
pub(super) static LEASE: Script = Script::new(include_str!("scripts/lease.lua"));
/// `Slot::fill`
pub(super) static FILL: Script = Script::new(include_str!("scripts/fill.lua"));
/// `Slot::invalidate`
pub(super) static INVALIDATE: Script = Script::new(include_str!("scripts/invalidate.lua"));
/// `Slot::begin`
pub(super) static BEGIN: Script = Script::new(include_str!("scripts/begin.lua"));
/// `Slot::finish`
pub(super) static FINISH: Script = Script::new(include_str!("scripts/finish.lua"));

/// Those of write-back.
pub(super) mod journal {
    use super::Script;

    /// `ShardState::lease`
    pub(in crate::redis) static LEASE: Script = Script::new(include_str!("scripts/journal/lease.lua"));
    /// `ShardState::fill`
    pub(in crate::redis) static FILL: Script = Script::new(include_str!("scripts/journal/fill.lua"));
    /// `ShardState::invalidate`
    pub(in crate::redis) static INVALIDATE: Script = Script::new(include_str!("scripts/journal/invalidate.lua"));
    /// `ShardState::status`
    pub(in crate::redis) static STATUS: Script = Script::new(include_str!("scripts/journal/status.lua"));
    /// `ShardState::accept`
    pub(in crate::redis) static ACCEPT: Script = Script::new(include_str!("scripts/journal/accept.lua"));
    /// `ShardState::stands`
    pub(in crate::redis) static CONFIRM: Script = Script::new(include_str!("scripts/journal/confirm.lua"));
    /// `ShardState::settled`
    pub(in crate::redis) static SETTLED: Script = Script::new(include_str!("scripts/journal/settled.lua"));
    /// `ShardState::count`
    pub(in crate::redis) static COUNT: Script = Script::new(include_str!("scripts/journal/count.lua"));
    /// `ShardState::lead`
    pub(in crate::redis) static LEAD: Script = Script::new(include_str!("scripts/journal/lead.lua"));
    /// `Members::present`
    pub(in crate::redis) static PRESENT: Script = Script::new(include_str!("scripts/journal/present.lua"));
    /// `ShardState::install`
    pub(in crate::redis) static INSTALL: Script = Script::new(include_str!("scripts/journal/install.lua"));
    /// `ShardState::claim`
    pub(in crate::redis) static CLAIM: Script = Script::new(include_str!("scripts/journal/claim.lua"));
    /// `ShardState::acknowledge`
    pub(in crate::redis) static ACKNOWLEDGE: Script = Script::new(include_str!("scripts/journal/acknowledge.lua"));
    /// `ShardState::park`
    pub(in crate::redis) static PARK: Script = Script::new(include_str!("scripts/journal/park.lua"));
    /// `ShardState::split`
    pub(in crate::redis) static SPLIT: Script = Script::new(include_str!("scripts/journal/split.lua"));
    /// `ShardState::ended`
    pub(in crate::redis) static ENDED: Script = Script::new(include_str!("scripts/journal/ended.lua"));
    /// `ShardState::delay`
    pub(in crate::redis) static DELAY: Script = Script::new(include_str!("scripts/journal/delay.lua"));
    /// `ShardState::redrive`
    pub(in crate::redis) static REDRIVE: Script = Script::new(include_str!("scripts/journal/redrive.lua"));
    /// `ShardState::discard`
    pub(in crate::redis) static DISCARD: Script = Script::new(include_str!("scripts/journal/discard.lua"));
    /// `ShardState::dirty_keys`
    pub(in crate::redis) static DIRTY: Script = Script::new(include_str!("scripts/journal/dirty.lua"));
    /// `ShardState::supersede`
    pub(in crate::redis) static SUPERSEDE: Script = Script::new(include_str!("scripts/journal/supersede.lua"));
    /// `ShardState::release`
    pub(in crate::redis) static RELEASE: Script = Script::new(include_str!("scripts/journal/release.lua"));
    /// `ShardState::resume`
    pub(in crate::redis) static RESUME: Script = Script::new(include_str!("scripts/journal/resume.lua"));
    /// `ShardState::dead_letters`
    pub(in crate::redis) static DEAD_LETTERS: Script = Script::new(include_str!("scripts/journal/dead_letters.lua"));
}

impl Script {
    const fn new(own: &'static str) -> Self {
        Script { own, whole: OnceLock::new() }
    }

    fn whole(&self) -> &Whole {
        self.whole.get_or_init(|| {
            let source = composed(self.own);
            Whole { sha: redis::Script::new(&source).get_hash().to_owned(), source }
        })
    }

    /// Starts a pipeline of calls; what it puts in front has an answer of its own.
    pub(super) fn open(&self, pipeline: &mut Pipeline, form: Form) {
        if form == Form::Loaded {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(&self.whole().source);
        }
    }

    /// A call; the caller adds the number of keys, the keys and the arguments.
    pub(super) fn cmd(&self, form: Form) -> Cmd {
        let mut cmd = Cmd::new();
        if form == Form::Whole {
            cmd.arg("EVAL").arg(&self.whole().source);
        } else {
            cmd.arg("EVALSHA").arg(&self.whole().sha);
        }
        cmd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_room_runs_when_memory_is_full() {
        let first = |script: &'static Script| script.whole().source.lines().next().unwrap_or_default();
        for script in [&BEGIN, &FINISH, &INVALIDATE] {
            assert_eq!(first(script), "#!lua flags=allow-oom");
        }
        for script in [&LEASE, &FILL] {
            assert_eq!(first(script), "#!lua");
        }
    }

    #[test]
    fn what_drains_a_shard_runs_when_memory_is_full_and_what_fills_it_does_not() {
        use journal::*;
        let first = |script: &'static Script| script.whole().source.lines().next().unwrap_or_default();
        for script in [
            &INVALIDATE,
            &LEAD,
            &INSTALL,
            &CLAIM,
            &ACKNOWLEDGE,
            &PARK,
            &SPLIT,
            &ENDED,
            &DELAY,
            &DISCARD,
            &SUPERSEDE,
            &RELEASE,
            &RESUME,
            &CONFIRM,
            &PRESENT,
        ] {
            assert_eq!(first(script), "#!lua flags=allow-oom");
        }
        for script in [&LEASE, &FILL, &ACCEPT, &REDRIVE] {
            assert_eq!(first(script), "#!lua");
        }
        for script in [&STATUS, &SETTLED, &COUNT, &DIRTY, &DEAD_LETTERS] {
            assert_eq!(first(script), "#!lua flags=no-writes");
        }
    }
}
