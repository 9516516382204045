//! Rules about documents: code in them is code that is compiled, what they name is there, and the two languages say the same.

mod blocks;
mod links;
mod named_tests;

use std::collections::BTreeSet;

pub(super) use self::links::slugs;
use super::{Complaints, Project};

/// What the README shows first.
const QUICKSTART: &str = "examples/quickstart.rs";

pub(super) fn complaints(project: &Project) -> Complaints {
    let mut complaints = Vec::new();
    for (path, text) in project.with_extension("md") {
        complaints.extend(blocks::complaints(project, path, text));
        complaints.extend(links::complaints(project, path, text));
        complaints.extend(named_tests::complaints(project, path, text));
        if let Some(other) = translation(path) {
            complaints.extend(project.text(&other).and_then(|translated| differ(path, text, &other, translated)));
        }
    }
    if let (Some(readme), Some(_)) = (project.text("README.md"), project.text(QUICKSTART)) {
        let marker = format!("{}{QUICKSTART} -->", blocks::FROM);
        if !readme.contains(&marker) {
            complaints.push(format!("README.md: shows the quickstart, after a line `{marker}`"));
        }
    }
    complaints.extend(untranslated(project));
    complaints.extend(test_command(project));
    complaints
}

/// `README.md` is `README.ko.md` in Korean, `docs/en/x.md` is `docs/ko/x.md`.
fn translation(path: &str) -> Option<String> {
    match path {
        "README.md" => Some("README.ko.md".to_owned()),
        _ => path.strip_prefix("docs/en/").map(|rest| format!("docs/ko/{rest}")),
    }
}

/// Every chapter is there in both languages.
fn untranslated(project: &Project) -> Complaints {
    let chapters = |language: &str| -> BTreeSet<&str> {
        project
            .files
            .iter()
            .filter_map(|(path, _)| path.strip_prefix("docs/")?.strip_prefix(language)?.strip_prefix('/'))
            .collect()
    };
    let (english, korean) = (chapters("en"), chapters("ko"));
    let missing = |language: &str, chapter: &str| format!("docs/{language}/{chapter}: missing, and the other language has it");
    let in_korean = english.difference(&korean).map(|chapter| missing("ko", chapter));
    let in_english = korean.difference(&english).map(|chapter| missing("en", chapter));
    in_korean.chain(in_english).collect()
}

fn differ(path: &str, text: &str, other: &str, translated: &str) -> Option<String> {
    let (here, there) = (shape(text), shape(translated));
    let say = |(headings, blocks): (usize, usize)| format!("{headings} headings and {blocks} code blocks");
    (here != there).then(|| format!("{other}: {}, but {path} has {}", say(there), say(here)))
}

/// Headings and code blocks; a `#` within a block is no heading.
fn shape(text: &str) -> (usize, usize) {
    let headings = blocks::prose(text).filter(|(_, line)| line.starts_with('#')).count();
    (headings, blocks::blocks(text).len())
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
    fn a_translation_has_the_same_shape() {
        let english = "# A\n```sh\n# not a heading\n```\n## B\n";
        assert_eq!(complaints(&project(&[("README.md", english), ("README.ko.md", "# 가\n```sh\n```\n## 나\n")])).len(), 0);
        assert_eq!(complaints(&project(&[("README.md", english), ("README.ko.md", "# 가\n")])).len(), 1);
    }

    #[test]
    fn a_chapter_is_there_in_both_languages() {
        assert_eq!(complaints(&project(&[("docs/en/a.md", ""), ("docs/ko/a.md", "")])).len(), 0);
        assert_eq!(complaints(&project(&[("docs/en/a.md", "")])).len(), 1);
        assert_eq!(complaints(&project(&[("docs/ko/a.md", "")])).len(), 1);
    }

    #[test]
    fn the_readme_names_the_command_that_ci_runs() {
        let run = "#!/bin/sh\nset -e\ncargo xtask itest --install\n";
        assert_eq!(complaints(&project(&[("README.md", "cargo xtask itest --install"), (".ci/run", run)])).len(), 0);
        assert_eq!(complaints(&project(&[("README.md", "cargo test"), (".ci/run", run)])).len(), 1);
    }
}
