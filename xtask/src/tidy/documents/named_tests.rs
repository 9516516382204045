//! A test that a document names in backticks, `suite::module::name`, is there.

use crate::tidy::{Complaints, Project};

pub(super) fn complaints(project: &Project, path: &str, text: &str) -> Complaints {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for code in line.split('`').skip(1).step_by(2) {
            if names_a_test(project, code) && !is_there(project, code) {
                complaints.push(format!("{path}:{number}: there is no test {code}"));
            }
        }
    }
    complaints
}

/// Whether `code` is a path of which the first name is a test target of ours, and not an import of several names.
fn names_a_test(project: &Project, code: &str) -> bool {
    let names: Vec<&str> = code.split("::").collect();
    let all_names = names.iter().all(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    names.len() > 1 && all_names && targets(project).any(|(target, _)| target == names[0])
}

/// Test targets: `crates/x/tests/target.rs` and what lies below `crates/x/tests/target/`, with each file.
fn targets(project: &Project) -> impl Iterator<Item = (&str, &str)> {
    project.with_extension("rs").filter_map(|(path, _)| {
        let (_, file) = path.strip_prefix("crates/")?.split_once("/tests/")?;
        Some((file.split(['/', '.']).next()?, path))
    })
}

/// Looks in the file of the module that the path names, in any crate that has such a target.
fn is_there(project: &Project, code: &str) -> bool {
    let Some((module, test)) = code.rsplit_once("::") else { return false };
    let module = module.replace("::", "/");
    let files = ["", "/main", "/mod"].map(|file| format!("/tests/{module}{file}.rs"));
    let function = format!("fn {test}(");
    let holds = |path: &str| project.text(path).is_some_and(|text| text.contains(&function));
    targets(project).any(|(_, path)| files.iter().any(|file| path.ends_with(file)) && holds(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_not_there_is_noticed() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = vec![
            file("crates/a/tests/explorer/main.rs", "mod crashes;\nfn whole() {}\n"),
            file("crates/a/tests/explorer/crashes.rs", "fn early() {}\n"),
            file("crates/b/tests/it_x.rs", "async fn late() {}\n"),
        ];
        let project = Project { root: "".into(), files };
        let complain = |text: &str| complaints(&project, "docs/en/write-back.md", text).len();
        assert_eq!(complain("| `explorer::crashes::early` | `explorer::whole`, `it_x::late`, `tokio::spawn`, `crashes.rs` |"), 0);
        assert_eq!(complain("`explorer::crashes::late`"), 1);
        assert_eq!(complain("`explorer::early` and `it_x::late_too`"), 2);
        assert_eq!(complain("`explorer::gone::early`"), 1);
    }
}
