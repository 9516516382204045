//! What a script answered, in the words of the machine's form.

use redis::Value;
use writeway_core::cache::Bytes;

use crate::op::Op;
use crate::place::NAMES;

/// Every answer of every script.
pub(crate) const ANSWERS: &str = "lease EPOCH, lease HIT, lease DIRTY, lease GRANTED, lease BUSY, lease BYPASS, fill EPOCH, fill FILLED, \
    fill BROKEN, invalidate VOIDED, invalidate KEPT, invalidate FOREIGN, status 0, status 1, accept EPOCH, accept AS, accept FULL KEYS, \
    accept FULL BYTES, accept FULL AGE, accept LATE, accept FOREIGN, accept UNFIT, settled EPOCH, settled D, settled P, settled X, settled U, \
    lead 0, lead 1, install REFUSED, install READY, install RECOVER, claim EPOCH, claim OPEN, claim NONE, acknowledge EPOCH, \
    acknowledge 0, acknowledge 1, park EPOCH, park 0, park 1, dirty EPOCH, dirty 0, dirty 1, supersede EPOCH, supersede DONE, \
    release EPOCH, release 0, resume EPOCH, resume DONE, dead_letters 0, dead_letters 1, split EPOCH, split NONE, \
    split SPLIT, delay EPOCH, delay 0, delay 1, redrive EPOCH, redrive D, redrive S, redrive G, redrive F, redrive U, redrive K, redrive B, redrive A, \
    discard EPOCH, discard 0, discard 1, \
    ended EPOCH, ended DONE, count EPOCH, count 0, count 1";

/// A script's answer as words, without the clock; cache keys whole, letters taken apart as the machine's answer is.
pub(crate) fn words(op: &Op, answer: Value) -> Vec<Bytes> {
    let mut words = Vec::new();
    flatten(answer, &mut words);
    let fenced = words == [b"EPOCH"];
    let stem = b"{posts:0}:e:";
    let whole = |member: Bytes| [&stem[..], &member].concat();
    match op {
        Op::Accept { .. } if !fenced => words.truncate(words.len() - 2),
        Op::Claim { .. } if !fenced => {
            let items = words.len().saturating_sub(6);
            for member in words.iter_mut().skip(4).take(items).step_by(3) {
                *member = whole(std::mem::take(member));
            }
        }
        Op::Dirty { .. } if !fenced => words = words.into_iter().map(whole).collect(),
        Op::DeadLetters { .. } => {
            let pairs = words.chunks(2).flat_map(|pair| {
                let letter = &pair[1];
                let length = usize::try_from(u32::from_be_bytes(letter[49..53].try_into().expect("four"))).expect("short");
                let numbers = [&letter[..20], &letter[36..49]].concat();
                [whole(pair[0].clone()), numbers, letter[53..53 + length].to_vec(), letter[53 + length..].to_vec()]
            });
            words = pairs.collect();
        }
        _ => {}
    }
    words
}

fn flatten(answer: Value, words: &mut Vec<Bytes>) {
    match answer {
        Value::BulkString(bytes) => words.push(bytes),
        Value::SimpleString(text) => words.push(text.into_bytes()),
        Value::Int(n) => words.push(n.to_string().into_bytes()),
        Value::Nil => words.push(b"-".to_vec()),
        Value::Array(parts) => parts.into_iter().for_each(|part| flatten(part, words)),
        other => panic!("invariant violated: script matches machine\n  {other:?}"),
    }
}

/// Under which name an answer is counted.
pub(crate) fn name(op: &Op, answer: &[Bytes]) -> String {
    let first = answer.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    let left = |n: &str| u8::from(n != "0").to_string();
    let kind = match op {
        _ if first == "EPOCH" => first,
        Op::Accept { .. } if first == "FULL" => format!("FULL {}", String::from_utf8_lossy(&answer[1])),
        Op::Status => String::from_utf8_lossy(&answer[1]).into_owned(),
        Op::Settled { .. } | Op::Redrive { .. } => first.chars().next().map(String::from).unwrap_or_default(),
        Op::Count { .. } | Op::Acknowledge { .. } | Op::Park { .. } | Op::Release { .. } | Op::Discard { .. } => left(&first),
        Op::Dirty { .. } | Op::DeadLetters { .. } => u8::from(!answer.is_empty()).to_string(),
        _ => first,
    };
    format!("{} {kind}", NAMES[op.index()])
}
