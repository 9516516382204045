//! The journal's scripts against the pure machine: the same random operations on the same random states, on a real server, with
//! equal answers and equal contents of all keys after every step.
//!
//! The scripts read the server's clock themselves. Every step is followed by a dump of the whole shard that tells the time, so
//! what a script took for now lies between two such readings: mostly in one and the same millisecond.

#[path = "../redis_support/mod.rs"]
mod redis_support;

mod adapter;
mod answers;
mod bytes;
#[path = "../../src/redis/compose.rs"]
mod compose;
mod counters;
mod draw;
mod dump;
mod faults;
mod levels;
mod machine;
mod members;
mod op;
mod place;
mod shard;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, Value};
use tokio::task::JoinSet;
use writeway_core::cache::{Bytes, Id};
use writeway_core::entry::shard::ShardState;

use crate::draw::{Draw, Step};
use crate::dump::Dump;
use crate::place::{NAMES, Place};

/// Of operations per script.
const FLOOR: usize = 100_000;
/// While one waits for the server, another compares.
const WORKERS: u64 = 4;

/// What the machine cannot be asked for.
#[derive(Clone, Default)]
struct Model {
    shard: ShardState,
    leader: Option<Id>,
}

/// How often each script gave each answer.
type Seen = BTreeMap<String, usize>;

struct Run {
    place: Place,
    connection: MultiplexedConnection,
    model: Model,
    /// The server's clock, in milliseconds, after the last step.
    now: u64,
    seen: Seen,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_match_the_machine() {
    let Some(seen) = run("scripts", 4, 0..6_200, 400).await else { return };
    for script in NAMES {
        let times: usize = seen.iter().filter(|(name, _)| name.split(' ').next() == Some(script)).map(|(_, n)| n).sum();
        assert!(times >= FLOOR, "{script} ran only {times} times");
    }
    for answer in answers::ANSWERS.split(", ") {
        let times = seen.get(answer).copied().unwrap_or_default();
        assert!(times >= 300, "{answer} was seen only {times} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_match_the_machine_over_many_pages() {
    let Some(seen) = run("pages", 1_400, 0..8, 100).await else { return };
    for answer in
        ["claim OPEN", "claim NONE", "accept AS", "park 1", "release 0", "release 1", "acknowledge 1", "dirty 1", "split SPLIT"]
    {
        assert!(seen.contains_key(answer), "{answer} was never seen");
    }
}

/// One sequence of random steps for each of these seeds, on a shard of so many keys.
async fn run(name: &str, keys: usize, seeds: std::ops::Range<u64>, steps: usize) -> Option<Seen> {
    let (url, prefix) = redis_support::shared(&format!("journal.{name}"))?;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (url, prefix, seeds) = (url.clone(), format!("{prefix}.{worker}"), seeds.clone());
        workers.spawn(async move {
            let mut run = Run::start(&url, &prefix, keys).await;
            for seed in seeds.filter(|seed| seed % WORKERS == worker) {
                run.sequence(seed, steps).await;
            }
            run.seen
        });
    }
    let mut seen = Seen::new();
    while let Some(worker) = workers.join_next().await {
        for (answer, times) in worker.unwrap_or_else(|e| resume_unwind(e.into_panic())) {
            *seen.entry(answer).or_default() += times;
        }
    }
    println!("{seen:#?}");
    Some(seen)
}

impl Run {
    async fn start(url: &str, prefix: &str, keys: usize) -> Run {
        let client = redis::Client::open(url).expect("a URL");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(120)));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("a server");
        let mut pipeline = Pipeline::new();
        for source in place::SOURCES.iter() {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(source);
        }
        send(&mut connection, &pipeline).await;
        Run { place: Place::new(prefix, keys), connection, model: Model::default(), now: 0, seen: Seen::new() }
    }

    /// On an empty shard.
    async fn sequence(&mut self, seed: u64, steps: usize) {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(self.place.delete_all());
        dump::ask(&mut pipeline, &self.place);
        let mut answers = send(&mut self.connection, &pipeline).await.into_iter().skip(1);
        self.now = Dump::read(&mut answers, &self.place).now;
        self.model = Model::default();

        let start = self.now;
        let mut draw = Draw::new(seed, start, &self.place);
        let steps: Vec<Step> = (0..steps).map(|_| draw.step()).collect();
        let mut pipeline = Pipeline::new();
        for Step { seeded, op, who } in &steps {
            if let Some(seeded) = seeded {
                pipeline.add_command(seeded.cmd(&self.place));
            }
            pipeline.add_command(op.cmd(who, &self.place, start));
            dump::ask(&mut pipeline, &self.place);
        }
        pipeline.add_command(self.place.delete_all());
        let mut answers = send(&mut self.connection, &pipeline).await.into_iter();
        for (n, step) in steps.iter().enumerate() {
            self.step(step, start, &mut answers).unwrap_or_else(|why| {
                panic!("invariant violated: script matches machine\n  sequence {seed} step {n}: {step:#?}\n  {why}")
            });
        }
    }

    /// The machine takes this step, too.
    fn step(
        &mut self,
        Step { seeded, op, who }: &Step,
        start: u64,
        answers: &mut impl Iterator<Item = Value>,
    ) -> Result<(), String> {
        if let Some(seeded) = seeded {
            let answer = answers.next().expect("one answer per command");
            assert!(!matches!(answer, Value::ServerError(_)), "{answer:?}");
            seeded.apply(&mut self.model.shard);
        }
        let answer = answers::words(op, answers.next().expect("one answer per command"));
        let dump = Dump::read(answers, &self.place);
        let mut refused = Vec::new();
        let after = (self.now..=dump.now).find_map(|now| {
            let mut model = self.model.clone();
            let expected = op.run(&mut model, who, start, now);
            let same = if expected == answer { dump.compare(&model) } else { Err(shown(&expected)) };
            same.map_err(|why| refused.push(format!("machine at {now}: {why}"))).is_ok().then_some(model)
        });
        let Some(after) = after else {
            let before = &self.model.shard;
            return Err(format!("script {}\n  {}\n  before {before:#?}", shown(&answer), refused.join("\n  ")));
        };
        self.model = after;
        self.now = dump.now;
        *self.seen.entry(answers::name(op, &answer)).or_default() += 1;
        Ok(())
    }
}

async fn send(connection: &mut MultiplexedConnection, pipeline: &Pipeline) -> Vec<Value> {
    let count = pipeline.len();
    connection.send_packed_commands(pipeline, 0, count).await.expect("answers")
}

fn shown(words: &[Bytes]) -> String {
    words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}
