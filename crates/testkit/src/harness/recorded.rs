//! Readers and writers whose histories are recorded, key after key, for as long as somebody makes faults meanwhile.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use writeway_core::error::{Outcome, Result};
use writeway_core::runtime::{Runtime, Tokio};

use super::linear::{Answered, Asked, Histories, Shown};

/// So many keys are in use at once, each by all tasks of its own.
const HOT: usize = 6;
const WRITERS: usize = 2;
const READERS: usize = 2;
/// More than a run comes to.
const KEYS: usize = 20_000;

/// A table, as rows of which only one number matters.
pub trait Registers: Send + Sync + 'static {
    /// Puts the row, or deletes it.
    fn write(&self, player: i32, value: Option<i64>) -> impl Future<Output = Result<()>> + Send;
    /// What the row holds.
    fn read(&self, player: i32) -> impl Future<Output = Result<Option<i64>>> + Send;
}

struct Recording<R> {
    subject: R,
    histories: Histories,
    stop: AtomicBool,
    next_key: AtomicUsize,
    next_value: AtomicI64,
}

/// Records until `faults` ends, and judges. Gives how many keys were used, too.
///
/// # Panics
/// If one of its tasks does.
#[expect(clippy::disallowed_methods, reason = "the load of a test")]
pub async fn record<R: Registers>(subject: R, faults: impl Future<Output = ()>) -> (usize, Shown) {
    let recording = Arc::new(Recording {
        subject,
        histories: Histories::new(KEYS),
        stop: AtomicBool::new(false),
        next_key: AtomicUsize::new(0),
        next_value: AtomicI64::new(1),
    });
    let hot = (0..HOT).map(|_| {
        let recording = recording.clone();
        tokio::spawn(async move { recording.go_on().await })
    });
    let hot: Vec<_> = hot.collect();
    pin!(faults).await;
    recording.stop.store(true, SeqCst);
    for task in hot {
        task.await.expect("no task panics");
    }
    let shown = recording.histories.judge();
    (recording.next_key.load(SeqCst), shown)
}

impl<R: Registers> Recording<R> {
    /// One key after the other.
    #[expect(clippy::disallowed_methods, reason = "the load of a test")]
    async fn go_on(self: Arc<Self>) {
        while !self.stop.load(SeqCst) {
            let key = self.next_key.fetch_add(1, SeqCst);
            assert!(key < KEYS, "more keys than foreseen");
            let task = |writes: bool| {
                let this = self.clone();
                tokio::spawn(async move { if writes { this.write(key).await } else { this.read(key).await } })
            };
            let tasks: Vec<_> = (0..WRITERS + READERS).map(|n| task(n < WRITERS)).collect();
            for task in tasks {
                task.await.expect("no task panics");
            }
        }
    }

    fn goes_on(&self, key: usize) -> bool {
        !self.stop.load(SeqCst) && self.histories.is_open(key)
    }

    async fn write(&self, key: usize) {
        while self.goes_on(key) {
            let delete = Tokio.random().is_multiple_of(5);
            let value = if delete { None } else { Some(self.next_value.fetch_add(1, SeqCst)) };
            let call = self.histories.asked(key, Asked::Write(value));
            let answer = match self.subject.write(player(key), value).await {
                Ok(()) => Answered::Written,
                Err(e) if e.outcome() == Outcome::NotApplied => Answered::Refused,
                Err(_) => Answered::InDoubt,
            };
            self.histories.answered(call, answer);
            pause(20).await;
        }
    }

    async fn read(&self, key: usize) {
        while self.goes_on(key) {
            let call = self.histories.asked(key, Asked::Read);
            let answer = self.subject.read(player(key)).await.map_or(Answered::Refused, Answered::Found);
            self.histories.answered(call, answer);
            pause(10).await;
        }
    }
}

/// Paces a load; nothing is waited for.
async fn pause(max_millis: u128) {
    let millis = Tokio.random() % (max_millis + 1);
    Tokio.sleep(Duration::from_millis(u64::try_from(millis).unwrap_or(0))).await;
}

fn player(key: usize) -> i32 {
    i32::try_from(key).unwrap_or(i32::MAX)
}

/// Wrong on purpose: one read in thirty is answered with what its key held at an earlier one.
#[derive(Debug)]
pub struct Remembering<R> {
    subject: R,
    seen: Mutex<HashMap<i32, Option<i64>>>,
}

impl<R> Remembering<R> {
    /// Over one that is right.
    pub fn new(subject: R) -> Self {
        Remembering { subject, seen: Mutex::default() }
    }
}

impl<R: Registers> Registers for Remembering<R> {
    async fn write(&self, player: i32, value: Option<i64>) -> Result<()> {
        self.subject.write(player, value).await
    }

    async fn read(&self, player: i32) -> Result<Option<i64>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&player).copied();
        if let Some(value) = seen.filter(|_| Tokio.random().is_multiple_of(30)) {
            return Ok(value);
        }
        let value = self.subject.read(player).await?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(player, value);
        Ok(value)
    }
}

impl Shown {
    /// Fails where nothing explains a history, or where too little was recorded.
    ///
    /// # Panics
    /// Then.
    pub fn is_linear(&self, least: usize) {
        let Shown { calls, reads, refused, doubts, concurrent, .. } = self;
        println!(
            "{calls} calls, {reads} of them reads, {concurrent} at the same time as others; {refused} refused, {doubts} in doubt"
        );
        assert_eq!(self.wrong, [0; 0], "invariant violated: histories are linearizable");
        let enough = self.reads >= least && self.calls >= 2 * least && self.concurrent >= least / 2 && self.doubts > 0;
        assert!(enough, "the harness did too little: {self:?}");
    }
}
