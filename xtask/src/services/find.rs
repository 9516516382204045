//! Looks for server binaries that are on the machine already.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `#!lua` script flags, which the cache's scripts stand on, came with Redis 7.
const OLDEST_REDIS: u32 = 7;

/// Where distributions and PostgreSQL's own packages put PostgreSQL; `*` is a version.
const POSTGRES_DIRS: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];
const REDIS_DIRS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/usr/sbin"];

/// Homebrew's places, on Apple silicon and on Intel; elsewhere it lies where its own command does.
const BREW_PREFIXES: [&str; 2] = ["/opt/homebrew", "/usr/local"];
/// Below a prefix. What has a version in its name is in no common `bin`.
const BREW_DIRS: [&str; 5] = ["bin", "opt/postgresql@*/bin", "opt/redis/bin", "opt/redis@*/bin", "opt/valkey/bin"];

/// A `redis-server` or `valkey-server` that is new enough.
pub(crate) fn redis() -> Option<PathBuf> {
    let dirs = search_path().into_iter().chain(REDIS_DIRS.map(PathBuf::from)).chain(brew_dirs(&search_path()));
    let mut candidates = dirs.flat_map(|dir| ["redis-server", "valkey-server"].map(|name| dir.join(name)));
    candidates.find(|binary| {
        let version = binary.exists().then(|| major_version(binary)).flatten();
        if version.is_some_and(|version| version < OLDEST_REDIS) {
            eprintln!("      {} is older than {OLDEST_REDIS}.0 and of no use here", binary.display());
        }
        version.is_some_and(|version| version >= OLDEST_REDIS)
    })
}

/// The directory of the newest PostgreSQL that has both `initdb` and `postgres`, with links followed: a link to `postgres`
/// alone does not lead PostgreSQL to its own files.
pub(crate) fn postgres() -> Option<PathBuf> {
    let usual = POSTGRES_DIRS.iter().flat_map(|pattern| expand(pattern));
    let dirs = search_path().into_iter().chain(usual).chain(brew_dirs(&search_path()));
    let real = dirs.filter_map(|dir| Some(dir.join("postgres").canonicalize().ok()?.parent()?.to_owned()));
    let usable = real.filter(|dir| dir.join("initdb").exists());
    usable
        .filter_map(|dir| Some((major_version(&dir.join("postgres"))?, dir)))
        .max_by_key(|(version, _)| *version)
        .map(|(_, dir)| dir)
}

/// `Redis server v=7.0.15 …`, `Valkey server v=8.1.1 …`, `postgres (PostgreSQL) 15.10`, `postgres (PostgreSQL) 18beta1`.
fn major_version(binary: &Path) -> Option<u32> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said.split_whitespace().find_map(|word| {
        let word = word.strip_prefix("v=").unwrap_or(word);
        word.starts_with(|c: char| c.is_ascii_digit()).then_some(word)
    })?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether the machine has such a program.
pub(crate) fn on_path(program: &str) -> bool {
    search_path().iter().any(|dir| dir.join(program).is_file())
}

/// Directories in which Homebrew puts servers: below its usual prefixes, and below the one whose `bin/brew` is in the path.
fn brew_dirs(search_path: &[PathBuf]) -> Vec<PathBuf> {
    let brew = search_path.iter().filter(|dir| dir.join("brew").is_file()).filter_map(|dir| dir.parent());
    let prefixes = BREW_PREFIXES.iter().map(Path::new).chain(brew);
    let patterns = prefixes.flat_map(|prefix| BREW_DIRS.map(|dir| prefix.join(dir)));
    patterns.flat_map(|pattern| expand(&pattern.to_string_lossy())).collect()
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// Directories that match a pattern with at most one `*`.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, start) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let matching = names.filter(|name| name.starts_with(start));
    matching.map(|name| PathBuf::from(format!("{parent}/{name}{after}"))).filter(|dir| dir.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_homebrew_keeps_out_of_the_path_is_found_below_its_prefix() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["bin", "opt/postgresql@17/bin", "opt/redis@8.2/bin"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("bin/brew"), "").unwrap();
        let found = brew_dirs(&[root.path().join("bin")]);
        for dir in ["bin", "opt/postgresql@17/bin", "opt/redis@8.2/bin", "opt/valkey/bin"] {
            assert!(found.contains(&root.path().join(dir)), "{dir}");
        }
        assert!(!brew_dirs(&[]).iter().any(|dir| dir.starts_with(root.path())));
    }

    #[test]
    fn a_pattern_finds_the_directories_it_names() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pg-15/bin", "pg-9/bin", "other/bin", "pg-none"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let mut found = expand(&format!("{}/pg-*/bin", root.path().display()));
        found.sort();
        assert_eq!(found, [root.path().join("pg-15/bin"), root.path().join("pg-9/bin")]);
    }
}
