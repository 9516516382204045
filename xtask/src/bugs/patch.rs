//! What a file in `bugs/` says: a unified diff under a header of `name: value` lines.
//!
//! ```text
//! test: writeway-core --lib entry::state_tests::a_test
//! breaks: no-stale-fill
//! needs: redis
//!
//! diff --git a/crates/core/src/entry/state.rs b/crates/core/src/entry/state.rs
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) package: String,
    /// `--lib`, or the name of a test target.
    pub(super) target: String,
    pub(super) test: String,
    /// The invariant that the test must name when it fails.
    pub(super) breaks: String,
    pub(super) needs_servers: bool,
}

impl Patch {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().context("a patch has a name")?.to_string_lossy().into_owned();
        let text = fs::read_to_string(path)?;
        Self::parse(name, path, &text).with_context(|| path.display().to_string())
    }

    fn parse(name: String, path: &Path, text: &str) -> Result<Self> {
        let (header, _) = text.split_once("diff --git ").context("holds no diff")?;
        let value = |key: &str| header.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
        let test = value("test").context("has no line `test: <package> <test target or --lib> <test path>`")?;
        let [package, target, test] = test.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("`test:` takes a package, a test target or --lib, and a test path");
        };
        let breaks = value("breaks").filter(|name| !name.is_empty()).context("has no line `breaks: <invariant>`")?;
        Ok(Self {
            name,
            path: path.to_owned(),
            package: package.to_owned(),
            target: target.to_owned(),
            test: test.to_owned(),
            breaks: breaks.to_owned(),
            needs_servers: value("needs").is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Patch> {
        Patch::parse("x".to_owned(), Path::new("bugs/x.patch"), text)
    }

    #[test]
    fn a_header_says_what_must_fail() {
        let patch = parse("Why.\ntest: writeway-core --lib a::b\nbreaks: no-stale-fill\n\ndiff --git a/x b/x\n").unwrap();
        assert_eq!((patch.package.as_str(), patch.target.as_str(), patch.test.as_str()), ("writeway-core", "--lib", "a::b"));
        assert_eq!((patch.breaks.as_str(), patch.needs_servers), ("no-stale-fill", false));
        assert!(parse("test: a b c\nbreaks: d\nneeds: redis\ndiff --git a/x b/x\n").unwrap().needs_servers);
    }

    #[test]
    fn a_header_without_a_test_or_an_invariant_is_refused() {
        for bad in [
            "breaks: d\ndiff --git a/x b/x",
            "test: a b c\ndiff --git ",
            "test: a b\nbreaks: d\ndiff --git ",
            "test: a b c\nbreaks: d",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
