//! What SQLite tells of itself, and on what kind of file system its file lies.

use std::path::Path;

use anyhow::{Context, Result};
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use writeway_core::sql::AsyncSqliteConnection;

use super::{Facts, Group, UNKNOWN};

/// Whose files are gone with the power.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// # Errors
/// If SQLite does not answer.
pub(crate) async fn facts(conn: &mut AsyncSqliteConnection, file: &Path) -> Result<Facts> {
    let mut sqlite = Vec::new();
    for (name, what) in [
        ("version", "sqlite_version()"),
        ("journal_mode", "(SELECT journal_mode FROM pragma_journal_mode)"),
        ("synchronous", "(SELECT CASE synchronous WHEN 2 THEN 'FULL' ELSE '' || synchronous END FROM pragma_synchronous)"),
    ] {
        let value: String = diesel::select(diesel::dsl::sql::<Text>(what)).get_result(conn).await.context(name)?;
        sqlite.push((name, value));
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let file_system = file.parent().and_then(|directory| file_system(&mounts, directory)).unwrap_or(UNKNOWN);
    sqlite.push(("file system", file_system.to_owned()));
    let mut warnings = Vec::new();
    if IN_MEMORY.contains(&file_system) {
        warnings.push(format!(
            "the file of SQLite lies in {file_system}: its commits wait for no disk. TMPDIR may name another directory"
        ));
    }
    Ok(Facts {
        parts: vec![
            Group { name: "SQLite", facts: sqlite },
            Group {
                name: "cache",
                facts: vec![("", "in this process: MemoryCache, MemoryJournal; of look-aside, a map".to_owned())],
            },
        ],
        client: vec![("sql pools", "4 connections that read, 1 that writes, shared by all subjects".to_owned())],
        warnings,
    })
}

/// Of the mount that is nearest above a directory.
fn file_system<'a>(mounts: &'a str, directory: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    };
    let above = mounts.lines().filter_map(mount).filter(|(at, _)| directory.starts_with(at));
    above.max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_of_the_nearest_mount_above_it() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        let of = |directory| file_system(mounts, Path::new(directory));
        assert_eq!((of("/var"), of("/tmp/x"), of("/tmp/disk/x")), (Some("ext4"), Some("tmpfs"), Some("xfs")));
        assert_eq!(of("/tmpfile"), Some("ext4"));
        assert_eq!(file_system("", Path::new("/")), None);
    }
}
