//! What would go to the registry: the published crates are packaged together, built from their packages, and hold what they must.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::cargo_does;
use crate::sources;
use crate::workspace::{Package, Workspace};

/// In every package; cargo makes the rest.
const REQUIRED: [&str; 5] = ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "src/lib.rs"];
const MADE_BY_CARGO: [&str; 3] = ["Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json"];
/// Tests and examples stay here: they stand on crates that are not published.
const DIRS: [&str; 2] = ["src/", "migrations/"];
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

pub(super) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    let mut arguments = vec!["package", "--allow-dirty", "--all-features"];
    workspace.published().for_each(|package| arguments.extend(["--package", &package.name]));
    println!("==> package and build from the packages");
    cargo_does(&arguments)?;

    let mut complaints = Vec::new();
    for package in workspace.published() {
        let name = format!("{}-{}", package.name, package.version);
        let files = files_of(&workspace.target_dir.join("package").join(format!("{name}.crate")), &name)?;
        let must = required(&workspace, package)?;
        println!("      {name}: {} files", files.len());
        complaints.extend(wrong(&files, &must).into_iter().map(|complaint| format!("{name}: {complaint}")));
        for licence in LICENCES {
            let (there, here) = (workspace.root.join(licence), workspace.root.join(&package.dir).join(licence));
            if fs::read(&there).ok() != fs::read(here).ok() {
                complaints.push(format!("{name}: its {licence} is not the project's"));
            }
        }
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// What the package must hold: all of its code and its migrations.
fn required(workspace: &Workspace, package: &Package) -> Result<Vec<String>> {
    let files = sources::files(&workspace.root)?;
    let files = files.iter().filter_map(|file| file.strip_prefix(&package.dir).ok()?.to_str());
    let ours = files.filter(|file| DIRS.iter().any(|dir| file.starts_with(dir)) || REQUIRED.contains(file));
    let mut required: Vec<String> = ours.chain(REQUIRED).map(str::to_owned).collect();
    required.sort();
    required.dedup();
    Ok(required)
}

/// The files in an archive, without the directory that they all lie in.
fn files_of(archive: &Path, name: &str) -> Result<Vec<String>> {
    let output = Command::new("tar").arg("-tzf").arg(archive).output().context("run tar")?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let dir = format!("{name}/");
    Ok(listing.lines().map(|file| file.strip_prefix(&dir).unwrap_or(file).to_owned()).collect())
}

fn wrong(files: &[String], required: &[String]) -> Vec<String> {
    let missing = required.iter().filter(|file| !files.contains(file)).map(|file| format!("{file} is missing"));
    let known = |file: &String| MADE_BY_CARGO.contains(&file.as_str()) || required.contains(file);
    let foreign = files.iter().filter(|file| !known(file)).map(|file| format!("{file} does not belong there"));
    missing.chain(foreign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_holds_what_it_must_and_nothing_else() {
        let list = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>();
        let required = list(&["README.md", "src/lib.rs"]);
        assert_eq!(wrong(&list(&["Cargo.lock", "README.md", "src/lib.rs"]), &required), Vec::<String>::new());
        assert_eq!(wrong(&list(&["README.md"]), &required), ["src/lib.rs is missing"]);
        assert_eq!(wrong(&list(&["README.md", "src/lib.rs", "tests/a.rs"]), &required), ["tests/a.rs does not belong there"]);
    }
}
