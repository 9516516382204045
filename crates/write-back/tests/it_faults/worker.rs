//! A process that does what the parent says, line by line, and both its ends.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use writeway_back::runtime::{Runtime, Tokio};
use writeway_back::store::FencedStore;
use writeway_back::{Change, Receipt, Sql, WriteBack};
use writeway_core::tasks::until;
use writeway_testkit::harness::{Given, Halting, Job, Moment, Schema, Score, Scores, Worker, say, score};

use crate::is_long;
use crate::rig::{builder, cache};

/// How long a worker that is told to end by SIGTERM drains.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// What a worker is like.
#[derive(Clone, Copy)]
pub(crate) struct Like {
    /// `max_delay`
    pub(crate) delay: Duration,
    /// `flush_timeout`
    pub(crate) flush: Duration,
    /// `max_batch`
    pub(crate) batch: usize,
}

/// A worker, and the parent's ear.
pub(crate) struct Mate {
    pub(crate) worker: Worker,
    lines: mpsc::UnboundedReceiver<String>,
    /// Said before anybody waited for it.
    unheard: Vec<String>,
}

impl Mate {
    /// When this returns, its handle is built.
    pub(crate) async fn start(test: &str, given: &Given, schema: &Schema, like: Like) -> Mate {
        let (said, lines) = mpsc::unbounded_channel();
        let Like { delay, flush, batch } = like;
        let job = format!("{} {} {} {batch}", schema.name(), delay.as_millis(), flush.as_millis());
        let hear = move |line: &str| drop(said.send(line.to_owned()));
        let mut mate = Mate { worker: Worker::start(test, &job, &given.env(), hear), lines, unheard: Vec::new() };
        mate.hears("ready").await;
        mate
    }

    /// Says a line, and waits for the answer that begins with the same word.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.worker.tell(line);
        self.hears(line.split(' ').next().unwrap_or(line)).await
    }

    /// Waits for a line that begins with the word, and gives its rest. Lines that are not waited for are kept.
    pub(crate) async fn hears(&mut self, word: &str) -> String {
        if let Some(at) = self.unheard.iter().position(|line| line.starts_with(word)) {
            return self.unheard.remove(at)[word.len()..].trim().to_owned();
        }
        let heard = async {
            loop {
                let line = self.lines.recv().await.unwrap_or_else(|| panic!("the worker ended before it said: {word}"));
                if let Some(rest) = line.strip_prefix(word) {
                    return rest.trim().to_owned();
                }
                self.unheard.push(line);
            }
        };
        let patience = if is_long() { LONG_PATIENCE } else { PATIENCE };
        until(&Tokio, Tokio.now() + patience, heard).await.unwrap_or_else(|| panic!("gave up on the worker's: {word}"))
    }

    pub(crate) async fn numbers(&mut self, word: &str) -> Vec<u64> {
        self.hears(word).await.split(' ').map(|n| n.parse().expect("a number")).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.worker.signal(signal);
    }
}

struct Work<S: FencedStore> {
    handle: WriteBack<S>,
    /// At which moment a flush stands still.
    hold: watch::Sender<Option<Moment>>,
    last: watch::Receiver<Option<Receipt>>,
    lasts: watch::Sender<Option<Receipt>>,
}

pub(crate) async fn work(mut job: Job) {
    let given = Given::from_env().expect("the parent names the servers");
    let schema = Schema::of(&given.database, job.word(0));
    let number = |n: usize| job.word(n).parse().expect("a number");
    let (delay, flush) = (Duration::from_millis(number(1)), Duration::from_millis(number(2)));
    let batch = usize::try_from(number(3)).expect("small");
    let hold = watch::Sender::new(None);
    let held = hold.clone();
    let halt = move |moment: Moment| {
        let mut held = held.subscribe();
        Box::pin(async move {
            if moment != Moment::Claimed {
                say(&format!("ended {moment:?}"));
            }
            if *held.borrow() == Some(moment) {
                say("halted");
                let _gone = held.wait_for(|held| *held != Some(moment)).await;
            }
        }) as writeway_core::cache::BoxFuture<'static, ()>
    };
    let table = Halting::new(Sql::<Scores>::new(schema.pool(3, flush * 7 / 10).await), halt);
    let built = builder(table).max_delay(delay).flush_timeout(flush).max_batch(batch).max_dirty(100_000);
    let handle = built.build(cache(&given).await).await.expect("build");
    let (lasts, last) = watch::channel(None);
    let work = Work { handle, hold, last, lasts };
    let mut term = signal(SignalKind::terminate()).expect("a signal");
    say("ready");
    loop {
        tokio::select! {
            line = job.told() => work.told(&line).await,
            _ = term.recv() => break,
        }
    }
    let drained = work.handle.shutdown(DRAIN).await.expect("redis says what is left");
    say(&format!("drained {} {}", drained.flushed, drained.left));
}

impl<S: FencedStore<Key = (i64, i32), Row = Score>> Work<S> {
    async fn told(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["put", from, to, points] => {
                let (from, to, points) = (number(from), number(to), i64::from(number(points)));
                for first in (from..to).step_by(1_000) {
                    let players = first..to.min(first + 1_000);
                    let changes = players.map(|player| Change::Put(score(player, points))).collect();
                    drop(self.handle.write(changes).await.expect("accepted"));
                }
                say("put");
            }
            ["hammer", player] => self.hammer(number(player)),
            ["receipt"] => {
                let last = self.last.clone().wait_for(Option::is_some).await.expect("the sender lives").clone();
                say(&format!("receipt {}", serde_json::to_string(&last).expect("it is JSON")));
            }
            ["hold", moment] => {
                let moment = if moment == "claimed" { Moment::Claimed } else { Moment::Committed };
                self.hold.send_replace(Some(moment));
                say("hold");
            }
            ["go"] => drop(self.hold.send_replace(None)),
            ["flush"] => {
                while self.handle.flush().await.is_err() {}
                say("flush");
            }
            ["stats"] => {
                let stats = self.handle.stats().await.expect("redis answers");
                say(&format!("stats {} {} {}", stats.flushed, stats.batches, stats.fenced));
            }
            _ => panic!("not a command: {line}"),
        }
    }

    /// Puts one row every millisecond, from now on.
    fn hammer(&self, player: i32) {
        let (handle, lasts) = (self.handle.clone(), self.lasts.clone());
        let task = async move {
            for n in 1.. {
                if let Ok(ticket) = handle.put(score(player, n)).await {
                    lasts.send_replace(Some(ticket.receipt()));
                }
                Tokio.sleep(Duration::from_millis(1)).await;
            }
        };
        Tokio.spawn("hammer", Box::pin(task));
    }
}

fn number(word: &str) -> i32 {
    word.parse().expect("a number")
}
