//! What `cargo metadata` knows about the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A test target whose name starts so needs servers.
const NEEDS_SERVERS: &str = "it_";

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
    packages: Vec<Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Without `default`.
    pub(crate) features: BTreeSet<String>,
    /// From the workspace's root.
    pub(crate) dir: PathBuf,
    /// The least Rust that it says it needs.
    pub(crate) rust_version: String,
    is_published: bool,
    /// What it stands on in a user's build.
    dependencies: BTreeSet<String>,
    tests: Vec<Test>,
}

struct Test {
    name: String,
    required_features: Vec<String>,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let output = cargo().args(["metadata", "--format-version=1", "--no-deps"]).output().context("run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
        let path = |key: &str| metadata[key].as_str().map(PathBuf::from).with_context(|| format!("cargo metadata has no {key}"));
        let root = path("workspace_root")?;
        let packages = list(&metadata["packages"]).map(|package| Package::read(package, &root)).collect();
        Ok(Self { root, target_dir: path("target_directory")?, packages })
    }

    /// What goes to the registry.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_published)
    }

    /// Test targets that need no server; the names of all packages' targets are one set, as `cargo test --test` sees them.
    pub(crate) fn in_process_tests(&self) -> BTreeSet<&str> {
        self.tests().map(|(_, test)| test.name.as_str()).filter(|name| !name.starts_with(NEEDS_SERVERS)).collect()
    }

    /// Test targets that need servers, with the packages that have one of that name.
    pub(crate) fn server_tests(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut suites = BTreeMap::<_, Vec<_>>::new();
        for (package, test) in self.tests().filter(|(_, test)| test.name.starts_with(NEEDS_SERVERS)) {
            suites.entry(test.name.as_str()).or_default().push(package.name.as_str());
        }
        suites
    }

    /// One set of features for every step of an integration run, so that everything is built once: all backends, telemetry, and what a
    /// server test requires.
    pub(crate) fn test_features(&self) -> String {
        let required = self.tests().filter(|(_, test)| test.name.starts_with(NEEDS_SERVERS));
        let required = required.flat_map(|(_, test)| &test.required_features).map(String::as_str);
        let known = |feature: &&str| self.packages.iter().any(|package| package.features.contains(*feature));
        required
            .chain(["metrics", "postgres", "sqlite"])
            .filter(known)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Direct, in a user's build, optional ones included.
    pub(crate) fn dependencies_of(&self, package: &str) -> BTreeSet<String> {
        let packages = self.packages.iter().filter(|known| known.name == package);
        packages.flat_map(|package| package.dependencies.iter().cloned()).collect()
    }

    fn tests(&self) -> impl Iterator<Item = (&Package, &Test)> {
        self.packages.iter().flat_map(|package| package.tests.iter().map(move |test| (package, test)))
    }
}

impl Package {
    fn read(package: &Value, root: &Path) -> Self {
        let of_kind = |target: &&Value, kind: &str| list(&target["kind"]).any(|found| found == kind);
        let tests = list(&package["targets"]).filter(|target| of_kind(target, "test")).map(|target| Test {
            name: text(&target["name"]),
            required_features: list(&target["required-features"]).map(text).collect(),
        });
        let features = package["features"].as_object().into_iter().flat_map(|features| features.keys().cloned());
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let dir = manifest.parent().and_then(|dir| dir.strip_prefix(root).ok()).unwrap_or(Path::new(""));
        Self {
            name: text(&package["name"]),
            version: text(&package["version"]),
            features: features.filter(|feature| feature != "default").collect(),
            dir: dir.to_owned(),
            rust_version: text(&package["rust_version"]),
            // `publish = false` is an empty list of registries.
            is_published: package["publish"].is_null(),
            dependencies: list(&package["dependencies"]).filter(|d| d["kind"].is_null()).map(|d| text(&d["name"])).collect(),
            tests: tests.collect(),
        }
    }
}

/// The cargo that runs us, in the directory that cargo sets for us.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
