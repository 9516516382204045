//! Rules about documents: code in them is code that is compiled, and the two languages say the same.

use super::{Complaints, Project};

/// Before a code block: the block is that file, word for word.
const SAME_AS: &str = "<!-- same as ";
const QUICKSTART: &str = "examples/quickstart.rs";

pub(super) fn complaints(project: &Project) -> Complaints {
    let mut complaints = Vec::new();
    for (path, text) in project.with_extension("md") {
        complaints.extend(copies(project, path, text));
        if let Some(other) = translation(path) {
            complaints.extend(project.text(&other).and_then(|translated| differ(path, text, &other, translated)));
        }
    }
    if let (Some(readme), Some(_)) = (project.text("README.md"), project.text(QUICKSTART)) {
        let marker = format!("{SAME_AS}{QUICKSTART} -->");
        if !readme.contains(&marker) {
            complaints.push(format!("README.md: shows the quickstart, after a line `{marker}`"));
        }
    }
    complaints.extend(test_command(project));
    complaints
}

/// Code blocks that claim to be a file.
fn copies(project: &Project, path: &str, text: &str) -> Complaints {
    let mut complaints = Vec::new();
    for (before, after) in text.match_indices(SAME_AS).map(|(at, marker)| text.split_at(at + marker.len())) {
        let number = before.lines().count();
        let Some((file, after)) = after.split_once(" -->") else { continue };
        let block = after.trim_start().strip_prefix("```").and_then(|fence| fence.split_once('\n')?.1.split_once("```\n"));
        match (project.text(file), block) {
            (None, _) => complaints.push(format!("{path}:{number}: there is no {file}")),
            (_, None) => complaints.push(format!("{path}:{number}: no code block follows")),
            (Some(content), Some((shown, _))) if shown != content => {
                complaints.push(format!("{path}:{number}: the code block is not {file} any more"));
            }
            _ => {}
        }
    }
    complaints
}

/// `README.md` is `README.ko.md` in Korean, `docs/en/x.md` is `docs/ko/x.md`.
fn translation(path: &str) -> Option<String> {
    match path {
        "README.md" => Some("README.ko.md".to_owned()),
        _ => path.strip_prefix("docs/en/").map(|rest| format!("docs/ko/{rest}")),
    }
}

fn differ(path: &str, text: &str, other: &str, translated: &str) -> Option<String> {
    let (here, there) = (shape(text), shape(translated));
    let say = |(headings, blocks): (usize, usize)| format!("{headings} headings and {blocks} code blocks");
    (here != there).then(|| format!("{other}: {}, but {path} has {}", say(there), say(here)))
}

/// Headings and code blocks; a `#` within a block is no heading.
fn shape(text: &str) -> (usize, usize) {
    let (mut headings, mut fences) = (0, 0);
    for line in text.lines() {
        if line.starts_with("```") {
            fences += 1;
        } else if fences % 2 == 0 && line.starts_with('#') {
            headings += 1;
        }
    }
    (headings, fences / 2)
}

/// CI runs the command that the README names.
fn test_command(project: &Project) -> Option<String> {
    let command = project.text(".ci/run")?.lines().rfind(|line| !line.trim().is_empty())?;
    let readme = project.text("README.md")?;
    (!readme.contains(command)).then(|| format!("README.md: must name the test command, `{command}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> Project {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Project { root: "".into(), files }
    }

    #[test]
    fn a_code_block_that_drifted_from_its_file_is_noticed() {
        let readme = "# A\n\n<!-- same as a.rs -->\n```rust\nfn a() {}\n```\n";
        assert_eq!(complaints(&project(&[("README.md", readme), ("a.rs", "fn a() {}\n")])).len(), 0);
        assert_eq!(complaints(&project(&[("README.md", readme), ("a.rs", "fn b() {}\n")])).len(), 1);
        assert_eq!(complaints(&project(&[("README.md", readme)])).len(), 1);
    }

    #[test]
    fn a_translation_has_the_same_shape() {
        let english = "# A\n```sh\n# not a heading\n```\n## B\n";
        assert_eq!(complaints(&project(&[("README.md", english), ("README.ko.md", "# 가\n```sh\n```\n## 나\n")])).len(), 0);
        assert_eq!(complaints(&project(&[("README.md", english), ("README.ko.md", "# 가\n")])).len(), 1);
    }

    #[test]
    fn the_readme_names_the_command_that_ci_runs() {
        let run = "#!/bin/sh\nset -e\ncargo xtask itest --install\n";
        assert_eq!(complaints(&project(&[("README.md", "cargo xtask itest --install"), (".ci/run", run)])).len(), 0);
        assert_eq!(complaints(&project(&[("README.md", "cargo test"), (".ci/run", run)])).len(), 1);
    }
}
