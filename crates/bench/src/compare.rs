//! The comparison: every subject under every workload, in interleaved rounds, each on a freshly loaded table and an empty cache.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use writeway_core::runtime::{Runtime, Tokio};

use crate::clock;
use crate::column::{Column, Round};
use crate::count::Count;
use crate::keys::Keys;
use crate::load::{Load, Mix};
use crate::place::{Place, fresh_namespace};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::staleness::Known;
use crate::subject::{Commit, Kind, Subject};
use crate::workload::{self, Workload};

/// One table of the report.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: workload::Kind,
    pub(crate) value_bytes: usize,
    pub(crate) subjects: Vec<Column>,
}

/// How many keys are warmed at once.
const PAGE: usize = 500;

/// What the subjects leave to tasks of their own ends in this time.
const SETTLED: Duration = Duration::from_millis(20);

/// # Errors
/// If a server cannot be used, or the reads of SQL alone are found stale: then the checker is wrong.
pub(crate) async fn compare(place: &mut impl Place, plan: &Plan, progress: &mut Progress) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    let tables = u32::try_from(plan.value_bytes.len() * workload::Kind::ALL.len())?;
    let mut deadline = clock::now();
    for &value_bytes in &plan.value_bytes {
        for workload in workload::Kind::ALL {
            let what = format!("{}, {value_bytes} B", workload.title());
            let mut rounds = Kind::ALL.map(|_| Vec::new());
            deadline += plan.longest / tables;
            for number in (0..plan.rounds).take_while(|&number| number == 0 || clock::now() < deadline) {
                for turn in 0..Kind::ALL.len() {
                    // Nobody is always first, or always after the same.
                    let at = if number % 2 == 0 { (turn + number) % Kind::ALL.len() } else { Kind::ALL.len() - 1 - turn };
                    let kind = Kind::ALL[at];
                    progress.step(&what, &format!("{}, round {}", kind.name(), number + 1));
                    let round = round(place, plan, kind, workload, value_bytes).await;
                    rounds[at].push(round.with_context(|| format!("{} under {what}", kind.name()))?);
                }
            }
            let column = |(kind, rounds): (Kind, Vec<Round>)| Column::of(kind, rounds).context("no rounds");
            let subjects: Vec<Column> = Kind::ALL.into_iter().zip(rounds).map(column).collect::<Result<_>>()?;
            let sql_only = &subjects[0];
            anyhow::ensure!(sql_only.stale_reads + sql_only.lost_writes == 0, "SQL alone was found stale: the checker is wrong");
            comparisons.push(Comparison { workload, value_bytes, subjects });
        }
    }
    Ok(comparisons)
}

async fn round<P: Place>(place: &mut P, plan: &Plan, kind: Kind, workload: workload::Kind, value_bytes: usize) -> Result<Round> {
    let keys = Keys::new(plan.keys)?;
    place.reset(keys.count(), value_bytes).await?;
    let subject = Arc::new(Subject::build(kind, place, workload.commit(), &fresh_namespace()).await?);
    let all: Vec<i64> = (1..=keys.count()).collect();
    if workload != workload::Kind::EventLog {
        for page in all.chunks(PAGE) {
            subject.warm(page).await?;
        }
    }
    let known = Arc::new(Known::new(keys.count(), clock::now()));
    let workload = Arc::new(Workload::new(workload, keys, value_bytes));
    let load = Load { subject, workload, known, tasks: plan.tasks };

    let total = place.total().await?;
    let warm_up = load.run(Mix::Whole, plan.warm_up).await?;
    load.subject.looks.take();
    let tally = load.run(Mix::Whole, plan.measured).await?;
    let looks = load.subject.looks.take();

    load.subject.settle().await?;
    let flushed = load.subject.rows_flushed().await?;
    let count = Count::start(place).await?;
    let started = clock::now();
    let writes = load.run(Mix::WritesOnly, plan.counted * load.subject.patience()).await?;
    load.subject.settle().await?;
    let settled = clock::now() - started;
    Tokio.sleep(SETTLED).await;
    let counted = count.stop(place).await?;
    let rows = load.subject.rows_flushed().await?.zip(flushed).map_or(writes.writes.count(), |(after, before)| after - before);

    let hottest = load.workload.hottest(plan.at_rest);
    let read_at_rest = hottest.len() as u64;
    let stale_at_rest = load.at_rest(hottest).await?;
    let mut lost_writes = load.known.lost(place.versions().await?);
    if load.workload.kind.commit() == Commit::Increment {
        let all = [&warm_up, &tally, &writes];
        let (made, failed) = all.iter().fold((0, 0), |(made, failed), of| (made + of.writes.count(), failed + of.failed));
        let added = u64::try_from(place.total().await? - total)?;
        anyhow::ensure!(added <= made + failed, "{added} increments are in SQL, of {made} that were acknowledged");
        lost_writes += made.saturating_sub(added);
    }
    Ok(Round { tally, looks, writes, settled, rows, counted, read_at_rest, stale_at_rest, lost_writes })
}
