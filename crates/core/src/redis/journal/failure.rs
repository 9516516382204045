//! The flusher's side of a batch that fails.

use std::time::Duration;

use redis::Value;

use super::flusher::led;
use super::{RedisJournal, Step, exact};
use crate::cache::Bytes;
use crate::error::Result;
use crate::journal::{At, BatchId, Park, Reason, Split};
use crate::redis::call::Repeat;
use crate::redis::script::journal::{DELAY, ENDED, PARK, SPLIT};
use crate::redis::{millis, reply};

impl RedisJournal {
    pub(super) async fn set_aside(&self, at: &At, batch: BatchId, park: Park<'_>) -> Result<u64> {
        let keys: Vec<&Bytes> = park.keys.iter().collect();
        let step = Step {
            script: &PARK,
            shard: &at.shard,
            parts: &["meta", "frozen", "open", "dead", "letters", "strikes"],
            keys: &keys,
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch).arg(letter(park.reason)).arg(park.cause);
            },
            repeat: Repeat::WhenBroken,
        };
        reply::number(self.step(&step).await?)
    }

    pub(super) async fn keep_some(&self, at: &At, batch: BatchId, keep: u64) -> Result<Option<Split>> {
        let step = Step {
            script: &SPLIT,
            shard: &at.shard,
            parts: &["meta", "dirty", "frozen", "open"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch).arg(exact(keep));
            },
            repeat: Repeat::WhenBroken,
        };
        let answer = self.step(&step).await?;
        if matches!(&answer, Value::Array(parts) if parts.len() == 1) {
            return Ok(None);
        }
        let [_, epoch, batch, more] = reply::exactly(answer)?;
        let id = BatchId { epoch: reply::number(epoch)?, batch: reply::number(batch)? };
        Ok(Some(Split { id, more: reply::number(more)? == 1 }))
    }

    pub(super) async fn tries_ended(&self, at: &At, batch: BatchId) -> Result<()> {
        let step = Step {
            script: &ENDED,
            shard: &at.shard,
            parts: &["meta"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch);
            },
            repeat: Repeat::WhenBroken,
        };
        self.step(&step).await.map(drop)
    }

    pub(super) async fn hold_back(&self, at: &At, batch: BatchId, pause: Duration, counts: bool) -> Result<bool> {
        let step = Step {
            script: &DELAY,
            shard: &at.shard,
            parts: &["meta", "dirty", "frozen", "open", "strikes"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch).arg(millis(pause)).arg(u8::from(counts));
            },
            // Sent twice it is done once: the batch is over then.
            repeat: Repeat::WhenBroken,
        };
        Ok(reply::number(self.step(&step).await?)? == 1)
    }
}

/// As it lies in Redis.
pub(super) fn letter(reason: Reason) -> &'static str {
    match reason {
        Reason::Refused => "R",
        Reason::Damaged => "D",
        Reason::Ambiguous => "A",
    }
}
