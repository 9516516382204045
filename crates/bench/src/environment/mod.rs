//! What the figures were measured on. Read from the machine and the servers, not from flags.

pub(crate) mod embedded;
pub(crate) mod servers;

use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use crate::place::Place;
use crate::subject::LIKES;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) groups: Vec<Group>,
    pub(crate) warnings: Vec<String>,
}

/// Facts of one kind.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) facts: Vec<(&'static str, String)>,
}

/// What a place tells of itself.
pub(crate) struct Facts {
    /// Of what the strategies stand on.
    pub(crate) parts: Vec<Group>,
    /// Of this process' side.
    pub(crate) client: Vec<(&'static str, String)>,
    pub(crate) warnings: Vec<String>,
}

const UNKNOWN: &str = "unknown";

impl Environment {
    /// # Errors
    /// If a server does not answer; what it keeps to itself is unknown.
    pub(crate) async fn read(place: &mut impl Place) -> Result<Self> {
        let Facts { parts, mut client, mut warnings } = place.facts().await?;
        if cfg!(debug_assertions) {
            warnings.push("built without optimisation: the figures are worth nothing".to_owned());
        }
        let (shards, max_delay) = LIKES;
        client.push(("likes", format!("write-back: counters, {shards} shards, max_delay {max_delay:?}")));
        client.push(("rustc", output("rustc", &["--version"])));
        client.push(("commit", output("git", &["describe", "--always", "--dirty", "--exclude=*"])));
        let machine = Group { name: "machine", facts: machine() };
        let client = Group { name: "client", facts: client };
        Ok(Environment { groups: [vec![machine], parts, vec![client]].concat(), warnings })
    }

    /// One fact, by its group and name.
    pub(crate) fn fact(&self, group: &str, name: &str) -> &str {
        let facts = self.groups.iter().filter(|known| known.name == group).flat_map(|group| &group.facts);
        facts.into_iter().find(|(known, _)| *known == name).map_or(UNKNOWN, |(_, value)| value)
    }
}

fn machine() -> Vec<(&'static str, String)> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let known = |text: &str| if text.trim().is_empty() { UNKNOWN.to_owned() } else { text.trim().to_owned() };
    vec![
        ("cpu", known(model.map_or("", |(_, name)| name))),
        ("cores", std::thread::available_parallelism().map_or_else(|_| UNKNOWN.to_owned(), |n| n.to_string())),
        ("kernel", known(&kernel)),
    ]
}

/// The first line that a command prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let printed = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = printed.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned())
}
