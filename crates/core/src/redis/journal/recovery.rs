//! After the server was restarted, replaced or restored.

use super::flusher::led;
use super::{RedisJournal, Step, exact};
use crate::cache::Bytes;
use crate::error::Result;
use crate::journal::{At, BatchId, Install, Release};
use crate::redis::call::Repeat;
use crate::redis::reply;
use crate::redis::script::journal::{DIRTY, RELEASE, RESUME, SUPERSEDE};

impl RedisJournal {
    pub(super) async fn dirty_keys(&self, at: &At, from: u64) -> Result<Vec<Bytes>> {
        let step = Step {
            script: &DIRTY,
            shard: &at.shard,
            parts: &["meta", "dirty"],
            keys: &[],
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(exact(from));
            },
            repeat: Repeat::WhenBroken,
        };
        let [keys] = reply::exactly(self.step(&step).await?)?;
        let stem = [at.shard.stem().as_slice(), b"e:"].concat();
        reply::list(keys)?.into_iter().map(|key| Ok([stem.as_slice(), &reply::text(key)?].concat())).collect()
    }

    pub(super) async fn drop_dirty(&self, at: &At, keys: &[Bytes], cause: Option<&str>) -> Result<()> {
        let keys: Vec<&Bytes> = keys.iter().collect();
        let step = Step {
            script: &SUPERSEDE,
            shard: &at.shard,
            parts: &["meta", "dirty", "dead", "letters", "frozen", "strikes"],
            keys: &keys,
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(cause);
            },
            repeat: Repeat::WhenBroken,
        };
        self.step(&step).await.map(drop)
    }

    pub(super) async fn drop_or_dissolve(&self, at: &At, batch: BatchId, how: Release<'_>) -> Result<u64> {
        let keys: Vec<&Bytes> = match how {
            Release::Drop(keys) => keys.iter().collect(),
            Release::Dissolve => Vec::new(),
        };
        let step = Step {
            script: &RELEASE,
            shard: &at.shard,
            parts: &["meta", "dirty", "frozen", "open", "strikes", "dead", "letters"],
            keys: &keys,
            arguments: &|link, cmd| {
                led(at, link, cmd);
                cmd.arg(batch.epoch).arg(batch.batch).arg(match how {
                    Release::Drop(_) => "DROP",
                    Release::Dissolve => "DISSOLVE",
                });
            },
            repeat: Repeat::WhenBroken,
        };
        reply::number(self.step(&step).await?)
    }

    pub(super) async fn end_recovery(&self, at: &At, install: &Install) -> Result<()> {
        let step = Step {
            script: &RESUME,
            shard: &at.shard,
            parts: &["meta"],
            keys: &[],
            arguments: &|link, cmd| {
                cmd.arg(link.identity()).arg(install.epoch).arg(install.batch);
            },
            repeat: Repeat::WhenBroken,
        };
        self.step(&step).await.map(drop)
    }
}
