//! Which operating system user PostgreSQL runs as: it refuses to be root.

use std::env;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::unistd::{self, User};

/// `None` unless we are root, else `WRITEWAY_PG_USER`, else `postgres`, else `nobody`.
pub(super) fn unprivileged() -> Result<Option<User>> {
    if !unistd::geteuid().is_root() {
        return Ok(None);
    }
    if let Ok(name) = env::var("WRITEWAY_PG_USER") {
        let user = User::from_name(&name)?.with_context(|| format!("WRITEWAY_PG_USER names {name}, which is no user here"))?;
        return Ok(Some(user));
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    bail!("PostgreSQL cannot run as root, and there is neither a user postgres nor a user nobody")
}

/// Hands `dir` to that user.
pub(super) fn own(dir: &Path, user: &User) -> Result<()> {
    chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .with_context(|| format!("give {} to {}", dir.display(), user.name))
}

/// Makes `command` run as that user; std drops root's supplementary groups along with the user id.
pub(super) fn run_as(command: &mut Command, user: &User) {
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
}
