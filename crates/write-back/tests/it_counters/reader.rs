//! A task that only reads, and holds each answer against the notebook and against what it saw before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use writeway_back::runtime::{Runtime as _, Tokio};
use writeway_back::{CountStore, Counters};
use writeway_testkit::harness::say;

use crate::notebook::Notebook;
use crate::table::Likes;
use crate::worker::{KEYS, roll};

/// Counters asked for at once.
const AT_ONCE: usize = 16;
/// Told to the parent after so many rounds.
const TOLD: u64 = 10;

/// Reads until it is told to stop.
pub(crate) async fn read<S: CountStore<Key = i64, Counts = Likes>>(
    counters: Counters<S>,
    notebook: Notebook,
    mut dice: u64,
    stop: Arc<AtomicBool>,
) {
    let mut seen = vec![0; KEYS];
    let mut rounds = 0;
    while !stop.load(SeqCst) {
        let keys: Vec<usize> = (0..AT_ONCE).map(|_| roll(&mut dice, KEYS)).collect();
        let ids: Vec<i64> = keys.iter().map(|&key| i64::try_from(key).expect("small")).collect();
        let before: Vec<i64> = keys.iter().map(|&key| notebook.of(key).acknowledged).collect();
        let Ok(counts) = counters.get_many(&ids).await else {
            Tokio.sleep(Duration::from_millis(5)).await;
            continue;
        };
        for ((key, acknowledged), counts) in keys.into_iter().zip(before).zip(counts) {
            let value = counts.map_or(0, |counts| counts.likes);
            let begun = notebook.of(key).begun;
            if value < acknowledged {
                say(&format!("missed 1 counter {key}: {value} where {acknowledged} were acknowledged"));
            }
            if value > begun {
                say(&format!("invented 1 counter {key}: {value} where {begun} had begun"));
            }
            if value < seen[key] {
                say(&format!("back 1 counter {key}: {value} after {}", seen[key]));
            }
            seen[key] = value;
        }
        rounds += 1;
        if rounds % TOLD == 0 {
            say(&format!("reads {}", TOLD * AT_ONCE as u64));
        }
        // The machine is the adders'.
        Tokio.sleep(Duration::from_millis(2)).await;
    }
}
