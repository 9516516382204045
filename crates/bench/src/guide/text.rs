//! The table of the guide as text: few enough columns for a page, and aligned also where letters are two columns wide.

use crate::column::Column;
use crate::compare::Comparison;
use crate::loss::Loss;
use crate::report::Report;
use crate::subject;
use crate::summary::Quantiles;
use crate::workload::Kind;

/// What differs between the languages.
pub(super) struct Words {
    heads: [[&'static str; 2]; FIGURES],
    workload: fn(Kind) -> &'static str,
    /// Beside the heads.
    note: &'static str,
    /// Of the date, the plan, the commit, the machine.
    machine: fn(&[&str]) -> String,
    /// Of the servers and of how it was measured.
    servers: fn(&[&str]) -> String,
}

const FIGURES: usize = 9;
const NONE: &str = "–";

pub(super) static ENGLISH: Words = Words {
    heads: [
        ["reads, µs", "p50 / p99"],
        ["writes, µs", "p50 / p99"],
        ["calls", "per s"],
        ["in SQL", "per s"],
        ["", "misses"],
        ["SQL", "statements"],
        ["SQL", "rows"],
        ["stale", "reads"],
        ["lost by", "kill -9"],
    ],
    workload: |kind| match kind {
        Kind::Ledger => "ledger: 50 % reads, 50 % upserts in a transaction",
        Kind::Likes => "likes: 90 % increments of popular rows, 10 % reads; write-back with counters",
        Kind::EventLog => "event log: 95 % inserts, 5 % reads, mostly of recent rows",
    },
    note: "SQL: per 1,000 writes",
    machine: |of| format!("{}, {} run of {}; {}, {} cores, kernel {}", of[0], of[1], of[2], of[3], of[4], of[5]),
    servers: |of| format!("Redis {}, PostgreSQL {}; {} rows of {} B, {} tasks", of[0], of[1], of[2], of[3], of[4]),
};

pub(super) static KOREAN: Words = Words {
    heads: [
        ["읽기, µs", "p50 / p99"],
        ["쓰기, µs", "p50 / p99"],
        ["초당", "호출"],
        ["초당", "SQL까지"],
        ["", "miss"],
        ["SQL", "statement"],
        ["SQL", "row"],
        ["오래된", "읽기"],
        ["kill -9로", "잃은 쓰기"],
    ],
    workload: |kind| match kind {
        Kind::Ledger => "ledger(원장): 읽기 50 %, 트랜잭션으로 upsert 50 %",
        Kind::Likes => "likes(좋아요): 인기 있는 row의 증가 90 %, 읽기 10 %. write-back은 counter로",
        Kind::EventLog => "event log(이벤트 기록): insert 95 %, 주로 최근 row의 읽기 5 %",
    },
    note: "SQL은 쓰기 1,000건당",
    machine: |of| format!("{}, {} 실행({}), {}, 코어 {}개, 커널 {}", of[0], of[1], of[2], of[3], of[4], of[5]),
    servers: |of| format!("Redis {}, PostgreSQL {}, {} B인 row {}개, task {}개", of[0], of[1], of[3], of[2], of[4]),
};

/// At most 25 lines of at most 110 columns, as far as the figures are of usual length.
pub(super) fn table(report: &Report, words: &Words) -> String {
    let mut rows: Vec<Line> = [words.note, ""]
        .into_iter()
        .enumerate()
        .map(|(at, name)| Line::Row(name, words.heads.map(|head| head[at].to_owned()).into()))
        .collect();
    // One size: the least is what the strategies differ by most.
    let bytes = report.comparisons.first().map_or(0, |comparison| comparison.value_bytes);
    for comparison in report.comparisons.iter().filter(|comparison| comparison.value_bytes == bytes) {
        rows.push(Line::Title((words.workload)(comparison.workload)));
        rows.extend(subjects(comparison, &report.losses));
    }
    let environment = &report.environment;
    let (date, fact) = (date(report.seconds_since_1970), |group, name| environment.fact(group, name));
    let of_machine = |name| fact("machine", name);
    let machine =
        [&date, report.plan.name, fact("client", "commit"), of_machine("cpu"), of_machine("cores"), of_machine("kernel")];
    let redis = format!("{} (AOF {})", fact("Redis", "version"), fact("Redis", "AOF"));
    // Distributions add their own after a space.
    let version = fact("PostgreSQL", "version").split(' ').next().unwrap_or_default();
    let postgresql = format!("{version} (fsync {})", fact("PostgreSQL", "fsync"));
    let [keys, tasks, bytes] = [report.plan.keys.to_string(), report.plan.tasks.to_string(), bytes.to_string()];
    let servers = [redis.as_str(), &postgresql, &keys, &bytes, &tasks];
    let mut text = vec![(words.machine)(&machine), (words.servers)(&servers)];
    text.extend(aligned(&rows));
    text.join("\n")
}

enum Line {
    Title(&'static str),
    Row(&'static str, Box<[String; FIGURES]>),
}

fn subjects<'a>(comparison: &'a Comparison, losses: &'a [Loss]) -> impl Iterator<Item = Line> + 'a {
    comparison.subjects.iter().map(|column| {
        let loss = losses.iter().find(|loss| loss.subject == column.subject);
        Line::Row(short(column.subject), figures(column, loss).into())
    })
}

fn short(subject: &'static str) -> &'static str {
    let known = subject::Kind::ALL.into_iter().find(|kind| kind.name() == subject);
    known.map_or(subject, subject::Kind::short_name)
}

fn figures(column: &Column, loss: Option<&Loss>) -> [String; FIGURES] {
    let count = |figure: Option<f64>| figure.map_or_else(|| NONE.to_owned(), |figure| format!("{figure:.0}"));
    let percent = |share: Option<f64>, digits: usize| share.map(|share| format!("{:.digits$} %", share * 100.0));
    let none = || NONE.to_owned();
    [
        quantiles(column.read_microseconds),
        quantiles(column.write_microseconds),
        format!("{:.0}", column.calls_per_second.median),
        format!("{:.0}", column.settled_writes_per_second.median),
        percent(column.miss_ratio, 1).unwrap_or_else(none),
        count(column.sql_statements_per_1000),
        count(column.sql_rows_per_1000),
        match (column.judged, column.stale_reads) {
            (false, _) => none(),
            (true, 0) => "0".to_owned(),
            (true, _) => percent(column.stale_share, 3).unwrap_or_else(none),
        },
        loss.map_or_else(none, |loss| format!("{} / {}", loss.lost, loss.acknowledged)),
    ]
}

fn quantiles(found: Quantiles) -> String {
    match (found.p50, found.p99) {
        (Some(p50), Some(p99)) => format!("{p50:.0} / {p99:.0}"),
        _ => NONE.to_owned(),
    }
}

fn aligned(lines: &[Line]) -> Vec<String> {
    let rows = || lines.iter().filter_map(|line| if let Line::Row(name, figures) = line { Some((name, figures)) } else { None });
    let widest_name = rows().map(|(name, _)| width(name)).max().unwrap_or(0);
    let widest: Vec<usize> = (0..FIGURES).map(|at| rows().map(|(_, figures)| width(&figures[at])).max().unwrap_or(0)).collect();
    let line = |line: &Line| match line {
        Line::Title(title) => (*title).to_owned(),
        Line::Row(name, figures) => {
            let mut text = format!("  {name}{}", " ".repeat(widest_name - width(name)));
            for (figure, widest) in figures.iter().zip(&widest) {
                text += &format!("{}{figure}", " ".repeat(2 + widest - width(figure)));
            }
            text
        }
    };
    lines.iter().map(line).collect()
}

/// In columns of a terminal: Hangul takes two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if ('가'..='힣').contains(&c) { 2 } else { 1 }).sum()
}

/// Year, month and day in UTC, by Howard Hinnant's `civil_from_days`.
fn date(seconds_since_1970: u64) -> String {
    let days = seconds_since_1970 / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is the first month, so that a leap day is a year's last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        let of = |days: u64| date(days * 86_400 + 86_399);
        assert_eq!((of(0), of(59)), ("1970-01-01".to_owned(), "1970-03-01".to_owned()));
        assert_eq!((of(11_016), of(11_017)), ("2000-02-29".to_owned(), "2000-03-01".to_owned()));
        assert_eq!((of(20_453), of(20_454)), ("2025-12-31".to_owned(), "2026-01-01".to_owned()));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_figure_hangul_counted_twice() {
        let row =
            |name, first: &str| Line::Row(name, std::array::from_fn(|at| if at == 0 { first } else { "1" }.to_owned()).into());
        let lines = aligned(&[row("", "읽기"), Line::Title("제목"), row("write-back", "123456")]);
        assert_eq!(lines[0], format!("  {}    읽기{}", " ".repeat(10), "  1".repeat(FIGURES - 1)));
        assert_eq!((lines[1].as_str(), width(&lines[0])), ("제목", width(&lines[2])));
    }

    #[test]
    fn the_heads_of_both_languages_fit() {
        for words in [&ENGLISH, &KOREAN] {
            let widest = words.heads.map(|head| width(head[0]).max(width(head[1])));
            assert!(widest.into_iter().all(|widest| widest <= 10), "{widest:?}");
        }
    }
}
