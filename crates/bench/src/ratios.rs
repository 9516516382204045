//! The ratios: Writeway against the same work done raw, in slices that alternate, so that the machine's moods meet both sides.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinSet;
use writeway_core::cache::BoxFuture;

use crate::clock;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::summary::{Latencies, Spread, rate};

/// One call, the n-th; how long the part of it took that counts.
pub(crate) type Call = Arc<dyn Fn(u64) -> BoxFuture<'static, Result<Duration>> + Send + Sync>;

/// What is compared.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) against: &'static str,
    pub(crate) how: How,
    pub(crate) goal: Goal,
    pub(crate) raw: Call,
    pub(crate) ours: Call,
}

/// How it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// One call after the other; the median latency in microseconds.
    Sequential,
    /// All tasks at once; calls per second.
    Tasks,
}

/// What the ratio, ours by raw, should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// A case, measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) what: &'static str,
    pub(crate) against: &'static str,
    pub(crate) how: How,
    pub(crate) goal: Goal,
    /// Of the rounds, each by its own two sides.
    pub(crate) ratio: Spread,
    pub(crate) reached: bool,
    pub(crate) raw: Spread,
    pub(crate) ours: Spread,
    /// Of this process per call, in microseconds, what is not measured otherwise included: it says where a ratio comes from
    /// even on a busy machine.
    pub(crate) raw_on_core: Option<Spread>,
    pub(crate) ours_on_core: Option<Spread>,
}

impl Goal {
    fn reached(self, ratio: f64) -> bool {
        match self {
            Goal::AtMost(most) => ratio <= most,
            Goal::AtLeast(least) => ratio >= least,
        }
    }
}

/// # Errors
/// If a call fails.
pub(crate) async fn measure(cases: Vec<Case>, plan: &Plan, progress: &mut Progress) -> Result<Vec<Ratio>> {
    let mut ratios = Vec::new();
    for case in cases {
        progress.step("ratios", case.what);
        let what = case.what;
        ratios.push(case.measure(plan).await.context(what)?);
    }
    Ok(ratios)
}

impl Case {
    async fn measure(self, plan: &Plan) -> Result<Ratio> {
        let (mut raw, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut on_core = [Vec::new(), Vec::new()];
        // The first round warms both sides up.
        for round in 0..=plan.ratio_rounds {
            let mut sides = [Side::new(&self.raw), Side::new(&self.ours)];
            for slice in 0..plan.ratio_slices {
                for turn in 0..2 {
                    sides[(round + slice + turn) % 2].slice(self.how, plan).await?;
                }
            }
            if round > 0 {
                for (figures, side) in on_core.iter_mut().zip(&sides) {
                    figures.extend(side.on_core_per_call());
                }
                let [of_raw, of_ours] = sides.map(|side| side.figure(self.how));
                let (of_raw, of_ours) = (of_raw.context("no raw calls")?, of_ours.context("no calls of ours")?);
                // A goal of at least so much is one of throughput, also where time was measured.
                let inverted = matches!((self.how, self.goal), (How::Sequential, Goal::AtLeast(_)));
                ratios.push(if inverted { of_raw / of_ours } else { of_ours / of_raw });
                raw.push(of_raw);
                ours.push(of_ours);
            }
        }
        let spread = |figures: &[f64]| Spread::of(figures).context("no rounds");
        let ratio = spread(&ratios)?;
        let Case { what, against, how, goal, .. } = self;
        let reached = goal.reached(ratio.median);
        let [raw_on_core, ours_on_core] = on_core.map(|figures| Spread::of(&figures));
        Ok(Ratio {
            what,
            against,
            how,
            goal,
            ratio,
            reached,
            raw: spread(&raw)?,
            ours: spread(&ours)?,
            raw_on_core,
            ours_on_core,
        })
    }
}

/// One side in one round.
struct Side {
    call: Call,
    next: u64,
    latencies: Latencies,
    done: u64,
    took: Duration,
    on_core: Option<Duration>,
}

impl Side {
    fn new(call: &Call) -> Self {
        let (latencies, zero) = (Latencies::new(), Duration::ZERO);
        Side { call: call.clone(), next: 0, latencies, done: 0, took: zero, on_core: Some(zero) }
    }

    async fn slice(&mut self, how: How, plan: &Plan) -> Result<()> {
        let on_core = clock::on_core();
        let started = clock::now();
        let until = started + plan.ratio_slice;
        match how {
            How::Sequential => {
                while clock::now() < until {
                    self.latencies.record((self.call)(self.next).await?);
                    self.next += 1;
                    self.done += 1;
                }
            }
            How::Tasks => {
                let mut tasks = JoinSet::new();
                for number in 0..plan.tasks {
                    let (call, first) = (self.call.clone(), self.next + number * 1_000_003);
                    tasks.spawn(async move {
                        let mut n = first;
                        while clock::now() < until {
                            call(n).await?;
                            n += 1;
                            // As in the comparison's loop.
                            tokio::task::yield_now().await;
                        }
                        anyhow::Ok(n - first)
                    });
                }
                while let Some(done) = tasks.join_next().await {
                    let done = done??;
                    self.done += done;
                    self.next += done;
                }
            }
        }
        self.took += clock::now() - started;
        let more = clock::on_core().zip(on_core).map(|(after, before)| after.saturating_sub(before));
        self.on_core = self.on_core.zip(more).map(|(sum, more)| sum + more);
        Ok(())
    }

    fn on_core_per_call(&self) -> Option<f64> {
        // Seconds per call are the inverse of a rate.
        (self.done > 0).then_some(())?;
        Some(1_000_000.0 / rate(self.done, self.on_core?))
    }

    /// The round's median latency or rate; none without calls.
    fn figure(self, how: How) -> Option<f64> {
        match how {
            How::Sequential => self.latencies.p50(),
            How::Tasks => (self.done > 0).then(|| rate(self.done, self.took)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(micros: u64) -> Call {
        Arc::new(move |_| Box::pin(async move { Ok(Duration::from_micros(micros)) }))
    }

    async fn ratio(raw: u64, ours: u64, goal: Goal) -> Ratio {
        let case = Case { what: "", against: "", how: How::Sequential, goal, raw: taking(raw), ours: taking(ours) };
        let ms = Duration::from_millis;
        let plan = Plan { ratio_rounds: 3, ratio_slices: 2, ratio_slice: ms(1), ..Plan::quick() };
        case.measure(&plan).await.expect("nothing fails")
    }

    #[tokio::test]
    async fn a_ratio_is_ours_by_raw_and_of_throughput_where_more_is_better() {
        let slower = ratio(100, 150, Goal::AtMost(1.25)).await;
        assert!((slower.ratio.median - 1.5).abs() < 0.01 && !slower.reached, "{slower:?}");
        assert_eq!(slower.ratio.rounds, 3);
        let throughput = ratio(100, 125, Goal::AtLeast(0.75)).await;
        assert!((throughput.ratio.median - 0.8).abs() < 0.01 && throughput.reached, "{throughput:?}");
    }
}
