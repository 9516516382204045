//! Gets missing servers from the system's package manager, asking nobody anything.

use std::fs;
use std::io;
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
        valkey) dnf install --assumeyes valkey || dnf install --assumeyes redis || exit ;;
        *) dnf install --assumeyes "$package" || exit ;;
    esac
done
"#;

/// Whoever has Valkey from there has what is needed already: the two formulas conflict, and it is found.
const BREW: &str = r#"HOMEBREW_NO_AUTO_UPDATE=1 HOMEBREW_NO_ENV_HINTS=1 exec brew install "$@""#;

#[derive(Debug, PartialEq, Eq)]
struct Manager {
    program: &'static str,
    script: &'static str,
    redis: &'static str,
    postgres: &'static str,
    as_root: bool,
    /// The families of systems whose own manager it is, as `/etc/os-release` calls them.
    families: &'static [&'static str],
}

const MANAGERS: [Manager; 3] = [
    Manager {
        program: "apt-get",
        script: APT,
        redis: "redis-server",
        postgres: "postgresql",
        as_root: true,
        families: &["debian", "ubuntu"],
    },
    Manager {
        program: "dnf",
        script: DNF,
        redis: "valkey",
        postgres: "postgresql-server",
        as_root: true,
        families: &["fedora", "rhel", "centos"],
    },
    Manager { program: "brew", script: BREW, redis: "redis", postgres: "postgresql@17", as_root: false, families: &["macos"] },
];

/// Installs what is asked for; whether it is found afterwards is the caller's look.
pub(crate) fn install(redis: bool, postgres: bool) -> Result<()> {
    let Some(manager) = manager(&families(), find::on_path) else {
        bail!("no apt-get, dnf or brew here: install Redis 7 or later and PostgreSQL by hand, or set REDIS_URL and DATABASE_URL");
    };
    let packages = packages(manager, redis, postgres);
    let by_sudo = manager.as_root && !unistd::geteuid().is_root();
    if by_sudo && !Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|output| output.status.success()) {
        let by_hand = format!("sudo {} install {}", manager.program, packages.join(" "));
        bail!("sudo asks for a password, which a command in the background cannot be told: run `sudo -v` first, or `{by_hand}`");
    }
    eprintln!("      installing {} by {}; system services are not started", packages.join(" and "), manager.program);
    let [program, arguments @ ..] = &words(manager, &packages, by_sudo)[..] else { bail!("no command") };
    let mut command = Command::new(program);
    // What it says is progress, and stdout is for what a command answers.
    let status = child::run(command.args(arguments).current_dir(Path::new("/")).stdout(io::stderr()))?;
    if !status.success() {
        bail!("{} could not install {} ({status})", manager.program, packages.join(" and "));
    }
    Ok(())
}

/// This system's own manager, else any that is there: a Fedora may have an apt-get, and any Linux a brew.
fn manager(families: &[String], on_path: impl Fn(&str) -> bool) -> Option<&'static Manager> {
    let mut there: Vec<&Manager> = MANAGERS.iter().filter(|manager| on_path(manager.program)).collect();
    there.sort_by_key(|manager| !manager.families.iter().any(|family| families.iter().any(|here| here == family)));
    there.into_iter().next()
}

fn packages(manager: &Manager, redis: bool, postgres: bool) -> Vec<&'static str> {
    let wanted = [(redis, manager.redis), (postgres, manager.postgres)];
    wanted.into_iter().filter_map(|(wanted, package)| wanted.then_some(package)).collect()
}

fn words<'a>(manager: &'a Manager, packages: &[&'a str], by_sudo: bool) -> Vec<&'a str> {
    let sudo: &[&str] = if by_sudo { &["sudo", "-n"] } else { &[] };
    [sudo, &["sh", "-c", manager.script, "writeway-install"], packages].concat()
}

/// Of this system: `macos`, or what `/etc/os-release` says.
fn families() -> Vec<String> {
    if cfg!(target_os = "macos") {
        return vec!["macos".to_owned()];
    }
    os_release(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// `ID=fedora`, `ID_LIKE="rhel centos fedora"`
fn os_release(text: &str) -> Vec<String> {
    let values = text.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    values.flat_map(|value| value.trim_matches('"').split_whitespace()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(os_release_text: &str, there: &[&str]) -> Option<&'static str> {
        manager(&os_release(os_release_text), |program| there.contains(&program)).map(|manager| manager.program)
    }

    #[test]
    fn each_system_has_its_own_manager() {
        assert_eq!(chosen("NAME=\"Debian\"\nID=debian\n", &["apt-get"]), Some("apt-get"));
        assert_eq!(chosen("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", &["apt-get", "brew"]), Some("apt-get"));
        assert_eq!(chosen("ID=fedora\n", &["apt-get", "dnf"]), Some("dnf"));
        assert_eq!(chosen("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", &["dnf", "brew"]), Some("dnf"));
        assert_eq!(chosen("ID=arch\n", &["brew"]), Some("brew"));
        assert_eq!(chosen("ID=arch\n", &[]), None);
        assert_eq!(manager(&["macos".to_owned()], |_| true).map(|manager| manager.program), Some("brew"));
    }

    #[test]
    fn only_what_is_missing_is_installed_under_the_systems_own_names() {
        let [apt, dnf, brew] = &MANAGERS;
        assert_eq!(packages(apt, true, true), ["redis-server", "postgresql"]);
        assert_eq!(packages(dnf, true, true), ["valkey", "postgresql-server"]);
        assert_eq!(packages(brew, false, true), ["postgresql@17"]);
    }

    #[test]
    fn root_needs_no_sudo_and_brew_must_have_none() {
        let [apt, _, brew] = &MANAGERS;
        assert_eq!(words(apt, &["redis-server"], true), ["sudo", "-n", "sh", "-c", APT, "writeway-install", "redis-server"]);
        assert_eq!(words(apt, &["redis-server"], false), ["sh", "-c", APT, "writeway-install", "redis-server"]);
        assert!(!brew.as_root);
    }
}
