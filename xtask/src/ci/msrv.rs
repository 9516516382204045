//! What the manifests say of the oldest Rust is true.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::succeed;
use crate::toolchain;
use crate::workspace::Workspace;

pub(super) fn run(install: bool) -> Result<()> {
    let workspace = Workspace::load()?;
    let stated: BTreeSet<&str> = workspace.published().map(|package| package.rust_version.as_str()).collect();
    let [stated] = stated.into_iter().collect::<Vec<_>>()[..] else {
        bail!("the published crates do not all say the same rust-version");
    };
    let toolchain = release(stated);
    println!("==> check by Rust {toolchain}");
    let mut command = toolchain::cargo(&toolchain, install)?;
    command.args(["check", "--workspace", "--all-features", "--target-dir"]).arg(workspace.target_dir.join("msrv"));
    succeed(command.current_dir(&workspace.root))
}

/// `1.88` is the release `1.88.0`.
fn release(version: &str) -> String {
    if version.matches('.').count() == 1 { format!("{version}.0") } else { version.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_two_numbers_is_its_first_release() {
        assert_eq!(release("1.88"), "1.88.0");
        assert_eq!(release("1.88.1"), "1.88.1");
    }
}
