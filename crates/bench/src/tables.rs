//! The report on the terminal: the comparison table of the design note as measured, and the ratios.

use comfy_table::{Cell, ContentArrangement, Table, presets};

use crate::column::Column;
use crate::compare::Comparison;
use crate::earlier::Earlier;
use crate::loss::Loss;
use crate::place::Kind;
use crate::plan::Plan;
use crate::ratios::{Goal, How, Ratio};
use crate::report::Report;
use crate::summary::{Quantiles, Spread};

const NONE: &str = "–";

/// A row: the note's, the figure's name, and the figure of a column.
type Line = (&'static str, &'static str, fn(&Column) -> String);

const LINES: [Line; 17] = [
    ("writes to the cache", "SET, DEL per 1,000 writes", |c| count(c.cache_writes_per_1000)),
    ("writes to SQL", "statements per 1,000 writes", |c| count(c.sql_statements_per_1000)),
    ("", "rows per 1,000 writes", |c| count(c.sql_rows_per_1000)),
    ("reads", "p50 / p99 / p99.9, µs", |c| quantiles(c.read_microseconds)),
    ("", "per second, median (min – max)", |c| spread(c.reads_per_second)),
    ("writes", "p50 / p99 / p99.9, µs", |c| quantiles(c.write_microseconds)),
    ("", "per second, median (min – max)", |c| spread(c.writes_per_second)),
    ("", "until in SQL, per second", |c| spread(c.settled_writes_per_second)),
    ("reads and writes", "per second, median (min – max)", |c| spread(c.calls_per_second)),
    ("consistency", "stale reads", |c| match c.judged {
        true => format!("{} of {} ({})", c.stale_reads, c.reads, percent(c.stale_share)),
        false => NONE.to_owned(),
    }),
    ("", "their age, median / max, ms", |c| match (c.stale_age_median_ms, c.stale_age_max_ms) {
        (Some(median), Some(max)) => format!("{median:.2} / {max:.2}"),
        _ => NONE.to_owned(),
    }),
    ("", "stale at rest, afterwards", |c| format!("{} of {}", c.stale_at_rest, c.read_at_rest)),
    ("misses", "of looks into the cache", |c| percent(c.miss_ratio)),
    ("data loss", "acknowledged writes gone, no fault", |c| format!("{} of {}", c.lost_writes, c.acknowledged_writes)),
    ("cached copy", "published by the write", |c| percent(c.published_share)),
    ("", "invalidated by the write", |c| percent(c.invalidated_share)),
    ("failed calls", "", |c| c.failed_calls.to_string()),
];

/// Above and below the figures of a run without servers.
const EMBEDDED: &str =
    "EMBEDDED: no server. SQLite in a file and the cache in this process; NOT COMPARABLE with runs that have servers.";
/// What such a run cannot tell.
const LEFT_OUT: [&str; 3] = [
    "writes to the cache, per 1,000 writes: it is Redis that counts its commands",
    "ratios against raw Redis: a hit, many hits, a miss, an accepted change, a flush",
    "all that only servers have: round trips, several processes, several writers in SQL at once, eviction",
];

pub(crate) fn print(report: &Report, earlier: Option<&Earlier>) {
    let embedded = report.kind == Kind::Embedded;
    if embedded {
        println!("\n{EMBEDDED}\nLeft out:");
        LEFT_OUT.iter().for_each(|what| println!("  - {what}"));
    }
    println!("{}", environment(report));
    for comparison in &report.comparisons {
        println!("\n{}\n{}", title(comparison, &report.plan), compared(comparison));
        for column in comparison.subjects.iter().filter(|column| column.failed_calls > 0) {
            println!("{}: first failure: {}", column.subject, column.first_failure.as_deref().unwrap_or(NONE));
        }
    }
    if !report.losses.is_empty() {
        println!("\nkill -9 of the application while it writes new rows\n{}", losses(&report.losses));
        for loss in report.losses.iter().filter(|loss| !loss.must_survive) {
            println!(
                "{}: what was accepted and not flushed dies with a process that holds it; nothing else is promised.",
                loss.subject
            );
        }
    }
    if !report.ratios.is_empty() {
        println!("\nRatios, ours by raw, {} interleaved rounds\n{}", report.plan.ratio_rounds, ratios(&report.ratios));
    }
    if let Some(earlier) = earlier {
        println!("\nThe earlier run beside this one, where machines matter little\n{}", earlier.beside(report, table()));
    }
    if embedded {
        println!("{EMBEDDED}");
    }
    println!("Figures of one run may be compared with each other, not with those of another run.");
}

fn environment(report: &Report) -> Table {
    let mut table = table();
    for group in &report.environment.groups {
        for (at, (name, value)) in group.facts.iter().enumerate() {
            table.add_row([if at == 0 { group.name } else { "" }, name, value]);
        }
    }
    for warning in &report.environment.warnings {
        table.add_row(["WARNING", "", warning]);
    }
    table
}

fn title(comparison: &Comparison, plan: &Plan) -> String {
    let (what, bytes) = (comparison.workload.title(), comparison.value_bytes);
    let rounds = comparison.subjects.first().map_or(0, |column| column.calls_per_second.rounds);
    let (keys, tasks, ms) = (plan.keys, plan.tasks, plan.measured.as_millis());
    format!("{what}\n{keys} rows of {bytes} B at first, Zipf 0.99, {tasks} tasks in a closed loop, {rounds} rounds of {ms} ms")
}

fn compared(comparison: &Comparison) -> Table {
    let mut table = table();
    let names = comparison.subjects.iter().map(|column| column.subject);
    table.set_header(["", ""].into_iter().chain(names));
    for (group, name, figure) in LINES {
        let figures: Vec<String> = comparison.subjects.iter().map(figure).collect();
        if figures.iter().any(|figure| figure != NONE) {
            table.add_row([Cell::new(group), Cell::new(name)].into_iter().chain(figures.into_iter().map(Cell::new)));
        }
    }
    table
}

fn losses(losses: &[Loss]) -> Table {
    let mut table = table();
    table.set_header(["", "acknowledged", "not yet in SQL when it died", "gone after a successor took over"]);
    for Loss { subject, acknowledged, not_in_sql_then, lost, .. } in losses {
        table.add_row([(*subject).to_owned(), acknowledged.to_string(), not_in_sql_then.to_string(), lost.to_string()]);
    }
    table
}

fn ratios(ratios: &[Ratio]) -> Table {
    let mut table = table();
    table.set_header([
        "what",
        "against, raw",
        "raw",
        "ours",
        "ratio, median (min – max)",
        "goal",
        "reached",
        "client CPU a call, raw / ours, µs",
    ]);
    for ratio in ratios {
        let unit = match ratio.how {
            How::Sequential => "µs",
            How::Tasks => "/s",
        };
        let goal = match ratio.goal {
            Goal::AtMost(most) => format!("≤ {most:.2}"),
            Goal::AtLeast(least) => format!("≥ {least:.2}"),
        };
        let Spread { median, min, max, .. } = ratio.ratio;
        table.add_row([
            ratio.what.to_owned(),
            ratio.against.to_owned(),
            format!("{:.0} {unit}", ratio.raw.median),
            format!("{:.0} {unit}", ratio.ours.median),
            format!("{median:.2} ({min:.2} – {max:.2})"),
            goal,
            if ratio.reached { "yes" } else { "no" }.to_owned(),
            match (ratio.raw_on_core, ratio.ours_on_core) {
                (Some(raw), Some(ours)) => format!("{:.1} / {:.1}", raw.median, ours.median),
                _ => NONE.to_owned(),
            },
        ]);
    }
    table
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn count(figure: Option<f64>) -> String {
    figure.map_or_else(|| NONE.to_owned(), |figure| format!("{figure:.0}"))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.2} %", share * 100.0))
}

fn quantiles(found: Quantiles) -> String {
    match (found.p50, found.p99, found.p999) {
        (Some(p50), Some(p99), Some(p999)) => format!("{p50:.0} / {p99:.0} / {p999:.0}"),
        _ => NONE.to_owned(),
    }
}

fn spread(spread: Spread) -> String {
    format!("{:.0} ({:.0} – {:.0})", spread.median, spread.min, spread.max)
}
