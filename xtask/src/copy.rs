//! A copy of the workspace to change, so that nobody's working tree ever is.
//!
//! It always lies in the same place and is written only where it differs: cargo then rebuilds what was changed and nothing
//! else, and undoing a change is one more sync.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::sources;
use crate::workspace::Workspace;

pub(crate) struct Copy<'a> {
    from: &'a Path,
    home: PathBuf,
    written: BTreeSet<PathBuf>,
    _alone: Flock<File>,
}

impl<'a> Copy<'a> {
    /// The copy of this name. Waits while another run uses it.
    pub(crate) fn new(workspace: &'a Workspace, name: &str) -> Result<Self> {
        let home = workspace.target_dir.join(name);
        fs::create_dir_all(home.join("tree"))?;
        let lock = File::create(home.join("lock"))?;
        let alone = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(alone) => alone,
            Err((lock, _)) => {
                println!("      waiting for another run that uses {}", home.display());
                Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("lock the copy")?
            }
        };
        Ok(Self { from: &workspace.root, home, written: BTreeSet::new(), _alone: alone })
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.home.join("tree")
    }

    /// Of the copy alone, and shared by all that is done to it.
    pub(crate) fn target_dir(&self) -> PathBuf {
        self.home.join("target")
    }

    /// Makes the copy equal to the workspace.
    pub(crate) fn sync(&mut self) -> Result<()> {
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
}
