//! Every relative link leads to a file of the project and, where it names one, to a heading in it.

use std::collections::BTreeMap;

use super::blocks::prose;
use crate::tidy::{Complaints, Project};

pub(super) fn complaints(project: &Project, path: &str, text: &str) -> Complaints {
    let links = links(text).into_iter();
    links.filter_map(|(number, link)| Some(format!("{path}:{number}: {}", wrong(project, path, text, link)?))).collect()
}

fn wrong(project: &Project, path: &str, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let Some(target) = resolve(path, file) else { return Some(format!("{link} leads out of the project")) };
    let content = if file.is_empty() { Some(text) } else { project.text(&target) };
    match (content, anchor) {
        (None, _) if file.ends_with(".md") || !project.has_directory(&target) => Some(format!("{link} leads to no file")),
        (Some(content), Some(anchor)) if file.is_empty() || file.ends_with(".md") => {
            (!slugs(content).iter().any(|slug| slug == anchor)).then(|| format!("{link} leads to no heading"))
        }
        _ => None,
    }
}

/// The path from the root that `link` means in the document `path`.
fn resolve(path: &str, link: &str) -> Option<String> {
    let mut names: Vec<&str> = path.split('/').collect();
    names.pop();
    for name in link.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    (!link.starts_with('/')).then(|| names.join("/"))
}

/// Where `[text](target)`, `[text]: target`, `href="target"` and `src="target"` lead, with line numbers; not what is code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        for piece in outside_code(line) {
            for (at, opening) in piece.match_indices("](") {
                let rest = &piece[at + opening.len()..];
                links.extend(rest.split([')', ' ']).next().map(|target| (number, target)));
            }
            for attribute in ["href=\"", "src=\""] {
                let targets = piece.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
                links.extend(targets.map(|target| (number, target)));
            }
        }
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            links.extend(target.split(' ').next().map(|target| (number, target)));
        }
    }
    links
}

/// The pieces of a line between code in backticks. A backtick without a partner begins no code.
fn outside_code(line: &str) -> impl Iterator<Item = &str> {
    let pieces: Vec<&str> = line.split('`').collect();
    let last = pieces.len() - 1;
    pieces.into_iter().enumerate().filter(move |(at, _)| at % 2 == 0 || *at == last).map(|(_, piece)| piece)
}

/// The anchors of a document's headings, as GitHub makes them: lower case, without punctuation, a hyphen for each space, and
/// a number where the same heading comes again.
pub(in crate::tidy) fn slugs(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let headings = prose(text).filter_map(|(_, line)| heading(line));
    let slugs = headings.map(|heading| {
        let kept = visible(heading).to_lowercase();
        let slug: String = kept.chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c)).collect();
        let slug = slug.replace(' ', "-");
        let again = seen.entry(slug.clone()).or_default();
        *again += 1;
        if *again == 1 { slug } else { format!("{slug}-{}", *again - 1) }
    });
    slugs.collect()
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim())
}

/// A heading without the targets of its links.
fn visible(heading: &str) -> String {
    let mut pieces = heading.split("](");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    shown.extend(pieces.filter_map(|piece| piece.split_once(')')).map(|(_, rest)| rest));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complain(document: &str) -> Complaints {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files =
            vec![file("docs/b.md", "# B, `c::d` & e_f\n## 캐시 키\n## 캐시 키\n```sh\n# x\n```\n"), file("src/lib.rs", "")];
        complaints(&Project { root: "".into(), files }, "docs/a.md", document)
    }

    #[test]
    fn a_link_leads_to_a_file_or_a_directory() {
        for good in [
            "[b](b.md) and [src](../src/), [lib](../src/lib.rs#L1)",
            "[web](https://example.org/x.md)",
            "`[no](link.md)`",
            "```text\n[no](link.md)\n```",
            "<a href=\"b.md\">b</a>",
        ] {
            assert_eq!(complain(good), Complaints::new(), "{good}");
        }
        for bad in
            ["[c](c.md)", "[c](../c)", "[root](/docs/b.md)", "[out](../../b.md)", "![c](c.svg)", "[c]: c.md", "x `y` [c](c.md)"]
        {
            assert_eq!(complain(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn an_anchor_is_a_heading() {
        for good in ["# A b\n[a](#a-b)", "[b](b.md#b-cd--e_f)", "[k](b.md#캐시-키) [k](b.md#캐시-키-1)"] {
            assert_eq!(complain(good), Complaints::new(), "{good}");
        }
        for bad in ["# A b\n[a](#a_b)", "[b](b.md#b)", "[k](b.md#캐시-키-2)", "[x](b.md#x)"] {
            assert_eq!(complain(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_heading_that_is_a_link_shows_its_text_only() {
        assert_eq!(slugs("## See [the file](a/b.md), please\n"), ["see-the-file-please"]);
    }
}
