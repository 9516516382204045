//! The closed loop: so many tasks, each making one call after the other, every call checked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use writeway_core::change::CacheEffect;

use crate::clock;
use crate::place::Place;
use crate::staleness::Known;
use crate::subject::Subject;
use crate::summary::Latencies;
use crate::workload::{Call, Workload};

/// Everything that the tasks of one loop share.
pub(crate) struct Load<P: Place> {
    pub(crate) subject: Arc<Subject<P>>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) known: Arc<Known>,
    pub(crate) tasks: u64,
}

/// What one loop found.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) reads: Latencies,
    pub(crate) writes: Latencies,
    /// One per stale read.
    pub(crate) ages: Vec<Duration>,
    pub(crate) effects: Effects,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) took: Duration,
}

/// What became of the cached copies, by the writes' own account.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effects {
    pub(crate) published: u64,
    pub(crate) invalidated: u64,
    pub(crate) lapses: u64,
}

/// Which calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    Whole,
    WritesOnly,
}

impl<P: Place> Clone for Load<P> {
    fn clone(&self) -> Self {
        let Load { subject, workload, known, tasks } = self;
        Load { subject: subject.clone(), workload: workload.clone(), known: known.clone(), tasks: *tasks }
    }
}

impl<P: Place> Load<P> {
    /// Runs for `span`, and until the calls under way then have ended.
    ///
    /// # Errors
    /// If a task died. Calls that fail are counted.
    pub(crate) async fn run(&self, mix: Mix, span: Duration) -> Result<Tally> {
        let started = clock::now();
        let mut tasks = JoinSet::new();
        for number in 0..self.tasks {
            let load = self.clone();
            tasks.spawn(async move { load.task(number, mix, started + span).await });
        }
        let mut all = Tally::new();
        while let Some(tally) = tasks.join_next().await {
            all.add(tally?);
        }
        all.took = clock::now() - started;
        Ok(all)
    }

    async fn task(&self, number: u64, mix: Mix, until: Duration) -> Tally {
        let mut random = SmallRng::seed_from_u64(number);
        let mut tally = Tally::new();
        while clock::now() < until {
            let call = match mix {
                Mix::Whole => self.workload.call(&mut random),
                Mix::WritesOnly => Call::Write(self.workload.write(&mut random)),
            };
            let done = match call {
                Call::Read(id) => self.read(id, &mut tally).await,
                Call::Write(row) => self.write(row, &mut tally).await,
            };
            if let Err(e) = done {
                tally.failed += 1;
                tally.first_failure.get_or_insert_with(|| format!("{e:#}"));
            }
            // A new request would queue behind those that wait. bb8 lends to whoever asks first, so a task that came back at once
            // would keep its connection for the whole run.
            tokio::task::yield_now().await;
        }
        tally
    }

    async fn read(&self, id: i64, tally: &mut Tally) -> Result<()> {
        let started = clock::now();
        let row = self.subject.read(id).await?;
        let ended = clock::now();
        tally.reads.record(ended - started);
        if self.subject.reads_committed_rows() {
            tally.ages.extend(self.judge(id, row.map_or(0, |row| row.version), started, ended));
        }
        Ok(())
    }

    fn judge(&self, id: i64, version: i64, started: Duration, ended: Duration) -> Option<Duration> {
        let age = self.known.age(id, version, started);
        self.known.learn(id, version, ended);
        age
    }

    async fn write(&self, row: crate::table::Row, tally: &mut Tally) -> Result<()> {
        let id = row.id;
        let started = clock::now();
        let done = self.subject.write(row, self.workload.kind.commit()).await?;
        let ended = clock::now();
        tally.writes.record(ended - started);
        self.known.learn(id, done.version, ended);
        self.workload.written(id);
        tally.effects.note(done.effect);
        Ok(())
    }

    /// Reads each of `ids` once while nobody writes; how many of the answers are stale.
    ///
    /// # Errors
    /// If a read fails.
    pub(crate) async fn at_rest(&self, ids: Vec<i64>) -> Result<u64> {
        let mut tasks = JoinSet::new();
        for some in ids.chunks(ids.len().div_ceil(16).max(1)) {
            let (load, some) = (self.clone(), some.to_vec());
            tasks.spawn(async move {
                let mut stale = 0;
                for id in some {
                    if let Some(agrees) = load.subject.agrees_with_sql(id).await? {
                        stale += u64::from(!agrees);
                        continue;
                    }
                    let started = clock::now();
                    let row = load.subject.read(id).await?;
                    stale += u64::from(load.known.age(id, row.map_or(0, |row| row.version), started).is_some());
                }
                anyhow::Ok(stale)
            });
        }
        let mut stale = 0;
        while let Some(found) = tasks.join_next().await {
            stale += found??;
        }
        Ok(stale)
    }
}

impl Effects {
    fn note(&mut self, effect: Option<CacheEffect>) {
        match effect {
            Some(CacheEffect::Published) => self.published += 1,
            Some(CacheEffect::Invalidated) => self.invalidated += 1,
            Some(CacheEffect::Lapses { .. }) => self.lapses += 1,
            None => {}
        }
    }

    pub(crate) fn all(&self) -> u64 {
        self.published + self.invalidated + self.lapses
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Tally {
            reads: Latencies::new(),
            writes: Latencies::new(),
            ages: Vec::new(),
            effects: Effects::default(),
            failed: 0,
            first_failure: None,
            took: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.ages.extend(other.ages);
        self.effects.published += other.effects.published;
        self.effects.invalidated += other.effects.invalidated;
        self.effects.lapses += other.effects.lapses;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.took += other.took;
    }
}
