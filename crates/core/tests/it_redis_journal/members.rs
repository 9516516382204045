//! Who is there: the script against the pure form, on a real server, and the call.

use std::ops::RangeInclusive;
use std::time::Duration;

use redis::{Pipeline, Value};
use writeway_core::cache::{Bytes, Id};
use writeway_core::entry::members::{MOST, Members};
use writeway_core::journal::Journal;

use crate::redis_support::*;
use crate::shard::*;

const OPS: usize = 100_000;
const PAGE: usize = 1_000;

/// A random process, and for how long it is there.
fn drawn(seed: u64) -> (Id, u64) {
    let roll = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let who = u8::try_from(roll >> 40 & 0b111).expect("small");
    (Id([who; 16]), [0, 1, 2, 5, 50, 60_000][usize::try_from(roll >> 50).expect("small") % 6])
}

/// The server's clock, in milliseconds.
fn millis(time: Value) -> u64 {
    let Value::Array(parts) = time else { panic!("no time: {time:?}") };
    let number = |part: &Value| match part {
        Value::BulkString(text) => std::str::from_utf8(text).expect("digits").parse::<u64>().expect("a number"),
        other => panic!("no number: {other:?}"),
    };
    number(&parts[0]) * 1_000 + number(&parts[1]) / 1_000
}

fn list(answer: Value) -> Vec<Id> {
    let Value::Array(ids) = answer else { panic!("no list: {answer:?}") };
    let id = |id: Value| match id {
        Value::BulkString(bytes) => Id(bytes.try_into().expect("16 bytes")),
        other => panic!("no id: {other:?}"),
    };
    let mut ids: Vec<Id> = ids.into_iter().map(id).collect();
    ids.sort_unstable();
    ids
}

/// The whole set, as the pure form holds it.
fn contents(answer: Value) -> Members {
    let Value::Array(parts) = answer else { panic!("no list: {answer:?}") };
    let text = |part: &Value| match part {
        Value::BulkString(bytes) => bytes.clone(),
        other => panic!("no text: {other:?}"),
    };
    let pair = |pair: &[Value]| -> (Id, u64) {
        let until = String::from_utf8(text(&pair[1])).expect("digits").parse().expect("a number");
        (Id(text(&pair[0]).try_into().expect("16 bytes")), until)
    };
    Members(parts.chunks(2).map(pair).collect())
}

#[tokio::test]
async fn present_matches_its_pure_form() {
    let Some((_, mut raw, prefix)) = fresh("members").await else { return };
    let key: Bytes = format!("{prefix}:{{posts}}:members").into_bytes();
    let script = redis::Script::new(include_str!("../../src/redis/scripts/journal/present.lua"));
    let _: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(include_str!("../../src/redis/scripts/journal/present.lua"))
        .query_async(&mut raw)
        .await
        .expect("loaded");
    let (mut model, mut before, mut lapses) = (Members::default(), 0, 0);
    for page in 0..OPS / PAGE {
        let ops: Vec<(Id, u64)> = (0..PAGE).map(|n| drawn((page * PAGE + n) as u64)).collect();
        let mut pipeline = Pipeline::new();
        for (who, hold) in &ops {
            pipeline.cmd("EVALSHA").arg(script.get_hash()).arg(1).arg(&key).arg(&who.0[..]).arg(hold).arg(MOST);
            pipeline.cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES").cmd("TIME");
        }
        let count = pipeline.len();
        let mut answers = raw.send_packed_commands(&pipeline, 0, count).await.expect("answers").into_iter();
        for (who, hold) in ops {
            let mut next = || answers.next().expect("one answer per command");
            let (listed, held, after) = (list(next()), contents(next()), millis(next()));
            let window: RangeInclusive<u64> = before.max(after.saturating_sub(1_000))..=after;
            let fits = window.clone().find_map(|now| {
                let mut model = model.clone();
                (model.present(who, hold, now) == listed && model == held).then_some(model)
            });
            let Some(fits) = fits else {
                panic!(
                    "invariant violated: script matches machine: {who:?} for {hold} in {window:?}: {listed:?} {held:?}, before {model:?}"
                );
            };
            lapses += usize::from(fits.0.len() < model.0.len() && hold > 0);
            (model, before) = (fits, after);
        }
    }
    println!("{OPS} operations, in {lapses} of which somebody had lapsed");
    assert!(lapses > 300, "too few had lapsed: {lapses}");
}

#[tokio::test]
async fn who_says_so_is_there_until_it_lapses_or_leaves() {
    let Some((journal, ..)) = fresh("present").await else { return };
    let hour = Duration::from_secs(3_600);
    let present = async |n: u8, hold: Duration| journal.present("posts", id(n), hold).await.expect("an answer");
    assert_eq!(present(2, hour).await, [id(2)]);
    assert_eq!(present(1, Duration::from_millis(1)).await, [id(1), id(2)]);
    eventually("it to lapse", async || (present(2, hour).await == [id(2)]).then_some(())).await;
    assert_eq!(present(3, hour).await, [id(2), id(3)]);
    assert_eq!(present(3, Duration::ZERO).await, [id(2)]);
    assert_eq!(journal.present("others", id(9), hour).await.ok(), Some(vec![id(9)]), "each namespace has its own");
}
