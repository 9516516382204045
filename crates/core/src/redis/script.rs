//! The scripts: one operation on one key each. Their states and answers are those of [`entry::state`](crate::entry::state).

use std::sync::OnceLock;

use redis::{Cmd, Pipeline};

/// A script and the name under which the server keeps it.
pub(super) struct Script {
    source: &'static str,
    sha: OnceLock<String>,
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

impl Script {
    const fn new(source: &'static str) -> Self {
        Script { source, sha: OnceLock::new() }
    }

    /// Starts a pipeline of calls; what it puts in front has an answer of its own.
    pub(super) fn open(&self, pipeline: &mut Pipeline, form: Form) {
        if form == Form::Loaded {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(self.source);
        }
    }

    /// A call on one key; the caller adds the arguments.
    pub(super) fn call(&self, form: Form, key: &[u8]) -> Cmd {
        let mut cmd = Cmd::new();
        if form == Form::Whole {
            cmd.arg("EVAL").arg(self.source);
        } else {
            let sha = self.sha.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned());
            cmd.arg("EVALSHA").arg(sha);
        }
        cmd.arg(1).arg(key);
        cmd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_room_runs_when_memory_is_full() {
        let first = |script: &Script| script.source.lines().next().unwrap_or_default();
        for script in [&BEGIN, &FINISH, &INVALIDATE] {
            assert_eq!(first(script), "#!lua flags=allow-oom");
        }
        for script in [&LEASE, &FILL] {
            assert_eq!(first(script), "#!lua");
        }
    }
}
