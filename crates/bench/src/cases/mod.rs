//! Which calls the ratios compare, and what each should reach.

pub(crate) mod embedded;
pub(crate) mod servers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use writeway_core::sql::Sql;
use writeway_through::WriteThrough;

use crate::clock;
use crate::ratios::{Call, Goal, How};
use crate::table::{Entries, Row};

pub(crate) use crate::ratios::Case;

/// Rows that are hits on both sides.
const HOT: u64 = 1_000;
/// Longer than any case: what is measured does not flush by itself.
const LATER: Duration = Duration::from_secs(3_600);
/// Values are small: what the library adds shows most.
const VALUE_BYTES: usize = 100;

/// One side: the n-th call's key among so many.
#[derive(Clone)]
struct On<T> {
    it: T,
    keys: u64,
}

impl<T> On<T> {
    /// A row of the whole table.
    fn any(&self, n: u64) -> i64 {
        key(n, self.keys)
    }

    /// A row that is not hot.
    fn cold(&self, n: u64) -> i64 {
        key(n, self.keys - HOT) + i64::try_from(HOT).unwrap_or_default()
    }
}

fn key(n: u64, among: u64) -> i64 {
    // Prime: neighbours in time are not neighbours in the table.
    i64::try_from(n.wrapping_mul(7_919) % among).unwrap_or_default() + 1
}

fn row(id: i64) -> Row {
    Row::new(id, 500_000, VALUE_BYTES)
}

fn call<T, F>(on: &On<T>, run: fn(On<T>, u64) -> F) -> Call
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Result<Duration>> + Send + 'static,
{
    let on = on.clone();
    Arc::new(move |n| Box::pin(run(on.clone(), n)))
}

/// How long it took, if it gave a row.
async fn timed<T, E: Into<anyhow::Error>>(work: impl Future<Output = Result<Option<T>, E>>) -> Result<Duration> {
    let (found, took) = clock::timed(work).await;
    found.map_err(Into::into)?.context("no row")?;
    Ok(took)
}

async fn some<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<Option<T>, E> {
    work.await.map(Some)
}

fn put_strict<T: Entries>(through: &On<WriteThrough<Sql<T>>>) -> Call {
    call(through, |ours, n| async move { timed(some(ours.it.put(row(ours.any(n))))).await })
}

/// Strict puts against the same work done raw, alone and with all tasks.
fn strict(against: &'static str, raw: &Call, ours: &Call) -> [Case; 2] {
    [
        Case {
            what: "write-through put, strict, sequential, p50",
            against,
            how: How::Sequential,
            goal: Goal::AtMost(1.2),
            raw: raw.clone(),
            ours: ours.clone(),
        },
        Case {
            what: "write-through put, strict, 64 tasks, throughput",
            against: "the same work, 64 tasks",
            how: How::Tasks,
            goal: Goal::AtLeast(0.85),
            raw: raw.clone(),
            ours: ours.clone(),
        },
    ]
}

/// Accepting against committing, both ours.
fn back_by_through(back: Call, through: Call) -> Case {
    Case {
        what: "write-back put, 64 tasks, throughput",
        against: "write-through put, strict",
        how: How::Tasks,
        goal: Goal::AtLeast(4.0),
        raw: through,
        ours: back,
    }
}
