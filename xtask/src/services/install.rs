//! Gets missing servers from the system's package manager, asking nobody anything.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd;

use super::find;
use crate::child;

/// One shell, so that the policy that keeps Debian's packages from starting their services goes when apt-get has ended,
/// however it ended. A policy that was there before stays as it is.
const APT: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
waiting='-o DPkg::Lock::Timeout=120'
apt-get $waiting update
apt-get $waiting -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "$@"
"#;

/// Fedora has replaced Redis by Valkey, older relatives have only Redis.
const DNF: &str = r#"
for package in "$@"; do
    case $package in
        redis) dnf install --assumeyes valkey || dnf install --assumeyes redis || exit ;;
        *) dnf install --assumeyes "$package" || exit ;;
    esac
done
"#;

const BREW: &str = r#"HOMEBREW_NO_AUTO_UPDATE=1 exec brew install "$@""#;

struct Manager {
    program: &'static str,
    script: &'static str,
    redis: &'static str,
    postgres: &'static str,
    as_root: bool,
}

const MANAGERS: [Manager; 3] = [
    Manager { program: "apt-get", script: APT, redis: "redis-server", postgres: "postgresql", as_root: true },
    Manager { program: "dnf", script: DNF, redis: "redis", postgres: "postgresql-server", as_root: true },
    Manager { program: "brew", script: BREW, redis: "redis", postgres: "postgresql@17", as_root: false },
];

/// Installs what is asked for; whether it is found afterwards is the caller's look.
pub(crate) fn install(redis: bool, postgres: bool) -> Result<()> {
    let Some(manager) = MANAGERS.iter().find(|manager| find::on_path(manager.program)) else {
        bail!("no apt-get, dnf or brew here: install Redis 7 or later and PostgreSQL by hand, or set REDIS_URL and DATABASE_URL");
    };
    let packages: Vec<&str> = [(redis, manager.redis), (postgres, manager.postgres)]
        .into_iter()
        .filter_map(|(wanted, package)| wanted.then_some(package))
        .collect();
    println!("      installing {} through {}; system services are not started", packages.join(" and "), manager.program);

    let mut command = if manager.as_root && !unistd::geteuid().is_root() {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    } else {
        Command::new("sh")
    };
    command.args(["-c", manager.script, "writeway-install"]).args(&packages).current_dir(Path::new("/"));
    let status = child::run(&mut command)?;
    if !status.success() {
        bail!("{} could not install {} ({status})", manager.program, packages.join(" and "));
    }
    Ok(())
}
