//! A copy of the workspace to seed bugs into, so that nobody's working tree is ever broken.
//!
//! It always lies in the same place and is written only where it differs: cargo then rebuilds what a patch changed and
//! nothing else, and undoing a patch is one more sync.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::patch::Patch;
use crate::sources;
use crate::workspace::Workspace;

/// Where a bug may sit: in what we publish, not in what tests it.
const SEEDED: [&str; 4] = ["crates/core/src/", "crates/write-through/src/", "crates/write-around/src/", "crates/write-back/src/"];

pub(super) struct Copy<'a> {
    from: &'a Path,
    home: PathBuf,
    written: BTreeSet<PathBuf>,
    _alone: Flock<File>,
}

impl<'a> Copy<'a> {
    /// Waits while another run uses it.
    pub(super) fn new(workspace: &'a Workspace) -> Result<Self> {
        let home = workspace.target_dir.join("bugs");
        fs::create_dir_all(home.join("tree"))?;
        let lock = File::create(home.join("lock"))?;
        let alone = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(alone) => alone,
            Err((lock, _)) => {
                println!("      waiting for another run that seeds bugs");
                Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("lock the copy")?
            }
        };
        Ok(Self { from: &workspace.root, home, written: BTreeSet::new(), _alone: alone })
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// Shared by all patches.
    pub(super) fn target_dir(&self) -> PathBuf {
        self.home.join("target")
    }

    /// Makes the copy equal to the workspace.
    pub(super) fn sync(&mut self) -> Result<()> {
        let tree = self.tree();
        let files: BTreeSet<PathBuf> = sources::files(self.from)?.into_iter().collect();
        for file in &files {
            let (from, to) = (self.from.join(file), tree.join(file));
            let content = fs::read(&from).with_context(|| from.display().to_string())?;
            if fs::read(&to).is_ok_and(|there| there == content) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&tree))?;
            fs::write(&to, content)?;
        }
        if self.written.is_empty() {
            self.written = sources::walk(&tree)?.into_iter().collect();
        }
        for gone in self.written.difference(&files) {
            fs::remove_file(tree.join(gone)).or_else(|error| if tree.join(gone).exists() { Err(error) } else { Ok(()) })?;
        }
        self.written = files;
        Ok(())
    }

    /// Breaks the copy.
    pub(super) fn apply(&self, patch: &Patch) -> Result<()> {
        for line in self.git_apply(&["--numstat"], patch)?.lines() {
            let touched = line.split('\t').nth(2).unwrap_or(line);
            ensure!(SEEDED.iter().any(|dir| touched.starts_with(dir)), "touches {touched}, and only {SEEDED:?} may be broken");
        }
        self.git_apply(&["--check"], patch).context("does not apply")?;
        self.git_apply(&[], patch).context("does not apply")?;
        Ok(())
    }

    /// The copy may lie inside a repository, whose git would look for the patched files at its own root: hence the ceiling.
    fn git_apply(&self, options: &[&str], patch: &Patch) -> Result<String> {
        let mut git = Command::new("git");
        git.arg("apply").args(options).arg(&patch.path).current_dir(self.tree()).env("GIT_CEILING_DIRECTORIES", &self.home);
        let output = git.output().context("run git apply")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
