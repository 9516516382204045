//! Counters as they stand.

use redis::Value;

use super::{RedisJournal, judged, not_ours};
use crate::cache::Bytes;
use crate::error::{Error, Result};
use crate::journal::{Count, Counted, PAGE, Shard};
use crate::redis::call::{Calls, Repeat};
use crate::redis::reply;
use crate::redis::script::journal::COUNT;

impl RedisJournal {
    pub(super) async fn counted(&self, asks: &[(Shard, Vec<Bytes>)]) -> Result<Vec<Counted>> {
        let stems: Vec<Bytes> = asks.iter().map(|(shard, _)| shard.stem()).collect();
        for (stem, (_, keys)) in stems.iter().zip(asks) {
            if keys.len() > PAGE {
                return Err(Error::invalid(format!("a call on a shard is given more than {PAGE} keys")));
            }
            if !keys.iter().all(|key| key.strip_prefix(stem.as_slice()).is_some_and(|rest| rest.starts_with(b"e:"))) {
                return Err(not_ours());
            }
        }
        let calls = Calls {
            script: &COUNT,
            count: asks.len(),
            call: &|n, link, cmd| {
                let (stem, keys) = (&stems[n], &asks[n].1);
                cmd.arg(2 + keys.len()).arg(self.part(stem, "meta")).arg(self.part(stem, "open"));
                for key in keys {
                    cmd.arg(self.redis.full_key(key));
                }
                cmd.arg(link.identity());
            },
            bytes: &|_| 0,
            repeat: Repeat::WhenBroken,
        };
        let answers = self.redis.run(&calls).await?;
        if answers.len() != asks.len() {
            return Err(reply::strange());
        }
        answers.into_iter().zip(asks).map(|(answer, (_, keys))| counts(answer, keys.len())).collect()
    }
}

/// Of so many keys.
fn counts(answer: Value, keys: usize) -> Result<Counted> {
    let mut parts = reply::list(judged(answer)?)?.into_iter();
    let mut next = || parts.next().ok_or_else(reply::strange);
    let (acked, open) = (reply::number(next()?)?, reply::number(next()?)?);
    let mut count = || {
        let [base, frozen, pending] = [next()?, next()?, next()?].map(reply::optional);
        Ok(Count { base: base?, frozen: frozen?, pending: pending? })
    };
    Ok(Counted { acked, open, counts: (0..keys).map(|_| count()).collect::<Result<_>>()? })
}
