//! The quickstart runs, and prints what the documents say that it prints.

#[path = "../quickstart.rs"]
mod quickstart;

use std::env;
use std::process::Command;

const AGAIN: &str = "WRITEWAY_QUICKSTART";
const DOCUMENTS: [(&str, &str); 4] = [
    ("README.md", include_str!("../../README.md")),
    ("README.ko.md", include_str!("../../README.ko.md")),
    ("docs/en/quickstart.md", include_str!("../../docs/en/quickstart.md")),
    ("docs/ko/quickstart.md", include_str!("../../docs/ko/quickstart.md")),
];

#[test]
fn it_prints_what_the_documents_say() {
    if env::var_os(AGAIN).is_some() {
        return quickstart::main().expect("it runs");
    }
    let mut command = Command::new(env::current_exe().expect("we are running"));
    command.args(["--exact", "it_prints_what_the_documents_say", "--quiet", "--nocapture", "--test-threads=2"]);
    let output = command.env(AGAIN, "1").output().expect("it ran");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{printed}");
    for (name, text) in DOCUMENTS {
        let block = text.split("```text\n").find(|block| block.starts_with("Embedded: ")).unwrap_or_default();
        let (said, _) = block.split_once("```").unwrap_or_else(|| panic!("{name} shows no output"));
        assert!(printed.contains(said), "{name} says\n{said}\nand it prints\n{printed}");
    }
}
