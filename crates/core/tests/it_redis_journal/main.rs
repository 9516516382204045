//! The journal's scripts against the pure machine: the same random operations on the same random states, on a real server, with
//! equal answers and equal contents of all keys after every step.
//!
//! The scripts read the server's clock themselves. Every step is followed by a dump of the whole shard that tells the time, so
//! what a script took for now lies between two such readings: mostly in one and the same millisecond.

#[path = "../redis_support/mod.rs"]
mod redis_support;

mod adapter;
mod draw;
mod dump;
mod faults;
mod op;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, Value};
use writeway_core::cache::{Bytes, Id};
use writeway_core::entry::shard::ShardState;

use crate::draw::{Draw, Step};
use crate::dump::Dump;
use crate::op::{NAMES, Place};

/// Of operations per script.
const FLOOR: usize = 100_000;

/// What the machine cannot be asked for.
#[derive(Clone, Default)]
struct Model {
    shard: ShardState,
    leader: Option<Id>,
}

struct Run {
    place: Place,
    connection: MultiplexedConnection,
    model: Model,
    /// The server's clock, in milliseconds, after the last step.
    now: u64,
    seen: BTreeMap<String, usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_match_the_machine() {
    let Some(mut run) = Run::start("scripts", 4).await else { return };
    for seed in 0..5_400 {
        run.sequence(seed, 400).await;
    }
    let seen = run.end().await;
    println!("{seen:#?}");
    for script in NAMES {
        let times: usize = seen.iter().filter(|(name, _)| name.split(' ').next() == Some(script)).map(|(_, n)| n).sum();
        assert!(times >= FLOOR, "{script} ran only {times} times");
    }
    for answer in op::ANSWERS.split(", ") {
        let times = seen.get(answer).copied().unwrap_or_default();
        assert!(times >= 300, "{answer} was seen only {times} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_match_the_machine_over_many_pages() {
    let Some(mut run) = Run::start("pages", 1_400).await else { return };
    for seed in 0..12 {
        run.sequence(1_000_000 + seed, 100).await;
    }
    let seen = run.end().await;
    println!("{seen:#?}");
    for answer in ["claim OPEN", "claim NONE", "release 1", "acknowledge 1", "dirty 1"] {
        assert!(seen.contains_key(answer), "{answer} was never seen");
    }
}

impl Run {
    async fn start(name: &str, keys: usize) -> Option<Run> {
        let (url, prefix) = redis_support::shared(&format!("journal.{name}"))?;
        let client = redis::Client::open(url).expect("a URL");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("a server");
        let place = Place::new(&prefix, keys);
        let mut pipeline = Pipeline::new();
        for source in op::SOURCES.iter().chain([&dump::SOURCE]) {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(*source);
        }
        pipeline.add_command(place.delete_all());
        pipeline.add_command(dump::cmd(&place));
        let answers = send(&mut connection, &pipeline).await;
        let now = Dump::read(answers.into_iter().last().expect("the last"), &place).now;
        Some(Run { place, connection, model: Model::default(), now, seen: BTreeMap::new() })
    }

    async fn end(mut self) -> BTreeMap<String, usize> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(self.place.delete_all());
        send(&mut self.connection, &pipeline).await;
        self.seen
    }

    async fn sequence(&mut self, seed: u64, steps: usize) {
        let start = self.now;
        // Drawn on a model that runs ahead, by a clock that stands still: its guesses need only be good on the whole.
        let mut draw = Draw { rng: Rng::with_seed(seed), ahead: self.model.clone(), start, place: &self.place };
        let steps: Vec<Step> = (0..steps).map(|_| draw.step()).collect();
        let mut pipeline = Pipeline::new();
        for Step { seeded, op, who } in &steps {
            if let Some(seeded) = seeded {
                pipeline.add_command(seeded.cmd(&self.place));
            }
            pipeline.add_command(op.cmd(who, &self.place, start));
            pipeline.add_command(dump::cmd(&self.place));
        }
        let mut answers = send(&mut self.connection, &pipeline).await.into_iter();
        for (n, Step { seeded, op, who }) in steps.iter().enumerate() {
            let context = || format!("sequence {seed} step {n}: {op:?} as {who:?}, seeded {seeded:?}");
            if let Some(seeded) = seeded {
                let answer = answers.next().expect("one answer per command");
                assert!(!matches!(answer, Value::ServerError(_)), "{answer:?}");
                seeded.apply(&mut self.model.shard);
            }
            let answer = op::words(op, answers.next().expect("one answer per command"));
            let dump = Dump::read(answers.next().expect("one answer per command"), &self.place);
            let mut refused = Vec::new();
            let after = (self.now..=dump.now).find_map(|now| {
                let mut model = self.model.clone();
                let expected = op.run(&mut model, who, start, now);
                match dump.compare(&model).and_then(|()| if expected == answer { Ok(()) } else { Err(shown(&expected)) }) {
                    Ok(()) => Some(model),
                    Err(why) => {
                        refused.push(why);
                        None
                    }
                }
            });
            let Some(after) = after else {
                panic!(
                    "invariant violated: script matches machine\n  {}\n  script  {}\n  machine {refused:#?}\n  before {:#?}",
                    context(),
                    shown(&answer),
                    self.model.shard
                );
            };
            self.model = after;
            self.now = dump.now;
            *self.seen.entry(op::name(op, &answer)).or_default() += 1;
        }
    }
}

async fn send(connection: &mut MultiplexedConnection, pipeline: &Pipeline) -> Vec<Value> {
    let count = pipeline.len();
    connection.send_packed_commands(pipeline, 0, count).await.expect("answers")
}

fn shown(words: &[Bytes]) -> String {
    words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}
