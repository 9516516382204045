//! What a reviewer would forget: rules about files, manifests and documents that no compiler checks.
//!
//! Each rule is a function from the project's files to complaints. It is a command and also a test of this crate, so that it
//! cannot be left out.

mod code;
mod documents;
mod manifests;
mod telemetry;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::sources;
use crate::workspace::Workspace;

/// Every text file of the project, by its path from the root, with `/` between names.
struct Project {
    root: PathBuf,
    files: Vec<(String, String)>,
}

/// `path:line: what is wrong`
type Complaints = Vec<String>;

pub(crate) fn run() -> Result<()> {
    let complaints = complaints(&Workspace::load()?)?;
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if !complaints.is_empty() {
        bail!("{} things to tidy", complaints.len());
    }
    println!("tidy");
    Ok(())
}

fn complaints(workspace: &Workspace) -> Result<Complaints> {
    let project = Project::read(&workspace.root)?;
    let rules = [
        code::complaints(&project),
        manifests::complaints(&project, workspace)?,
        documents::complaints(&project),
        yaml::complaints(&project),
        telemetry::complaints(&project),
    ];
    Ok(rules.concat())
}

impl Project {
    fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for path in sources::files(root)? {
            let bytes = fs::read(root.join(&path)).with_context(|| path.display().to_string())?;
            if let (Some(path), Ok(text)) = (path.to_str(), String::from_utf8(bytes)) {
                files.push((path.to_owned(), text));
            }
        }
        Ok(Self { root: root.to_owned(), files })
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(known, _)| known == path).map(|(_, text)| text.as_str())
    }

    /// Whether files lie below it.
    fn has_directory(&self, path: &str) -> bool {
        self.files.iter().any(|(known, _)| known.strip_prefix(path).is_some_and(|rest| path.is_empty() || rest.starts_with('/')))
    }

    fn with_extension<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let named = move |path: &str| Path::new(path).extension().is_some_and(|found| found == extension);
        self.files.iter().filter(move |(path, _)| named(path)).map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        let complaints = complaints(&Workspace::load().unwrap()).unwrap();
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }
}
