//! What a new connection learns about the server behind it, from `INFO`: managed services forbid `CONFIG`.

use super::declared::is_journal;
use crate::cache::{Bytes, Declaration};
use crate::error::{Error, Result};

/// The scripts' flags and `SET … NX GET` came with this release.
const OLDEST: u32 = 7;

/// The parts of `INFO` that are read.
pub(super) const SECTIONS: [&str; 4] = ["server", "replication", "memory", "persistence"];

/// What `INFO` says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// Changes with every start of the server.
    pub(super) run_id: String,
    /// Changes when the server begins a history of its own, as a replica does that is promoted.
    replid: String,
    /// Copies another server, and may lag behind it.
    pub(super) replica: bool,
    /// What it does when memory is full; `None` if it does not say.
    policy: Option<String>,
    /// Writes every change to a file.
    pub(super) append_only: bool,
    /// Reads its file after a start.
    loading: bool,
    /// How many replicas are online.
    pub(super) replicas: u32,
    /// The first two numbers.
    pub(super) release: (u32, u32),
}

impl About {
    /// Reads the text of `INFO`; what is missing stays empty.
    pub(super) fn read(info: &str) -> Self {
        let mut about = About::default();
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            match name {
                "run_id" => value.clone_into(&mut about.run_id),
                "master_replid" => value.clone_into(&mut about.replid),
                "role" => about.replica = value != "master",
                "maxmemory_policy" => about.policy = Some(value.to_owned()),
                "aof_enabled" => about.append_only = value == "1",
                "loading" => about.loading = value == "1",
                "redis_version" => {
                    let mut numbers = value.split('.').map_while(|n| n.parse().ok());
                    about.release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                }
                // One line each; `connected_slaves` counts those that are still being sent the data.
                _ if name.starts_with("slave") && value.contains(",state=online,") => about.replicas += 1,
                _ => {}
            }
        }
        about
    }

    /// Changes whenever what the server holds may be another state than it was: at a start, a failover, a restore.
    pub(super) fn identity(&self) -> Bytes {
        [self.run_id.as_bytes(), b":", self.replid.as_bytes()].concat()
    }

    /// # Errors
    /// `Invalid` for a server that is too old.
    pub(super) fn check_release(&self) -> Result<()> {
        if self.release.0 >= OLDEST {
            return Ok(());
        }
        Err(Error::invalid(format!("the cache server must be Redis {OLDEST}.0 or newer")))
    }

    /// A server that is about to serve, and whose word counts: while it reads its append-only file, it says that it has none.
    ///
    /// # Errors
    /// `Unavailable` for a replica and for a server that still loads its data.
    pub(super) fn check_role(&self) -> Result<()> {
        if self.replica {
            return Err(Error::unavailable("the cache server is a replica"));
        }
        if self.loading {
            return Err(Error::unavailable("the cache server is still loading its data"));
        }
        Ok(())
    }

    /// What the namespace needs of the server.
    ///
    /// # Errors
    /// `Invalid` if the server could remove a key that has no expiry, or forgets everything when it restarts, or, for
    /// write-back, cannot be told from another one.
    pub(super) fn check(&self, declaration: &Declaration) -> Result<()> {
        self.unmet(declaration).into_iter().next().map_or(Ok(()), Err)
    }

    /// All that the namespace needs and the server does not do, each as the error with which to refuse it.
    pub(super) fn unmet(&self, declaration: &Declaration) -> Vec<Error> {
        let write_back = is_journal(declaration.mode);
        let mut unmet = Vec::new();
        if declaration.no_eviction {
            unmet.extend(self.evicts(write_back));
        }
        if declaration.persistence && !self.append_only {
            unmet.push(Error::invalid(
                "the cache server does not log its changes to a file, so that accepted changes are lost when it restarts: set its \
                 appendonly to yes, or accept that with allow_volatile_changes()",
            ));
        }
        if write_back && (self.run_id.is_empty() || self.replid.is_empty()) {
            unmet.push(Error::invalid(
                "INFO does not tell the cache server's run_id and master_replid, without which a loss would go unnoticed",
            ));
        }
        unmet
    }

    fn evicts(&self, write_back: bool) -> Option<Error> {
        let policy = self.policy.as_deref().unwrap_or("an unknown policy");
        if policy == "noeviction" || policy.starts_with("volatile-") {
            return None;
        }
        let (removes, accept) = if write_back {
            ("an accepted change that SQL does not have", "lost changes with allow_evictable_changes()")
        } else {
            ("a commit barrier", "stale reads with allow_evictable_barriers()")
        };
        Some(Error::invalid(format!(
            "the cache server evicts by {policy}, which could remove {removes}: set its maxmemory-policy to noeviction or to one of \
             volatile-*, or accept {accept}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn strict() -> Declaration {
        Declaration { namespace: "users".into(), mode: "strict", no_eviction: true, persistence: false }
    }

    fn write_back() -> Declaration {
        Declaration { mode: "write-back", persistence: true, ..strict() }
    }

    #[test]
    fn info_is_read() {
        let text = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrole:master\r\nmaster_replid:def\r\nmaster_replid2:0\r\n\
                    maxmemory_policy:volatile-lru\r\naof_enabled:1\r\n";
        let about = About::read(text);
        assert_eq!((about.run_id.as_str(), about.replica, about.policy.as_deref()), ("abc", false, Some("volatile-lru")));
        assert_eq!(about.identity(), b"abc:def");
        assert!(about.check_release().is_ok() && about.check(&strict()).is_ok() && about.check(&write_back()).is_ok());
        assert!(About::read("role:slave").replica);
    }

    #[test]
    fn old_servers_and_policies_that_evict_anything_are_refused() {
        for old in ["redis_version:6.2.14", "redis_version:x", ""] {
            assert_eq!(About::read(old).check_release().map_err(|e| e.kind()), Err(Kind::Invalid));
        }
        assert!(About::read("redis_version:10.1").check_release().is_ok());
        let about = About::read("maxmemory_policy:allkeys-lru");
        for (declaration, accept) in [(strict(), "allow_evictable_barriers()"), (write_back(), "allow_evictable_changes()")] {
            let refused = about.check(&declaration).expect_err("evicts").to_string();
            assert!(refused.contains("allkeys-lru") && refused.contains(accept), "{refused}");
        }
        assert!(About::default().check(&strict()).is_err(), "does not say");
        assert!(About::read("maxmemory_policy:noeviction").check(&strict()).is_ok());
    }

    #[test]
    fn a_server_that_loads_its_file_is_away_and_not_without_one() {
        let role = |text: &str| About::read(text).check_role().map_err(|e| e.kind());
        assert_eq!(role("role:master\nloading:1\naof_enabled:0"), Err(Kind::Unavailable));
        assert_eq!(role("role:slave\nloading:0"), Err(Kind::Unavailable));
        assert_eq!(role("role:master\nloading:0\nasync_loading:0"), Ok(()));
    }

    #[test]
    fn write_back_needs_a_file_and_a_name() {
        let of = |text: &str| About::read(&format!("maxmemory_policy:noeviction\n{text}")).check(&write_back());
        let refused = of("run_id:a\nmaster_replid:b\naof_enabled:0").expect_err("volatile").to_string();
        assert!(refused.contains("allow_volatile_changes()"), "{refused}");
        for nameless in ["aof_enabled:1", "aof_enabled:1\nrun_id:a", "aof_enabled:1\nmaster_replid:b"] {
            assert_eq!(of(nameless).map_err(|e| e.kind()), Err(Kind::Invalid));
        }
        assert!(of("run_id:a\nmaster_replid:b\naof_enabled:1").is_ok());
    }
}
