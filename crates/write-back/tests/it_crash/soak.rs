//! All faults at random for a while: three workers, two of which are killed again and again, processes that sleep, SQL's sessions
//! ended and SQL and Redis restarted, and a network that stalls, forgets and cuts. Then everything must fit, and the memory of the
//! worker that lived through it all must not have grown.
//!
//! `WRITEWAY_SOAK` says for how many minutes, `WRITEWAY_SEED` which faults in which order.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use nix::sys::signal::Signal;
use writeway_back::diesel_async::SimpleAsyncConnection as _;
use writeway_back::runtime::{Runtime, Tokio};
use writeway_testkit::harness::{Given, Job, Verdict};
use writeway_testkit::proxy::{Proxy, Rule};
use writeway_testkit::servers;

use crate::parent::{MOST_WORKERS, Parent, Plan, Seen};
use crate::worker;

/// The last one lives through it all.
const WORKERS: i32 = MOST_WORKERS;
const SURVIVOR: i32 = WORKERS - 1;
const SHORT: Duration = Duration::from_secs(30);
/// What a process may gain after a quarter of the time.
const GROWTH: u64 = 4 << 20;

/// What can happen, and how often among a hundred draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    Sleep,
    Sessions,
    Sql,
    Redis,
    Stall,
    Mute,
    Slow,
    Forget,
    Cut,
    CommitLost,
    ReplyCut,
}

const ODDS: [(Fault, u64); 12] = [
    (Fault::Kill, 22),
    (Fault::Sleep, 14),
    (Fault::Sessions, 14),
    (Fault::Sql, 4),
    (Fault::Redis, 6),
    (Fault::Stall, 7),
    (Fault::Mute, 6),
    (Fault::Slow, 5),
    (Fault::Forget, 5),
    (Fault::Cut, 7),
    (Fault::CommitLost, 6),
    (Fault::ReplyCut, 4),
];

/// Chance, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn fault(&mut self) -> Fault {
        let mut at = self.roll(ODDS.iter().map(|(_, odds)| odds).sum());
        for (fault, odds) in ODDS {
            if at < odds {
                return fault;
            }
            at -= odds;
        }
        Fault::Kill
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.roll(to - from))
    }
}

struct Soak {
    parent: Parent,
    postgres: servers::Postgres,
    redis_wire: Proxy,
    sql_wire: Proxy,
    dice: Dice,
    faults: BTreeMap<Fault, u32>,
    /// When, and how much memory the survivor had.
    memory: Vec<(Duration, u64)>,
}

impl Soak {
    async fn new(test: &'static str, seed: u64) -> Option<Soak> {
        let given = Given::from_env()?;
        let Some(postgres) = servers::Postgres::from_env().expect("postgres starts") else {
            println!("SKIPPED: needs WRITEWAY_PG_BIN");
            return None;
        };
        let given = given.with_database(postgres.url());
        let plan = Plan { form: "soak", test, kills: 0, restarts: 0 };
        let mut parent = Parent::over(plan, given).await?;
        let redis_wire = Proxy::start(format!("127.0.0.1:{}", parent.redis.port())).await.expect("a free port");
        let sql_wire = Proxy::start(format!("127.0.0.1:{}", postgres.port())).await.expect("a free port");
        parent.lead_workers(redis_wire.port(), sql_wire.port());
        (0..WORKERS).for_each(|number| parent.start(number));
        let (dice, faults, memory) = (Dice(seed), BTreeMap::new(), Vec::new());
        Some(Soak { parent, postgres, redis_wire, sql_wire, dice, faults, memory })
    }

    fn survivor(&self) -> usize {
        self.parent.workers.iter().position(|living| living.number == SURVIVOR).expect("it is never killed")
    }

    fn mortal(&mut self) -> usize {
        let survivor = self.survivor();
        let others: Vec<usize> = (0..self.parent.workers.len()).filter(|at| *at != survivor).collect();
        others[usize::try_from(self.dice.roll(others.len() as u64)).expect("small")]
    }

    fn wire(&mut self) -> &Proxy {
        if self.dice.roll(2) == 0 { &self.redis_wire } else { &self.sql_wire }
    }

    async fn suffer(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
        match fault {
            Fault::Kill => {
                let victim = self.mortal();
                self.parent.kill_one(victim).await;
            }
            Fault::Sleep => {
                let sleeper = usize::try_from(self.dice.roll(3)).expect("small");
                let long = self.dice.millis(100, 2_500);
                self.parent.workers[sleeper].worker.signal(Signal::SIGSTOP);
                Tokio.sleep(long).await;
                self.parent.workers[sleeper].worker.signal(Signal::SIGCONT);
            }
            Fault::Sessions => {
                let mut stranger = self.parent.schema.connect().await;
                stranger.batch_execute("SET application_name = 'stranger'").await.expect("set");
                self.parent.seen.sessions += self.parent.schema.end_sessions(&mut stranger).await;
            }
            Fault::Sql => tokio::task::block_in_place(|| {
                if self.dice.roll(2) == 0 {
                    self.postgres.kill().expect("killed");
                }
                self.postgres.restart().expect("restarted");
            }),
            Fault::Redis => self.parent.restart(),
            Fault::Stall => self.on_the_way(Rule::Stall).await,
            Fault::Mute => self.on_the_way(Rule::Mute).await,
            Fault::Slow => {
                let pause = self.dice.millis(5, 100);
                self.on_the_way(Rule::Delay(pause)).await;
            }
            Fault::Forget => self.wire().silence_all(),
            Fault::Cut => self.wire().kill_all(),
            Fault::CommitLost => self.sql_wire.once(Rule::cut_after("COMMIT")),
            Fault::ReplyCut => {
                let bytes = usize::try_from(self.dice.roll(60)).expect("small");
                self.wire().once(Rule::CutReply(bytes));
            }
        }
    }

    async fn on_the_way(&mut self, rule: Rule) {
        let long = self.dice.millis(100, 2_000);
        let wire = self.wire();
        wire.set(rule);
        Tokio.sleep(long).await;
        // Also where a lost commit had been ordered.
        self.redis_wire.set(Rule::Pass);
        self.sql_wire.set(Rule::Pass);
    }

    async fn run(mut self, lasts: Duration) -> (Seen, BTreeMap<Fault, u32>, Vec<(Duration, u64)>) {
        let started = Tokio.now();
        loop {
            let passed = Tokio.now() - started;
            if passed >= lasts {
                break;
            }
            let now = self.parent.workers[self.survivor()].worker.memory();
            self.memory.extend(now.map(|bytes| (passed, bytes)));
            let pause = self.dice.millis(50, 900);
            Tokio.sleep(pause).await;
            let fault = self.dice.fault();
            self.suffer(fault).await;
        }
        self.redis_wire.set(Rule::Pass);
        self.sql_wire.set(Rule::Pass);
        self.redis_wire.kill_all();
        self.sql_wire.kill_all();
        let Soak { parent, postgres: _postgres, faults, memory, redis_wire: _r, sql_wire: _s, .. } = self;
        (parent.end().await, faults, memory)
    }
}

/// The most memory in the second quarter of the time, and in the last.
fn grown(memory: &[(Duration, u64)]) -> Option<(u64, u64)> {
    let end = memory.last()?.0;
    let most = |from: u32, to: u32| {
        let within = |at: &Duration| *at >= end * from / 4 && *at <= end * to / 4;
        memory.iter().filter(|(at, _)| within(at)).map(|(_, bytes)| *bytes).max()
    };
    Some((most(1, 2)?, most(3, 4)?))
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_faults_lose_nothing_and_memory_stays_flat() {
    if let Some(job) = Job::from_env() {
        return worker::work(job).await;
    }
    let seed = number("WRITEWAY_SEED").unwrap_or_else(|| u64::try_from(Tokio.random() >> 96).expect("32 bits"));
    let minutes = number("WRITEWAY_SOAK");
    let lasts = minutes.map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
    println!("WRITEWAY_SEED={seed}, for {lasts:?}");
    let test = "soak::mixed_faults_lose_nothing_and_memory_stays_flat";
    let Some(soak) = Soak::new(test, seed).await else { return };
    let (seen, faults, memory) = soak.run(lasts).await;
    let Seen { acknowledged, failed, in_sql, flushed, verdict, counted, heard, .. } = &seen;
    println!("faults: {faults:?}");
    println!("{acknowledged} acknowledged, {failed} not; {flushed} rows flushed, {in_sql} of them changed something");
    println!("by process: accepted, flushed, batches, retries, fenced: {counted:?}");
    let megabytes = |bytes: u64| bytes >> 20;
    let grown = grown(&memory);
    if let Some((before, after)) = grown {
        println!(
            "memory of the survivor: {} MiB, in the end {} MiB, {} samples",
            megabytes(before),
            megabytes(after),
            memory.len()
        );
    }
    assert_eq!(*verdict, Verdict::default(), "invariant violated: nothing is lost, doubled or taken back");
    // Accepted = flushed + coalesced: nothing is left, nothing is dead, and no more was flushed than may have been accepted.
    let at_most = i64::try_from(acknowledged + failed).expect("a count") + i64::from(seen.deaths);
    assert!(*flushed <= at_most, "invariant violated: a change is flushed once: {flushed} of at most {at_most}");
    assert!(*flushed >= i64::try_from(*in_sql).expect("a count"), "invariant violated: sql changes by flushes only");
    let own = counted.get(&SURVIVOR).and_then(|counts| counts.first());
    assert_eq!(own, heard.get(&SURVIVOR), "invariant violated: what a process counts is what it said");
    let floor = u32::try_from(lasts.as_secs() / 4).expect("small");
    let happened: u32 = faults.values().sum();
    assert!(happened >= floor && *acknowledged > 20 * lasts.as_secs(), "the harness did too little: {happened} faults");
    if let Some((before, after)) = grown {
        assert!(after <= before + GROWTH, "invariant violated: memory stays flat: {before}, then {after}");
    }
}
