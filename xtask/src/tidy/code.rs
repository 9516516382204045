//! Rules about sources: sizes, forbidden text, the same files in every strategy.

use std::collections::BTreeSet;

use super::{Complaints, Project};

const MAX_LINES: usize = 400;
/// Clippy's `too_many_lines` holds functions to it.
const FUNCTION_LIMIT: &str = "too-many-lines-threshold = 70";

/// Where the same role has the same name, so that comparing two strategies is the lesson.
const STRATEGY_FILES: [&str; 4] = ["lib.rs", "builder.rs", "handle.rs", "write.rs"];

/// Put together here, because this file is read by the rule, too.
const ALLOW: [&str; 2] = [concat!("#", "[allow("), concat!("#!", "[allow(")];
const UNWRAP: &str = concat!(".unwrap", "()");
const MACHINE_PATHS: [&str; 3] = [concat!("/", "home"), concat!("/", "root"), concat!("/", "work")];

pub(super) fn complaints(project: &Project) -> Complaints {
    let mut complaints = Vec::new();
    for (path, text) in project.with_extension("rs") {
        if text.lines().count() > MAX_LINES {
            complaints.push(format!("{path}: {} lines, and {MAX_LINES} are the limit", text.lines().count()));
        }
        complaints.extend(forbidden(path, text));
    }
    for (path, text) in &project.files {
        complaints.extend(untidy_lines(path, text));
    }
    // What scripts share is no script.
    let is_script = |path: &str| path.starts_with("crates/") && !path.contains("/shared/");
    for (path, text) in project.with_extension("lua").filter(|(path, _)| is_script(path)) {
        if !text.starts_with("#!lua") {
            complaints.push(format!("{path}:1: a script starts with `#!lua` and its flags"));
        }
    }
    if project.text("clippy.toml").is_none_or(|text| !text.contains(FUNCTION_LIMIT)) {
        complaints.push(format!("clippy.toml: must say {FUNCTION_LIMIT}"));
    }
    complaints.extend(strategies(project));
    complaints
}

fn forbidden(path: &str, text: &str) -> Complaints {
    let is_test = path.ends_with("tests.rs") || !(path.starts_with("crates/") && path.contains("/src/"));
    let mut complaints = Vec::new();
    let mut in_tests = is_test;
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        // Tests come last in a file.
        in_tests |= code.starts_with("#[cfg(test)]") && !followed_by_file(text, number);
        if ALLOW.iter().any(|allow| code.starts_with(allow)) {
            complaints.push(format!("{path}:{number}: expect a lint, with its reason, instead of allowing it"));
        }
        if !in_tests && !code.starts_with("//") && line.contains(UNWRAP) {
            complaints.push(format!("{path}:{number}: unwrap outside tests"));
        }
    }
    complaints
}

/// Whether the item after line `number` is a `mod x;`, which does not end the code of this file.
fn followed_by_file(text: &str, number: usize) -> bool {
    text.lines().nth(number).is_some_and(|next| next.trim_end().ends_with(';'))
}

/// A patch's context lines end as they must, and lock files are cargo's.
fn untidy_lines(path: &str, text: &str) -> Complaints {
    if [".patch", ".lock", ".svg"].iter().any(|kind| path.ends_with(kind)) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.contains('\t') {
            complaints.push(format!("{path}:{number}: a tab"));
        }
        if line.ends_with(' ') {
            complaints.push(format!("{path}:{number}: a space at the end"));
        }
        if let Some(found) = MACHINE_PATHS.iter().find(|dir| names_directory(line, dir)) {
            complaints.push(format!("{path}:{number}: {found} is a path of one machine"));
        }
    }
    complaints
}

/// Whether `dir` stands in `line` as an absolute path, not as a part of a longer path or word.
fn names_directory(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + dir.len()..].chars().next();
        let in_path = |c: char| c.is_alphanumeric() || "._-~*}>)".contains(c);
        !before.is_some_and(in_path) && !after.is_some_and(|c| c.is_alphanumeric() || "_-.".contains(c))
    })
}

/// A strategy whose `lib.rs` is alone has not been begun.
fn strategies(project: &Project) -> Complaints {
    let paths = || project.with_extension("rs").map(|(path, _)| path);
    let crates: BTreeSet<&str> =
        paths().filter(|path| path.starts_with("crates/write-")).filter_map(|path| path.split('/').nth(1)).collect();
    let mut complaints = Vec::new();
    for name in crates {
        let src = format!("crates/{name}/src/");
        if paths().filter(|path| path.starts_with(&src)).count() > 1 {
            let missing = STRATEGY_FILES.iter().filter(|file| project.text(&format!("{src}{file}")).is_none());
            complaints.extend(missing.map(|file| format!("{src}{file}: every strategy has one")));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_told_from_a_module() {
        let dir = MACHINE_PATHS[2];
        assert!(names_directory(&format!("see {dir}/x"), dir));
        assert!(names_directory(&format!("\"{dir}\""), dir));
        assert!(!names_directory(&format!("crates{dir}/x"), dir));
        assert!(!names_directory(&format!("{dir}space"), dir));
    }

    #[test]
    fn unwrap_is_fine_in_tests_only() {
        let text = format!("fn a() {{ b(){UNWRAP} }}\n#[cfg(test)]\nmod tests {{\n    c(){UNWRAP};\n}}\n");
        assert_eq!(forbidden("crates/core/src/a.rs", &text).len(), 1);
        assert_eq!(forbidden("crates/core/tests/a.rs", &text).len(), 0);
        let text = format!("#[cfg(test)]\nmod tests;\nfn a() {{ b(){UNWRAP} }}\n");
        assert_eq!(forbidden("crates/core/src/a.rs", &text).len(), 1);
    }
}
