//! Looks for server binaries that are on the machine already.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `#!lua` script flags, which the cache's scripts stand on, came with Redis 7.
const OLDEST_REDIS: u32 = 7;

/// Where distributions, PostgreSQL's own packages and Homebrew put PostgreSQL; `*` is a version.
const POSTGRES_DIRS: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];
const REDIS_DIRS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/sbin"];

/// A `redis-server` or `valkey-server` that is new enough.
pub(crate) fn redis() -> Option<PathBuf> {
    let dirs = search_path().into_iter().chain(REDIS_DIRS.map(PathBuf::from));
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
    let dirs = search_path().into_iter().chain(POSTGRES_DIRS.iter().flat_map(|pattern| expand(pattern)));
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
