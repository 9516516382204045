//! What a level needs of the server, and what its answer to the question for it means. Pure.

use redis::Value;

use super::reply;
use super::server::About;
use crate::error::{Error, Result};
use crate::level::Level;

/// Since then a server says whether what was written is on its disk.
const WAITAOF: (u32, u32) = (7, 2);

/// How a level is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `WAIT`: so many replicas.
    Wait(u8),
    /// `WAITAOF`: the server's own disk.
    WaitAof,
    /// An accept's own answer came after its fsync, if `appendfsync` is `always`: it is looked whether it is.
    Always,
}

/// What `CONFIG GET` says of the append-only file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fsync {
    policy: String,
    /// No fsync while the file is being rewritten, whatever the policy.
    pauses: bool,
}

/// What the server answered when it was asked for a level.
#[derive(Debug)]
pub(super) enum Reached {
    /// All that was written before.
    Yes,
    /// Not so many in time. They may still.
    NotYet,
    /// It will not be: the settings are wrong.
    Never(Error),
}

impl Way {
    /// None for the level that nothing confirms.
    pub(super) fn of(level: Level, release: (u32, u32)) -> Option<Way> {
        match level {
            Level::Memory => None,
            Level::Replicated(n) => Some(Way::Wait(n)),
            Level::LocalFsync if release >= WAITAOF => Some(Way::WaitAof),
            Level::LocalFsync => Some(Way::Always),
        }
    }

    /// The answer to the command that asks for it.
    pub(super) fn judge(self, answer: Value) -> Result<Reached> {
        let counted = |enough: bool| if enough { Reached::Yes } else { Reached::NotYet };
        match self {
            Way::Wait(n) => Ok(counted(reply::number(answer)? >= n.into())),
            Way::WaitAof => {
                let [local, _] = reply::exactly(answer)?;
                Ok(counted(reply::number(local)? >= 1))
            }
            Way::Always => match Fsync::read(answer)?.unmet(Way::Always) {
                None => Ok(Reached::Yes),
                Some(e) => Ok(Reached::Never(e)),
            },
        }
    }
}

impl Fsync {
    pub(super) const NAMES: [&str; 2] = ["appendfsync", "no-appendfsync-on-rewrite"];

    /// Reads the answer to `CONFIG GET` of [`NAMES`](Self::NAMES).
    pub(super) fn read(answer: Value) -> Result<Fsync> {
        let words = reply::list(answer)?.into_iter().map(reply::text).collect::<Result<Vec<_>>>()?;
        let value = |name: &str| {
            let pair = words.chunks_exact(2).find(|pair| pair[0] == name.as_bytes())?;
            Some(String::from_utf8_lossy(&pair[1]).into_owned())
        };
        let [policy, pauses] = Self::NAMES.map(value);
        Ok(Fsync { policy: policy.ok_or_else(reply::strange)?, pauses: pauses.as_deref() == Some("yes") })
    }

    fn unmet(&self, way: Way) -> Option<Error> {
        match (way, self.policy.as_str(), self.pauses) {
            (Way::Always, "always", true) => Some(Error::invalid(
                "accept_level is LocalFsync, and the cache server does not fsync while it rewrites its file: set its \
                 no-appendfsync-on-rewrite to no",
            )),
            (Way::Always, "always", false) => None,
            (Way::Always, policy, _) => Some(Error::invalid(format!(
                "accept_level is LocalFsync, and the cache server's appendfsync is {policy}: set it to always, or use Redis 7.2 or newer"
            ))),
            (_, "no", _) => Some(Error::invalid(
                "accept_level is LocalFsync, and the cache server never fsyncs by itself: set its appendfsync to everysec or always",
            )),
            _ => None,
        }
    }
}

/// What the level needs and the server does not do. `fsync` is `None` where the server does not tell.
pub(super) fn unmet(about: &About, level: Level, fsync: Option<&Fsync>) -> Option<Error> {
    match (Way::of(level, about.release)?, fsync) {
        (Way::Wait(n), _) if about.replicas >= n.into() => None,
        (Way::Wait(n), _) => Some(Error::unavailable(format!(
            "accept_level is Replicated({n}), and the cache server has {} replicas that are online",
            about.replicas
        ))),
        _ if !about.append_only => Some(Error::invalid(
            "accept_level is LocalFsync, and the cache server has no append-only file: set its appendonly to yes",
        )),
        (Way::Always, None) => Some(Error::invalid(
            "accept_level is LocalFsync, and this release tells by CONFIG GET alone whether appendfsync is always: allow the user \
             config|get, or use Redis 7.2 or newer",
        )),
        (way, Some(fsync)) => fsync.unmet(way),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn fsync(policy: &str, pauses: &str) -> Fsync {
        let words = ["no-appendfsync-on-rewrite", pauses, "appendfsync", policy].map(bulk);
        Fsync::read(Value::Array(words.into())).expect("an answer")
    }

    fn refused(text: &str, level: Level, fsync: Option<&Fsync>) -> Option<(Kind, String)> {
        unmet(&About::read(text), level, fsync).map(|e| (e.kind(), e.to_string()))
    }

    #[test]
    fn counts_are_checked() {
        let reached = |way: Way, answer: Value| matches!(way.judge(answer).expect("understood"), Reached::Yes);
        for (n, met) in [(0, false), (1, false), (2, true), (3, true)] {
            assert_eq!(reached(Way::Wait(2), Value::Int(n)), met, "invariant violated: the replicas that confirm are counted");
        }
        for (local, met) in [(0, false), (1, true)] {
            let answer = Value::Array(vec![Value::Int(local), Value::Int(9)]);
            assert_eq!(reached(Way::WaitAof, answer), met, "invariant violated: the disk that counts is the server's own");
        }
        assert!(Way::Wait(1).judge(bulk("x")).is_err() && Way::WaitAof.judge(Value::Int(1)).is_err());
    }

    #[test]
    fn an_answer_after_its_fsync_needs_always_and_no_pause() {
        let config = |fsync: Fsync| {
            let pauses = if fsync.pauses { "yes" } else { "no" };
            Value::Array([Fsync::NAMES[0], &fsync.policy, Fsync::NAMES[1], pauses].map(bulk).into())
        };
        let judged = |fsync: Fsync| Way::Always.judge(config(fsync)).expect("understood");
        assert!(matches!(judged(fsync("always", "no")), Reached::Yes));
        for wrong in [fsync("always", "yes"), fsync("everysec", "no"), fsync("no", "no")] {
            assert!(matches!(judged(wrong), Reached::Never(_)), "invariant violated: a policy that was changed confirms nothing");
        }
    }

    #[test]
    fn a_level_that_the_server_cannot_reach_is_named() {
        let two =
            "redis_version:7.0.15\r\nslave0:ip=a,port=1,state=online,offset=1,lag=0\r\nslave1:ip=b,port=1,state=wait_bgsave\r\n";
        assert_eq!(refused(two, Level::Replicated(1), None), None);
        let (kind, text) = refused(two, Level::Replicated(2), None).expect("one is not online");
        assert_eq!(kind, Kind::Unavailable, "it may come");
        assert!(text.contains("Replicated(2)") && text.contains("has 1 replicas"), "{text}");
        assert_eq!(refused("", Level::Memory, None), None);
    }

    #[test]
    fn a_disk_needs_a_file_and_a_policy() {
        let (old, new) = ("redis_version:7.0.15\naof_enabled:1", "redis_version:7.2.0\naof_enabled:1");
        let of = |text: &str, fsync: Option<Fsync>| refused(text, Level::LocalFsync, fsync.as_ref());
        let text = |refused: Option<(Kind, String)>| {
            let (kind, text) = refused.expect("refused");
            assert_eq!(kind, Kind::Invalid);
            text
        };
        assert!(text(of("redis_version:7.4.0\naof_enabled:0", None)).contains("appendonly"));
        assert_eq!(of(old, Some(fsync("always", "no"))), None);
        assert!(text(of(old, Some(fsync("always", "yes")))).contains("no-appendfsync-on-rewrite"));
        assert!(text(of(old, Some(fsync("everysec", "no")))).contains("is everysec"));
        assert!(text(of(old, None)).contains("config|get"));
        for fine in [None, Some(fsync("everysec", "yes")), Some(fsync("always", "no"))] {
            assert_eq!(of(new, fine), None);
        }
        assert!(text(of(new, Some(fsync("no", "no")))).contains("never fsyncs"));
    }
}
