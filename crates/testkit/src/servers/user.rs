//! Which operating system user PostgreSQL runs as: it refuses to be root.

use std::env;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::unistd;

#[derive(Debug)]
pub(super) struct User {
    pub(super) name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// `None` unless we are root, else `WRITEWAY_PG_USER`, else `postgres`, else `nobody`.
    pub(super) fn unprivileged() -> Result<Option<Self>> {
        if !unistd::geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(name) = env::var("WRITEWAY_PG_USER") {
            let user = Self::named(&name)?.with_context(|| format!("WRITEWAY_PG_USER names {name}, who is no user here"))?;
            return Ok(Some(user));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = Self::named(name)? {
                return Ok(Some(user));
            }
        }
        bail!("PostgreSQL cannot run as root, and there is neither a user postgres nor a user nobody")
    }

    fn named(name: &str) -> Result<Option<Self>> {
        let found = unistd::User::from_name(name)?;
        Ok(found.map(|user| Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    /// Hands `dir` to this user.
    pub(super) fn own(&self, dir: &Path) -> Result<()> {
        chown(dir, Some(self.uid), Some(self.gid)).with_context(|| format!("give {} to {}", dir.display(), self.name))
    }

    /// Makes `command` run as this user; std drops root's supplementary groups along with the user id.
    pub(super) fn run(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}
