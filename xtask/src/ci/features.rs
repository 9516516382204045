//! Every combination of a published crate's features compiles without a warning: features only add.

use anyhow::Result;

use super::cargo_does;
use crate::workspace::Workspace;

pub(super) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    for package in workspace.published() {
        let features: Vec<&str> = package.features.iter().map(String::as_str).collect();
        for combination in combinations(&features) {
            let combination = combination.join(",");
            println!("==> {} [{combination}]", package.name);
            let clippy = ["clippy", "--package", &package.name, "--lib", "--no-deps", "--no-default-features"];
            cargo_does(&[&clippy[..], &["--features", &combination, "--", "-D", "warnings"]].concat())?;
        }
    }
    Ok(())
}

/// All subsets, the smaller ones of the first features first.
fn combinations<'a>(features: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut subsets = vec![Vec::new()];
    for feature in features {
        let with: Vec<Vec<&str>> = subsets.iter().map(|subset| [&subset[..], &[*feature]].concat()).collect();
        subsets.extend(with);
    }
    subsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there_once() {
        let expected: [&[&str]; 8] = [&[], &["a"], &["b"], &["a", "b"], &["c"], &["a", "c"], &["b", "c"], &["a", "b", "c"]];
        assert_eq!(combinations(&["a", "b", "c"]), expected);
        assert_eq!(combinations(&[]), [[""; 0]]);
    }
}
