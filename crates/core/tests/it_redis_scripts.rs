//! The scripts against the pure machine: the same random operations on the same random states, on a real server.
//!
//! The scripts read the server's clock themselves. So all deadlines lie far away on one side or the other, and what a script
//! writes as "now + …" must lie between the clock's readings before and after the pipeline.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::time::Duration;

use fastrand::Rng;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, Value};
use writeway_core::cache::{Begun, Bytes, Finished, Id, Lease};
use writeway_core::entry::state::{MAX_TOKENS, Slot, State, from_bytes, to_bytes};
use writeway_core::entry::{BARRIER, FORMAT, LEASE, MAGIC, VALUE};

const HOUR: u64 = 3_600_000;
const KEYS: usize = 5;
const SEQUENCES: usize = 2600;
const STEPS: usize = 200;
/// Of operations per script: 520,000 are drawn in all.
const FLOOR: usize = 100_000;

#[derive(Clone, Debug)]
enum Op {
    Lease { id: Id, discard: bool, owner_for: u64, keep_for: u64 },
    Fill { lease: Id, entry: Bytes, ttl: u64 },
    Invalidate,
    Begin { token: Id, within: u64, in_time: bool },
    Finish { token: Id, publish: Option<(Bytes, u64)> },
}

/// What lies under a key: its bytes, and when it expires (-1 never, -2 no key).
type Raw = (Option<Bytes>, i64);

struct Step {
    key: usize,
    seeded: Option<Raw>,
    op: Op,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_match_the_machine() {
    let (Ok(url), Ok(prefix)) = (std::env::var("REDIS_URL"), std::env::var("WRITEWAY_PREFIX")) else {
        println!("SKIPPED: needs REDIS_URL");
        return;
    };
    let client = redis::Client::open(url).expect("a URL");
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("a server");
    let keys: Vec<String> = (0..KEYS).map(|n| format!("{prefix}:scripts:{n}")).collect();
    let mut seen = BTreeMap::new();
    let mut held: Vec<Raw> = Vec::new();
    for seed in 0..SEQUENCES {
        let mut rng = Rng::with_seed(seed as u64);
        held = run_sequence(&mut connection, &keys, &mut rng, seed, &mut seen, held).await;
    }
    let _: () = redis::cmd("DEL").arg(&keys).query_async(&mut connection).await.expect("deleted");
    println!("{seen:#?}");
    check_floors(&seen);
}

/// What was really exercised: every script often, every answer too.
fn check_floors(seen: &BTreeMap<String, usize>) {
    for script in ["lease", "fill", "invalidate", "begin", "finish"] {
        let times: usize = seen.iter().filter(|(name, _)| name.starts_with(script)).map(|(_, n)| n).sum();
        assert!(times >= FLOOR, "{script} ran only {times} times");
    }
    let answers = "lease HIT, lease GRANTED, lease BUSY, lease BYPASS, fill FILLED, fill BROKEN, invalidate VOIDED, invalidate FOREIGN, \
                   begin PLACED, begin LATE, begin FULL, begin FOREIGN, finish PUBLISHED, finish VOIDED";
    for answer in answers.split(", ") {
        let times = seen.get(answer).copied().unwrap_or_default();
        assert!(times >= 300, "{answer} was seen only {times} times");
    }
}

async fn run_sequence(
    connection: &mut MultiplexedConnection,
    keys: &[String],
    rng: &mut Rng,
    seed: usize,
    seen: &mut BTreeMap<String, usize>,
    mut held: Vec<Raw>,
) -> Vec<Raw> {
    // The server's clock, roughly: enough to draw deadlines that lie an hour away.
    let time: Value = redis::cmd("TIME").query_async(connection).await.expect("the time");
    let start = millis(&time);
    let steps: Vec<Step> = (0..STEPS).map(|n| step(rng, start, n < KEYS, n)).collect();
    let mut pipeline = Pipeline::new();
    for (sha, _) in SCRIPTS {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(sha);
    }
    pipeline.cmd("TIME");
    for Step { key, seeded, op } in &steps {
        if let Some(raw) = seeded {
            pipeline.add_command(put(&keys[*key], raw));
        }
        pipeline.add_command(call(&keys[*key], op, start));
        pipeline.cmd("GET").arg(&keys[*key]);
        pipeline.cmd("PEXPIRETIME").arg(&keys[*key]);
    }
    pipeline.cmd("TIME");
    let count = pipeline.len();
    let mut answers =
        connection.send_packed_commands(&pipeline, 0, count).await.expect("answers").into_iter().skip(SCRIPTS.len());
    let mut next = || answers.next().expect("one answer per command");
    let before = millis(&next());
    let mut results = Vec::new();
    for step in &steps {
        if step.seeded.is_some() {
            next();
        }
        let answer = words(next());
        let bytes = match next() {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        let Value::Int(expires) = next() else { panic!("an expiry") };
        results.push((answer, (bytes, expires)));
    }
    let after = millis(&next());
    held.resize(KEYS, (None, -2));
    for (n, (step, (answer, actual))) in steps.into_iter().zip(results).enumerate() {
        let was = step.seeded.unwrap_or_else(|| held[step.key].clone());
        let context = format_args!("sequence {seed} step {n}: {:?} on {was:?}", step.op);
        let name = judge(&step.op, &was, &answer, &actual, before..=after, &context);
        *seen.entry(name).or_default() += 1;
        held[step.key] = actual;
    }
    held
}

/// Runs the machine on the same state and compares.
fn judge(
    op: &Op,
    was: &Raw,
    answer: &[Bytes],
    actual: &Raw,
    clock: std::ops::RangeInclusive<u64>,
    context: &dyn Display,
) -> String {
    // By the last reading every deadline of "now + 0" has passed, as it has for every later script.
    let now = *clock.end();
    let mut slot = Slot { state: was.0.as_deref().map(from_bytes).unwrap_or_default(), expires: u64::try_from(was.1).ok() };
    let before = slot.clone();
    let expected = machine(&mut slot, op, now);
    let word = String::from_utf8_lossy(&answer[0]).into_owned();
    check(&answer, &expected.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice(), context);

    let removes = matches!(op, Op::Invalidate | Op::Finish { .. }) && slot.state == State::Absent;
    if slot == before && !removes {
        check(&actual, &was, context);
    } else {
        let shift = *clock.end() - *clock.start();
        let bytes = actual.0.as_deref();
        let state = bytes.map(from_bytes).unwrap_or_default();
        check(&settle(state, &slot.state, shift), &slot.state, context);
        check(&bytes.map(from_bytes).as_ref().and_then(to_bytes).as_deref(), &bytes, context);
        check(&bytes.is_some(), &(slot.state != State::Absent), context);
        let expires = u64::try_from(actual.1).ok().map(|at| near(at, slot.expires.unwrap_or(0), shift));
        check(&expires, &slot.expires, context);
    }
    let script = match op {
        Op::Lease { .. } => "lease",
        Op::Fill { .. } => "fill",
        Op::Invalidate => "invalidate",
        Op::Begin { .. } => "begin",
        Op::Finish { .. } => "finish",
    };
    format!("{script} {word}")
}

fn check<A: Debug + PartialEq<B> + ?Sized, B: Debug + ?Sized>(actual: &A, expected: &B, context: &dyn Display) {
    assert!(
        actual == expected,
        "invariant violated: script matches machine\n  {context}\n  script  {actual:?}\n  machine {expected:?}"
    );
}

fn machine(slot: &mut Slot, op: &Op, now: u64) -> Vec<Bytes> {
    let word = |w: &str| vec![w.as_bytes().to_vec()];
    match op {
        Op::Lease { id, discard, owner_for, keep_for } => match slot.lease(*id, *discard, now, *owner_for, *keep_for) {
            Lease::Hit(entry) | Lease::Dirty(entry) => vec![b"HIT".to_vec(), entry],
            Lease::Granted(id) => vec![b"GRANTED".to_vec(), id.0.to_vec()],
            Lease::Busy => word("BUSY"),
            Lease::Bypass => word("BYPASS"),
        },
        Op::Fill { lease, entry, ttl } => {
            let before = slot.clone();
            slot.fill(*lease, entry, *ttl, now);
            word(if *slot == before { "BROKEN" } else { "FILLED" })
        }
        Op::Invalidate => word(if slot.invalidate(now) { "VOIDED" } else { "FOREIGN" }),
        Op::Begin { token, within, in_time } => {
            let not_after = if *in_time { now + HOUR } else { now - HOUR };
            word(match slot.begin(*token, *within, not_after, now) {
                Begun::Placed => "PLACED",
                Begun::Late => "LATE",
                Begun::Full => "FULL",
                Begun::Foreign => "FOREIGN",
            })
        }
        Op::Finish { token, publish } => {
            let publish = publish.as_ref().map(|(entry, ttl)| (entry.as_slice(), *ttl));
            word(match slot.finish(*token, publish, now) {
                Finished::Published => "PUBLISHED",
                Finished::Voided => "VOIDED",
            })
        }
    }
}

/// `state` with each time that lies at most `shift` before the expected one replaced by that.
fn settle(mut state: State, expected: &State, shift: u64) -> State {
    match (&mut state, expected) {
        (State::Leased { owner_until, .. }, State::Leased { owner_until: wanted, .. }) => {
            *owner_until = near(*owner_until, *wanted, shift);
        }
        (State::Barrier { tokens, .. }, State::Barrier { tokens: wanted, .. }) => {
            for ((_, until), (_, wanted)) in tokens.iter_mut().zip(wanted) {
                *until = near(*until, *wanted, shift);
            }
        }
        _ => {}
    }
    state
}

fn near(actual: u64, wanted: u64, shift: u64) -> u64 {
    if actual <= wanted && wanted - actual <= shift { wanted } else { actual }
}

const SCRIPTS: [(&str, &str); 5] = [
    (include_str!("../src/redis/scripts/lease.lua"), "lease"),
    (include_str!("../src/redis/scripts/fill.lua"), "fill"),
    (include_str!("../src/redis/scripts/invalidate.lua"), "invalidate"),
    (include_str!("../src/redis/scripts/begin.lua"), "begin"),
    (include_str!("../src/redis/scripts/finish.lua"), "finish"),
];

fn call(key: &str, op: &Op, start: u64) -> Cmd {
    use std::sync::LazyLock;
    static SHAS: LazyLock<Vec<String>> =
        LazyLock::new(|| SCRIPTS.iter().map(|(source, _)| redis::Script::new(source).get_hash().to_owned()).collect());
    let mut cmd = redis::cmd("EVALSHA");
    let mut script = |n: usize| {
        cmd.arg(&SHAS[n]).arg(1).arg(key);
    };
    match op {
        Op::Lease { id, discard, owner_for, keep_for } => {
            script(0);
            cmd.arg(&id.0[..]).arg(u8::from(*discard)).arg(owner_for).arg(keep_for);
        }
        Op::Fill { lease, entry, ttl } => {
            script(1);
            cmd.arg(&lease.0[..]).arg(entry).arg(ttl);
        }
        Op::Invalidate => script(2),
        Op::Begin { token, within, in_time } => {
            script(3);
            cmd.arg(&token.0[..]).arg(within).arg(if *in_time { start + HOUR } else { start - HOUR });
        }
        Op::Finish { token, publish } => {
            script(4);
            cmd.arg(&token.0[..]);
            if let Some((entry, ttl)) = publish {
                cmd.arg(entry).arg(ttl);
            }
        }
    }
    cmd
}

fn put(key: &str, (bytes, expires): &Raw) -> Cmd {
    match bytes {
        None => redis::Cmd::del(key),
        Some(bytes) => {
            let mut cmd = redis::Cmd::set(key, bytes);
            if *expires >= 0 {
                cmd.arg("PXAT").arg(expires);
            }
            cmd
        }
    }
}

fn step(rng: &mut Rng, start: u64, fresh: bool, n: usize) -> Step {
    // The first steps of a sequence give every key a state of its own.
    let key = if fresh { n } else { rng.usize(..KEYS) };
    let seeded = (fresh || rng.usize(..3) == 0).then(|| seed_state(rng, start));
    let op = match rng.u8(..5) {
        0 => Op::Lease { id: id(rng), discard: rng.u8(..4) == 0, owner_for: [0, HOUR][rng.usize(..2)], keep_for: HOUR },
        1 => Op::Fill { lease: id(rng), entry: value(rng), ttl: HOUR },
        2 => Op::Invalidate,
        3 => Op::Begin { token: id(rng), within: [0, HOUR, HOUR][rng.usize(..3)], in_time: rng.u8(..8) > 0 },
        _ => Op::Finish { token: id(rng), publish: (rng.u8(..3) > 0).then(|| (value(rng), HOUR)) },
    };
    Step { key, seeded, op }
}

/// Few ids, so that they meet.
fn id(rng: &mut Rng) -> Id {
    Id([rng.u8(..3); 16])
}

fn value(rng: &mut Rng) -> Bytes {
    let mut entry = vec![MAGIC, VALUE, FORMAT];
    entry.extend((0..rng.usize(9..30)).map(|_| rng.u8(..)));
    entry
}

fn deadline(rng: &mut Rng, start: u64) -> u64 {
    match rng.u8(..8) {
        0 => 0,
        1 => u64::MAX - rng.u64(..5000),
        2 => (1 << 53) + rng.u64(..5000),
        3 | 4 => start - HOUR - rng.u64(..HOUR),
        _ => start + HOUR + rng.u64(..HOUR),
    }
}

fn seed_state(rng: &mut Rng, start: u64) -> Raw {
    let expires = i64::try_from(start + 2 * HOUR).expect("a time");
    let expiring = [expires, expires, -1][rng.usize(..3)];
    match rng.u8(..12) {
        0 => (None, -2),
        1 | 2 => (Some(value(rng)), expiring),
        3 | 4 => (Some(lease_bytes(rng, start)), expiring),
        5..=8 => (Some(barrier_bytes(rng, start)), -1),
        9 => {
            let kind = [b'D', VALUE, LEASE, BARRIER][rng.usize(..4)];
            let mut foreign = vec![MAGIC, kind, if kind == b'D' { FORMAT } else { rng.u8(2..) }];
            foreign.extend((0..rng.usize(..40)).map(|_| rng.u8(..)));
            (Some(foreign), expiring)
        }
        _ => {
            let damaged = damage(rng, start);
            // What came out whole after all keeps the rule that a barrier has no expiry.
            let barrier = matches!(from_bytes(&damaged), State::Barrier { .. });
            (Some(damaged), if barrier { -1 } else { expiring })
        }
    }
}

fn lease_bytes(rng: &mut Rng, start: u64) -> Bytes {
    to_bytes(&State::Leased { id: id(rng), owner_until: deadline(rng, start) }).expect("bytes")
}

fn barrier_bytes(rng: &mut Rng, start: u64) -> Bytes {
    let full = rng.u8(..6) == 0;
    let count = if full { rng.usize(MAX_TOKENS - 1..=MAX_TOKENS) } else { rng.usize(1..4) };
    let live = full && rng.bool();
    let token = |n: usize, rng: &mut Rng| {
        let until = if live { start + HOUR } else { deadline(rng, start) };
        let id = if full { Id([u8::try_from(n).unwrap_or(0) + if rng.u8(..9) == 0 { 0 } else { 3 }; 16]) } else { id(rng) };
        (id, until)
    };
    let tokens = (0..count).map(|n| token(n, rng)).collect();
    to_bytes(&State::Barrier { tokens, poisoned: rng.bool() }).expect("bytes")
}

/// Cut short or long, other flags, too many tokens, no magic, or noise.
fn damage(rng: &mut Rng, start: u64) -> Bytes {
    let mut bytes = match rng.u8(..3) {
        0 => value(rng),
        1 => lease_bytes(rng, start),
        _ => barrier_bytes(rng, start),
    };
    match rng.u8(..6) {
        0 => bytes.truncate(rng.usize(..bytes.len())),
        1 => bytes.extend((0..rng.usize(1..30)).map(|_| rng.u8(..))),
        2 if bytes[1] == BARRIER => bytes[3] = rng.u8(2..),
        3 if bytes[1] == BARRIER => bytes = [&bytes[..4], &[7; 24 * (MAX_TOKENS + 1)]].concat(),
        4 => bytes[0] = rng.u8(..),
        _ => bytes = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
    }
    bytes
}

fn millis(time: &Value) -> u64 {
    let Value::Array(parts) = time else { panic!("the time") };
    let number = |v: &Value| match v {
        Value::BulkString(b) => String::from_utf8_lossy(b).parse::<u64>().expect("a number"),
        other => panic!("{other:?}"),
    };
    number(&parts[0]) * 1000 + number(&parts[1]) / 1000
}

/// The words of an answer; what follows `begin`'s is the clock.
fn words(answer: Value) -> Vec<Bytes> {
    match answer {
        Value::BulkString(bytes) => vec![bytes],
        Value::SimpleString(text) => vec![text.into_bytes()],
        Value::Array(parts) if parts.len() == 3 => words(parts.into_iter().next().expect("three")),
        Value::Array(parts) => parts.into_iter().flat_map(words).collect(),
        other => panic!("invariant violated: script matches machine\n  {other:?}"),
    }
}
