//! `--compare`: an earlier run's figures beside this one's. Only those on which the machine's mood has little influence: ratios, and
//! what is counted. Latencies and rates of two runs are not compared.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use comfy_table::Table;
use serde::Deserialize;

use crate::column::Column;
use crate::place::Kind;
use crate::report::{FORMAT, Report};
use crate::workload;

/// What is read of an earlier run's JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Earlier {
    kind: Kind,
    plan: Plan,
    comparisons: Vec<Comparison>,
    ratios: Vec<Ratio>,
}

/// What must be told before the rest is understood.
#[derive(Debug, Deserialize)]
struct Layout {
    format: u32,
}

#[derive(Debug, Deserialize)]
struct Plan {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Comparison {
    workload: workload::Kind,
    value_bytes: usize,
    subjects: Vec<Subject>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    subject: String,
    miss_ratio: Option<f64>,
    cache_writes_per_1000: Option<f64>,
    sql_statements_per_1000: Option<f64>,
    sql_rows_per_1000: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Ratio {
    what: String,
    against: String,
    ratio: Median,
}

#[derive(Debug, Deserialize)]
struct Median {
    median: f64,
}

impl Earlier {
    /// # Errors
    /// If the file cannot be read, or says what this run's figures cannot be compared with.
    pub(crate) fn read(path: &Path, kind: Kind, plan: &str) -> Result<Self> {
        let json = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&json, kind, plan).with_context(|| format!("--compare {}", path.display()))
    }

    fn parse(json: &str, kind: Kind, plan: &str) -> Result<Self> {
        let Layout { format } = serde_json::from_str(json).context("not the JSON of a run")?;
        ensure!(format == FORMAT, "its layout is number {format}, and {FORMAT} is understood");
        let earlier: Earlier = serde_json::from_str(json).context("not the JSON of a run")?;
        let (then, now) = (earlier.kind.name(), kind.name());
        ensure!(earlier.kind == kind, "that run was {then}, this one is {now}: their figures are not comparable");
        ensure!(earlier.plan.name == plan, "that run was a {} one, this one is {plan}", earlier.plan.name);
        Ok(earlier)
    }

    /// Fills a table with what both runs have: what, then, now.
    pub(crate) fn beside(&self, report: &Report, mut table: Table) -> Table {
        table.set_header(["", "", "then", "now"]);
        for ratio in &report.ratios {
            if let Some(then) = self.ratios.iter().find(|then| then.what == ratio.what && then.against == ratio.against) {
                let figures = [then.ratio.median, ratio.ratio.median].map(|median| format!("{median:.2}"));
                add(&mut table, ratio.what, &format!("by {}", ratio.against), figures);
            }
        }
        for comparison in &report.comparisons {
            let same = |then: &&Comparison| (then.workload, then.value_bytes) == (comparison.workload, comparison.value_bytes);
            let Some(then) = self.comparisons.iter().find(same) else { continue };
            for now in &comparison.subjects {
                if let Some(then) = then.subjects.iter().find(|then| then.subject == now.subject) {
                    let whom = format!("{}, {} B, {}", comparison.workload.title(), comparison.value_bytes, now.subject);
                    counts(then, now).into_iter().for_each(|(what, figures)| add(&mut table, &whom, what, figures));
                }
            }
        }
        table
    }
}

fn add(table: &mut Table, whom: &str, what: &str, [then, now]: [String; 2]) {
    table.add_row([whom, what, &then, &now]);
}

type Say = fn(f64) -> String;

/// Where both have the figure.
fn counts(then: &Subject, now: &Column) -> Vec<(&'static str, [String; 2])> {
    let share: Say = |share| format!("{:.2} %", share * 100.0);
    let count: Say = |count| format!("{count:.0}");
    let figures = [
        ("misses", (then.miss_ratio, now.miss_ratio), share),
        ("cache writes per 1,000 writes", (then.cache_writes_per_1000, now.cache_writes_per_1000), count),
        ("SQL statements per 1,000 writes", (then.sql_statements_per_1000, now.sql_statements_per_1000), count),
        ("SQL rows per 1,000 writes", (then.sql_rows_per_1000, now.sql_rows_per_1000), count),
    ];
    figures.into_iter().filter_map(|(what, (then, now), say)| Some((what, [say(then?), say(now?)]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str, kind: Kind, plan: &str) -> Option<String> {
        Earlier::parse(json, kind, plan).err().map(|e| format!("{e:#}"))
    }

    #[test]
    fn runs_of_two_kinds_are_not_compared() {
        let json = r#"{"format": FORMAT, "kind": "embedded", "plan": {"name": "quick"}, "comparisons": [], "ratios": []}"#;
        let json = &json.replace("FORMAT", &FORMAT.to_string());
        assert_eq!(refusal(json, Kind::Embedded, "quick"), None);
        let told = refusal(json, Kind::Servers, "quick").expect("another kind");
        assert!(told.contains("embedded") && told.contains("with servers"), "{told}");
        assert!(refusal(json, Kind::Embedded, "long").is_some(), "other sizes");
        assert!(refusal(&json.replace("embedded", "servers"), Kind::Embedded, "quick").is_some());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let told = refusal(r#"{"format": 1, "plan": {}}"#, Kind::Servers, "quick").expect("another layout");
        assert!(told.contains("number 1"), "{told}");
        assert!(refusal("[]", Kind::Servers, "quick").is_some());
    }
}
