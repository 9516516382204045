//! `--guide`: the measured table in the chapter on choosing a strategy, in both languages, between two marks.

mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::report::Report;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The chapter, found and with room for the table.
pub(crate) struct Guide {
    chapters: Vec<(PathBuf, &'static text::Words)>,
}

impl Guide {
    /// Looks for both files, from the directory of the workspace: before anything is measured, not after.
    ///
    /// # Errors
    /// If one is missing, or its marks are.
    pub(crate) fn find(root: &Path) -> Result<Self> {
        let chapters = [("docs/en/choose.md", &text::ENGLISH), ("docs/ko/choose.md", &text::KOREAN)];
        let chapters: Vec<_> = chapters.map(|(path, words)| (root.join(path), words)).into();
        for (path, _) in &chapters {
            replaced(&read(path)?, "").with_context(|| path.display().to_string())?;
        }
        Ok(Guide { chapters })
    }

    /// # Errors
    /// If a file cannot be written, or has lost its marks since.
    pub(crate) fn write(&self, report: &Report) -> Result<()> {
        for (path, words) in &self.chapters {
            let written = replaced(&read(path)?, &text::table(report, words));
            std::fs::write(path, written.with_context(|| path.display().to_string())?)?;
            println!("{}", path.display());
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// The text with `table`, fenced, in place of what is between the marks. Each is a line of its own.
fn replaced(text: &str, table: &str) -> Result<String> {
    let at = |mark: &str| {
        let lines: Vec<usize> = text.lines().enumerate().filter(|(_, line)| *line == mark).map(|(at, _)| at).collect();
        ensure!(lines.len() == 1, "it must have one line `{mark}`, and has {}", lines.len());
        Ok(lines[0])
    };
    let (begin, end) = (at(BEGIN)?, at(END)?);
    ensure!(begin < end, "`{END}` stands before `{BEGIN}`");
    let lines: Vec<&str> = text.lines().collect();
    let block = format!("```text\n{}\n```", table.trim_end());
    Ok([&lines[..=begin], &[block.as_str()], &lines[end..]].concat().join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("# A\n\n{BEGIN}\n```text\nold\n```\n{END}\n\nafter\n");
        let once = replaced(&text, "new\n  rows\n").expect("it has marks");
        assert_eq!(once, format!("# A\n\n{BEGIN}\n```text\nnew\n  rows\n```\n{END}\n\nafter\n"));
        assert_eq!(replaced(&once, "new\n  rows\n").expect("they are still there"), once);
        let empty = format!("{BEGIN}\n{END}\n");
        assert_eq!(replaced(&empty, "x").expect("nothing between"), format!("{BEGIN}\n```text\nx\n```\n{END}\n"));
    }

    #[test]
    fn marks_that_are_missing_doubled_or_crossed_are_named() {
        let refusal = |text: &str| replaced(text, "x").map_err(|e| e.to_string()).expect_err("no good marks");
        assert!(refusal("# A\n").contains(BEGIN));
        assert!(refusal(&format!("{BEGIN}\n")).contains(END));
        assert!(refusal(&format!("{BEGIN}\n{BEGIN}\n{END}\n")).contains("has 2"));
        assert!(refusal(&format!("{END}\n{BEGIN}\n")).contains("before"));
        assert!(refusal(&format!("as {BEGIN} says\n{END}\n")).contains("has 0"), "a mark within a line is none");
    }

    #[test]
    fn a_chapter_that_is_not_there_is_named() {
        let refused = Guide::find(Path::new("no such directory")).err().expect("nothing is there");
        assert!(format!("{refused:#}").contains("choose.md"));
    }
}
