//! Loss on `kill -9` of the application: a process of its own writes new rows and tells of each acknowledgement before the next
//! write; it is killed in the midst, a successor takes over, and SQL is asked.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use tokio::task::{JoinSet, spawn_blocking};

use crate::clock;
use crate::place::{self, Place};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::subject::{Commit, Kind, Subject};
use crate::table::Row;

/// The namespace of the process that is killed, and of its successor.
const NAMESPACE: &str = "killed";
/// How long it may write after its first acknowledgement.
const ALIVE: Duration = Duration::from_millis(300);
/// It ends by itself then, should nobody kill it.
const LONGEST: Duration = Duration::from_secs(20);

/// What became of one subject's writes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Loss {
    pub(crate) subject: &'static str,
    pub(crate) acknowledged: u64,
    /// Of these, when the process had just died.
    pub(crate) not_in_sql_then: u64,
    /// Once a successor had taken over.
    pub(crate) lost: u64,
    /// None must be: false where what was accepted and not flushed dies with the process, and nothing else is promised.
    pub(crate) must_survive: bool,
}

/// # Errors
/// If the process cannot be started, or a server refuses.
pub(crate) async fn measure(place: &mut impl Place, plan: &Plan, progress: &mut Progress) -> Result<Vec<Loss>> {
    let mut losses = Vec::new();
    for kind in Kind::ALL {
        progress.step("kill -9 of the application", kind.name());
        losses.push(one(place, plan, kind).await.with_context(|| format!("kill -9 under {}", kind.name()))?);
    }
    Ok(losses)
}

async fn one<P: Place>(place: &mut P, plan: &Plan, kind: Kind) -> Result<Loss> {
    place.reset(0, plan.value_bytes[0]).await?;
    let mut victim = Command::new(std::env::current_exe().context("finding this program")?);
    let kind_name = kind.to_possible_value().context("a kind without a name")?;
    victim.arg("--victim").arg(kind_name.get_name()).args(plan.name.eq("quick").then_some("--quick"));
    victim.args((P::KIND == place::Kind::Embedded).then_some("--embedded")).envs(place.for_another_process());
    let acknowledged = spawn_blocking(move || kill_in_the_midst(victim)).await??;
    anyhow::ensure!(!acknowledged.is_empty(), "the process that was to be killed had nothing acknowledged");

    let not_in_sql_then = missing(place, &acknowledged).await?;
    let successor = Subject::build(kind, place, Commit::Statement, NAMESPACE).await?;
    successor.settle().await?;
    let lost = missing(place, &acknowledged).await?;
    let must_survive = P::JOURNAL_OUTLIVES_US || kind != Kind::WriteBack;
    Ok(Loss { subject: kind.name(), acknowledged: acknowledged.len() as u64, not_in_sql_then, lost, must_survive })
}

/// The ids that were acknowledged. What the process had written to its end of the pipe when it died is read to the last line.
fn kill_in_the_midst(mut victim: Command) -> Result<Vec<i64>> {
    let mut child = victim.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting a process to be killed")?;
    let lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let (mut acknowledged, mut first, mut killed) = (Vec::new(), None, false);
    for line in lines {
        // The last line may be cut short: it was not told.
        let Some(id) = line?.strip_suffix('.').and_then(|id| id.parse().ok()) else { continue };
        acknowledged.push(id);
        let first = *first.get_or_insert_with(clock::now);
        if !killed && clock::now() - first >= ALIVE {
            child.kill().context("killing it")?;
            killed = true;
        }
    }
    let status = child.wait().context("waiting for its end")?;
    anyhow::ensure!(killed, "the process that was to be killed ended by itself: {status}");
    Ok(acknowledged)
}

async fn missing(place: &mut impl Place, acknowledged: &[i64]) -> Result<u64> {
    let there: BTreeSet<i64> = place.versions().await?.into_iter().map(|(id, _)| id).collect();
    Ok(acknowledged.iter().filter(|id| !there.contains(id)).count() as u64)
}

/// The process that is killed: writes new rows until then.
///
/// # Errors
/// If a write fails, or nobody reads of it.
pub(crate) async fn be_killed(place: &impl Place, plan: &Plan, kind: Kind) -> Result<()> {
    let subject = Arc::new(Subject::build(kind, place, Commit::Statement, NAMESPACE).await?);
    let next = Arc::new(AtomicI64::new(1));
    let until = clock::now() + LONGEST;
    let mut tasks = JoinSet::new();
    for _ in 0..plan.tasks {
        let (subject, next, bytes) = (subject.clone(), next.clone(), plan.value_bytes[0]);
        tasks.spawn(async move {
            while clock::now() < until {
                let id = next.fetch_add(1, Ordering::Relaxed);
                subject.write(Row::new(id, 500_000, bytes), Commit::Statement).await?;
                writeln!(std::io::stdout(), "{id}.").context("nobody reads")?;
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
