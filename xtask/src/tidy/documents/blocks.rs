//! Code in documents is code that is compiled: a block is a file, or lines of one.

use std::ops::RangeInclusive;

use crate::tidy::{Complaints, Project};

/// A line before a code block: the block is that file, word for word.
pub(super) const SAME_AS: &str = "<!-- same as ";
/// A line before a code block: these lines stand in that file, one after the other.
const FROM: &str = "<!-- from ";
const END: &str = " -->";

/// A fenced block with the line before it.
pub(super) struct Block<'a> {
    /// Of the opening fence, from 1.
    number: usize,
    language: &'a str,
    marker: &'a str,
    lines: Vec<&'a str>,
}

pub(super) fn complaints(project: &Project, path: &str, text: &str) -> Complaints {
    let blocks = blocks(text);
    let mut complaints: Complaints = blocks.iter().filter_map(|block| wrong(project, path, block)).collect();
    for (number, line) in lonely_markers(text, &blocks) {
        complaints.push(format!("{path}:{number}: no code block follows `{line}`"));
    }
    complaints
}

/// All fenced blocks, in their order; a fence that is never closed goes to the end.
pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut open: Option<(Block<'_>, usize, &str)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        let ticks = content.len() - content.trim_start_matches('`').len();
        open = match open {
            Some((block, fence, _)) if ticks >= fence && content.trim_end().len() == ticks => {
                blocks.push(block);
                None
            }
            Some((mut block, fence, indent)) => {
                block.lines.push(line.strip_prefix(indent).unwrap_or(content));
                Some((block, fence, indent))
            }
            None if ticks >= 3 => {
                let language = content[ticks..].split([',', ' ']).next().unwrap_or_default();
                let indent = &line[..line.len() - content.len()];
                Some((Block { number, language, marker: before, lines: Vec::new() }, ticks, indent))
            }
            None => None,
        };
        before = content;
    }
    blocks.extend(open.map(|(block, _, _)| block));
    blocks
}

/// Lines that are not in a fenced block, with their numbers.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let fenced: Vec<_> = blocks(text).iter().map(Block::numbers).collect();
    (1..).zip(text.lines()).filter(move |(number, _)| !fenced.iter().any(|numbers| numbers.contains(number)))
}

impl Block<'_> {
    /// Its lines and both fences.
    fn numbers(&self) -> RangeInclusive<usize> {
        self.number..=self.number + self.lines.len() + 1
    }
}

fn wrong(project: &Project, path: &str, block: &Block<'_>) -> Option<String> {
    let number = block.number;
    if let Some(file) = named(block.marker, SAME_AS) {
        return match project.text(file) {
            None => Some(format!("{path}:{number}: there is no {file}")),
            Some(content) if content.lines().eq(block.lines.iter().copied()) => None,
            Some(_) => Some(format!("{path}:{number}: the code block is not {file} any more")),
        };
    }
    if let Some(file) = named(block.marker, FROM) {
        return match project.text(file) {
            None => Some(format!("{path}:{number}: there is no {file}")),
            Some(content) if holds(content, &block.lines) => None,
            Some(_) => Some(format!("{path}:{number}: these lines do not stand in {file}, one after the other")),
        };
    }
    let unmarked = block.language == "rust" && is_for_users(path);
    unmarked.then(|| format!("{path}:{number}: says of no file that it is compiled: `{SAME_AS}FILE{END}` or `{FROM}FILE{END}`"))
}

/// Where code is copied from.
fn is_for_users(path: &str) -> bool {
    path.starts_with("docs/") || path.rsplit('/').next().is_some_and(|file| file.starts_with("README"))
}

fn named<'a>(marker: &'a str, kind: &str) -> Option<&'a str> {
    marker.trim_end().strip_prefix(kind)?.strip_suffix(END)
}

/// Whether `lines` stand contiguously in `content`, apart from an indentation that all of them share.
fn holds(content: &str, lines: &[&str]) -> bool {
    let wanted = dedented(lines);
    let content: Vec<&str> = content.lines().collect();
    wanted.iter().any(|line| !line.is_empty()) && content.windows(lines.len()).any(|window| dedented(window) == wanted)
}

fn dedented<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let indent = |line: &&str| line.len() - line.trim_start_matches(' ').len();
    let common = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(common..).unwrap_or_default()).collect()
}

/// Markers after which something else than a block comes.
fn lonely_markers<'a>(text: &'a str, blocks: &[Block<'_>]) -> Vec<(usize, &'a str)> {
    let is_marker = |line: &str| [SAME_AS, FROM].iter().any(|kind| line.starts_with(kind));
    let followed = |number: usize| blocks.iter().any(|block| block.number == number + 1);
    let markers = prose(text).map(|(number, line)| (number, line.trim())).filter(|(_, line)| is_marker(line));
    markers.filter(|(number, _)| !followed(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "fn a() {\n    if b {\n        c();\n\n        d();\n    }\n}\n";

    fn complain(document: &str) -> Complaints {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let project = Project { root: "".into(), files: vec![file("a.rs", FILE)] };
        complaints(&project, "README.md", document)
    }

    #[test]
    fn a_block_that_drifted_from_its_file_is_noticed() {
        let block = |code: &str| format!("# A\n\n<!-- same as a.rs -->\n```rust\n{code}```\n");
        assert_eq!(complain(&block(FILE)).len(), 0);
        assert_eq!(complain(&block("fn a() {}\n")).len(), 1);
        assert_eq!(complain("<!-- same as b.rs -->\n```rust\n```\n").len(), 1);
        assert_eq!(complain("<!-- same as a.rs -->\n\ntext\n").len(), 1);
    }

    #[test]
    fn lines_stand_in_a_file_one_after_the_other_at_any_indentation() {
        let block = |code: &str| format!("<!-- from a.rs -->\n```rust\n{code}\n```\n");
        for good in ["if b {\n    c();\n\n    d();\n}", "    c();\n\n    d();", "c();", "fn a() {\n    if b {"] {
            assert_eq!(complain(&block(good)).len(), 0, "{good}");
        }
        for bad in ["c();\nd();", "if b {\nc();", "c()", "e();", ""] {
            assert_eq!(complain(&block(bad)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn rust_that_is_no_files_is_noticed() {
        assert_eq!(complain("```rust\nfn a() {}\n```\n").len(), 1);
        assert_eq!(complain("```rust,ignore\nfn a() {}\n```\n").len(), 1);
        assert_eq!(complain("```toml\n[a]\n```\n").len(), 0);
        assert!(is_for_users("docs/en/a.md") && is_for_users("crates/core/README.md") && !is_for_users("CONTRIBUTING.md"));
    }

    #[test]
    fn a_longer_fence_and_an_indented_one_are_blocks_too() {
        let found = blocks("````md\n```rust\nx\n```\n````\n\n  ```sh\n  y\n  ```\n");
        let shape: Vec<_> = found.iter().map(|block| (block.number, block.language, block.lines.clone())).collect();
        assert_eq!(shape, [(1, "md", vec!["```rust", "x", "```"]), (7, "sh", vec!["y"])]);
    }
}
