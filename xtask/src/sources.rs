//! The files that make up the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// What git tracks or would track, that is, new files that are not ignored; relative to `root`. Without git, as in an
/// unpacked archive: everything but what is built.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let Some(output) = git.output().ok().filter(|output| output.status.success()) else {
        return walk(root);
    };
    let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let files = listing.split_terminator('\0').map(PathBuf::from);
    // A file that was deleted but not yet committed is still listed.
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// All files below `root`, without `target` and `.git`.
pub(crate) fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if !path.is_dir() {
                files.push(path.strip_prefix(root)?.to_owned());
            } else if !path.ends_with("target") && !path.ends_with(".git") {
                dirs.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
