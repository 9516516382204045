//! Rules about telemetry: a metric has one name in the code, the documents, the dashboard and the alert rules.

use std::collections::BTreeSet;

use serde_json::Value;

use super::documents::slugs;
use super::yaml::{list, object, parse};
use super::{Complaints, Project};

/// Where every metric is named, as in `NAME = Counter "writeway_name_total", "meaning";`.
const NAMES: &str = "crates/core/src/metrics.rs";
const DASHBOARD: &str = "docker/grafana/dashboards/writeway.json";
const ALERTS: &str = "docker/prometheus/alerts.yml";
/// What they mean, for people.
const PAGES: [&str; 2] = ["docs/en/metrics.md", "docs/ko/metrics.md"];
const PREFIX: &str = "writeway_";
/// What an alert rule must say besides its expression.
const ANNOTATIONS: [&str; 3] = ["summary", "description", "runbook"];

#[derive(Debug, PartialEq, Eq)]
struct Metric {
    name: String,
    is_histogram: bool,
}

pub(super) fn complaints(project: &Project) -> Complaints {
    let Some(names) = project.text(NAMES) else { return Complaints::new() };
    let metrics = metrics(names);
    let mut complaints = Complaints::new();
    if metrics.is_empty() {
        complaints.push(format!("{NAMES}: no metric is found in it"));
    }
    for path in [DASHBOARD, ALERTS] {
        let Some(text) = project.text(path) else {
            complaints.push(format!("{path}: missing"));
            continue;
        };
        complaints.extend(unknown(path, text, &metrics));
    }
    for path in PAGES {
        let text = project.text(path).unwrap_or_default();
        let table: String =
            text.lines().filter(|line| line.starts_with("| `writeway_")).map(|line| format!("{line}\n")).collect();
        complaints.extend(unknown(path, &table, &metrics));
        complaints.extend(unnamed(path, &table, &metrics));
    }
    let dashboard = project.text(DASHBOARD).unwrap_or_default();
    complaints.extend(unnamed(DASHBOARD, dashboard, &metrics));
    if let Err(e) = serde_json::from_str::<Value>(dashboard) {
        complaints.push(format!("{DASHBOARD}: is no JSON: {e}"));
    }
    if let Ok(alerts) = parse(project.text(ALERTS).unwrap_or_default()) {
        complaints.extend(rules(project, &alerts));
    }
    complaints
}

fn metrics(text: &str) -> Vec<Metric> {
    let metric = |line: &str| {
        let (shape, rest) = line.split_once(" = ")?.1.split_once(" \"")?;
        let name = rest.split('"').next().filter(|name| name.starts_with(PREFIX))?;
        Some(Metric { name: name.to_owned(), is_histogram: shape == "Histogram" })
    };
    text.lines().filter_map(metric).collect()
}

/// The words of a text that look like a metric.
fn words(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with(PREFIX)).collect()
}

fn unknown(path: &str, text: &str, metrics: &[Metric]) -> Complaints {
    let is_known = |word: &str| {
        metrics.iter().any(|metric| {
            // What an exporter makes of a histogram.
            let part = word.strip_prefix(metric.name.as_str());
            part.is_some_and(|part| part.is_empty() || metric.is_histogram && ["_bucket", "_count", "_sum"].contains(&part))
        })
    };
    words(text).into_iter().filter(|word| !is_known(word)).map(|word| format!("{path}: {word} is no metric of {NAMES}")).collect()
}

fn unnamed(path: &str, text: &str, metrics: &[Metric]) -> Complaints {
    let words = words(text);
    let named = |metric: &Metric| {
        let parts = ["", "_bucket", "_count", "_sum"].map(|part| format!("{}{part}", metric.name));
        let parts = if metric.is_histogram { &parts[..] } else { &parts[..1] };
        parts.iter().any(|part| words.contains(part.as_str()))
    };
    metrics.iter().filter(|metric| !named(metric)).map(|metric| format!("{path}: says nothing of {}", metric.name)).collect()
}

/// Every rule says what is wrong, why, and where the document is that says what to do.
fn rules(project: &Project, alerts: &Value) -> Complaints {
    let mut complaints = Complaints::new();
    let mut seen = BTreeSet::new();
    for rule in object(alerts).flat_map(|(_, groups)| list(groups)).flat_map(|group| list(&group["rules"])) {
        let name = rule["alert"].as_str().unwrap_or("a rule without a name");
        if !seen.insert(name) {
            complaints.push(format!("{ALERTS}: {name}: is there twice"));
        }
        let missing =
            ANNOTATIONS.iter().filter(|annotation| rule["annotations"][**annotation].as_str().is_none_or(str::is_empty));
        complaints.extend(missing.map(|annotation| format!("{ALERTS}: {name}: has no {annotation}")));
        if !["page", "day"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()) {
            complaints.push(format!("{ALERTS}: {name}: its severity is page or day"));
        }
        let runbook = rule["annotations"]["runbook"].as_str().unwrap_or_default();
        let heading = runbook.split_once("/blob/main/").and_then(|(_, target)| target.split_once('#'));
        let leads = heading
            .is_some_and(|(path, anchor)| project.text(path).is_some_and(|text| slugs(text).iter().any(|slug| slug == anchor)));
        if !leads {
            complaints.push(format!("{ALERTS}: {name}: its runbook leads to no heading: {runbook}"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str =
        "metrics! {\n    A = Counter \"writeway_a_total\", \"A\";\n    B = Histogram \"writeway_b_seconds\", \"B\";\n}\n";
    const PAGE: &str = "# Metrics\n## What to do\n| `writeway_a_total` | a |\n| `writeway_b_seconds` | b |\n`writeway_fence`\n";
    const BOARD: &str = "{\"expr\": \"rate(writeway_a_total[1m]) + writeway_b_seconds_bucket{le=\\\"1\\\"}\"}";
    const RULES: &str = "groups:\n- name: x\n  rules:\n  - alert: A\n    expr: writeway_a_total > 0\n    labels: { severity: page }\n\
        \x20   annotations: { summary: s, description: d, runbook: \"https://x/blob/main/docs/en/metrics.md#what-to-do\" }\n";

    fn complain(code: &str, page: &str, board: &str, rules: &str) -> Complaints {
        let files = [(NAMES, code), (PAGES[0], page), (PAGES[1], PAGE), (DASHBOARD, board), (ALERTS, rules)];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).to_vec();
        complaints(&Project { root: "".into(), files })
    }

    #[test]
    fn names_are_the_same_everywhere() {
        assert_eq!(complain(CODE, PAGE, BOARD, RULES), Complaints::new());
        let told = |found: Complaints, what: &str| assert!(found.iter().any(|found| found.contains(what)), "{found:?}");
        told(complain(CODE, &PAGE.replace("| `writeway_a_total` | a |\n", ""), BOARD, RULES), "says nothing of writeway_a_total");
        told(complain(CODE, PAGE, &BOARD.replace("_bucket", "_buckets"), RULES), "writeway_b_seconds_buckets is no metric");
        told(
            complain(CODE, PAGE, BOARD, &RULES.replace("writeway_a_total", "writeway_c_total")),
            "writeway_c_total is no metric",
        );
        told(complain(CODE, PAGE, &BOARD.replace("a_total", "a_total_count"), RULES), "a_total_count is no metric");
        told(complain(CODE, PAGE, &BOARD.replace('}', ""), RULES), "is no JSON");
    }

    #[test]
    fn a_renamed_metric_is_missed_everywhere() {
        let found = complain(&CODE.replace("writeway_a_total", "writeway_z_total"), PAGE, BOARD, RULES);
        let [board, alerts] = [DASHBOARD, ALERTS].map(|path| found.iter().filter(|found| found.starts_with(path)).count());
        assert_eq!((board, alerts, found.len()), (2, 1, 2 + 1 + 2 + 2), "{found:?}");
    }

    #[test]
    fn an_alert_says_what_to_do() {
        for (from, to) in [
            ("summary: s, ", ""),
            ("page", "soon"),
            ("#what-to-do", "#what-else"),
            ("metrics.md", "other.md"),
            (
                "rules:\n",
                "rules:\n  - alert: A\n    labels: { severity: day }\n    annotations: { summary: s, description: d, runbook: x }\n",
            ),
        ] {
            assert!(!complain(CODE, PAGE, BOARD, &RULES.replace(from, to)).is_empty(), "{to}");
        }
    }
}
