//! What a new connection learns about the server behind it, from `INFO`: managed services forbid `CONFIG`.

use crate::error::{Error, Result};

/// The scripts' flags and `SET … NX GET` came with this release.
const OLDEST: u32 = 7;

/// What `INFO` says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// Changes with every start of the server.
    pub(super) run_id: String,
    /// Copies another server, and may lag behind it.
    pub(super) replica: bool,
    /// What it does when memory is full; `None` if it does not say.
    pub(super) policy: Option<String>,
    release: u32,
}

impl About {
    /// Reads the text of `INFO`; what is missing stays empty.
    pub(super) fn read(info: &str) -> Self {
        let mut about = About::default();
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            match name {
                "run_id" => value.clone_into(&mut about.run_id),
                "role" => about.replica = value != "master",
                "maxmemory_policy" => about.policy = Some(value.to_owned()),
                "redis_version" => about.release = value.split('.').next().and_then(|n| n.parse().ok()).unwrap_or(0),
                _ => {}
            }
        }
        about
    }

    /// # Errors
    /// `Invalid` for a server that is too old.
    pub(super) fn check_release(&self) -> Result<()> {
        if self.release >= OLDEST {
            return Ok(());
        }
        Err(Error::invalid(format!("the cache server must be Redis {OLDEST}.0 or newer")))
    }

    /// # Errors
    /// `Invalid` if the server could remove a key that has no expiry.
    pub(super) fn check_policy(&self) -> Result<()> {
        let policy = self.policy.as_deref().unwrap_or("an unknown policy");
        if policy == "noeviction" || policy.starts_with("volatile-") {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the cache server evicts by {policy}, which could remove a commit barrier: set its maxmemory-policy to noeviction or \
             to one of volatile-*, or accept stale reads with allow_evictable_barriers()"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn info_is_read() {
        let about =
            About::read("# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrole:master\r\nmaxmemory_policy:volatile-lru\r\n");
        assert_eq!((about.run_id.as_str(), about.replica, about.policy.as_deref()), ("abc", false, Some("volatile-lru")));
        assert!(about.check_release().is_ok() && about.check_policy().is_ok());
        assert!(About::read("role:slave").replica);
    }

    #[test]
    fn old_servers_and_policies_that_evict_anything_are_refused() {
        for old in ["redis_version:6.2.14", "redis_version:x", ""] {
            assert_eq!(About::read(old).check_release().map_err(|e| e.kind()), Err(Kind::Invalid));
        }
        assert!(About::read("redis_version:10.1").check_release().is_ok());
        let refused = About::read("maxmemory_policy:allkeys-lru").check_policy().expect_err("evicts barriers").to_string();
        assert!(refused.contains("allkeys-lru") && refused.contains("allow_evictable_barriers()"), "{refused}");
        assert!(About::default().check_policy().is_err(), "does not say");
        assert!(About::read("maxmemory_policy:noeviction").check_policy().is_ok());
    }
}
