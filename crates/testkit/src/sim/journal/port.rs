//! The ports that production code sees: each operation is one step of the pure machine, in one step of the schedule.

use std::sync::Arc;
use std::time::Duration;

use writeway_core::cache::{Ask, BoxFuture, Bytes, Declaration, Entries, Fill, Hold, Id, Lease, Lookup};
use writeway_core::entry::shard::ShardState;
use writeway_core::error::{Error, Result};
use writeway_core::journal::{
    Accept, Accepted, Ack, At, BatchId, Bounds, Claimed, Confirm, Counted, DeadLetter, Freeze, Identity, Install, Installed,
    Journal as Port, Level, Park, Redriven, Release, Settled, Shard, Split, Status, Version,
};

use super::{CALL_LIMIT, Journal, Landed, locked};
use crate::explorer::{READS, WRITES, millis};

impl From<Journal> for Arc<dyn Port> {
    fn from(journal: Journal) -> Self {
        Arc::new(journal)
    }
}

impl Entries for Journal {
    fn declare<'a>(&'a self, _: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(async move {
            let found =
                self.each("get", READS, keys, |key| key, |shard, identity, now, key| shard.get(identity, key, now)).await?;
            if found.iter().any(|found| !matches!(found, Lookup::Miss)) {
                self.world.mark_hit();
            }
            Ok(found)
        })
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        let (owner, keep) = (millis(hold.owner), millis(hold.key));
        Box::pin(self.each(
            "lease",
            WRITES,
            asks,
            |ask| &ask.key,
            move |shard, identity, now, ask| shard.lease(identity, &ask.key, ask.id, ask.discard, now, owner, keep),
        ))
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let fill = |shard: &mut ShardState, identity: &Identity, now: u64, fill: &Fill| {
                shard.fill(identity, &fill.key, fill.lease, &fill.entry, millis(fill.ttl), now)
            };
            self.each("fill", WRITES, fills, |fill| &fill.key, fill).await.map(drop)
        })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.each("invalidate", WRITES, keys, |key| key, |shard, _, now, key| Ok(shard.invalidate(key, now))).await.map(drop)
        })
    }

    /// No step of its own, and never in the midst of a change: who goes by it looks at each key again.
    fn scan<'a>(&'a self, stem: &'a [u8], _: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        let state = locked(&self.state);
        let held = state.shards.values().flat_map(|shard| shard.entries.keys());
        let keys = held.filter(|key| key.starts_with(stem)).cloned().collect();
        Box::pin(std::future::ready(Ok((0, keys))))
    }
}

impl Port for Journal {
    fn status<'a>(&'a self, shard: &'a Shard) -> BoxFuture<'a, Result<Status>> {
        Box::pin(self.on("status", shard, READS, |shard, identity, now| Ok(shard.status(identity, now))))
    }

    fn accept<'a>(
        &'a self,
        shard: &'a Shard,
        changes: &'a [Accept],
        bounds: Bounds,
        not_after: Duration,
    ) -> BoxFuture<'a, Result<Accepted>> {
        Box::pin(async move {
            let (stem, changes, by) = (shard.stem(), changes.to_vec(), millis(not_after));
            let (op, world) = (self.world.op(), self.world.clone());
            // Its caller is answered at `not_after` at the latest, so the server takes it only strictly before; and a client
            // that gives up does not do so earlier.
            let limit = (self.world.now_ms() + CALL_LIMIT).max(by);
            let accepted = self.call(
                || "journal accept".to_owned(),
                WRITES,
                limit,
                move |state, now| {
                    let identity = state.identity();
                    let shard = state.shards.entry(stem).or_default();
                    let accepted = shard.accept(&identity, &changes, bounds, by.saturating_sub(1), now)?;
                    match accepted {
                        Accepted::As { .. } => {
                            let at = world.tick();
                            let landed = |change: Accept| Landed { at, op, key: change.key, value: change.value };
                            state.accepted.extend(changes.into_iter().map(landed));
                        }
                        Accepted::Late => world.count_explored(|counts| counts.late_accepts += 1),
                        Accepted::Full(_) | Accepted::Foreign | Accepted::Unfit => {}
                    }
                    Ok(accepted)
                },
            );
            let accepted = accepted.await?;
            self.world.note(|| format!("  → {accepted:?}"));
            accepted
        })
    }

    fn count<'a>(&'a self, asks: &'a [(Shard, Vec<Bytes>)]) -> BoxFuture<'a, Result<Vec<Counted>>> {
        Box::pin(async move {
            let mut counted = Vec::with_capacity(asks.len());
            for (shard, keys) in asks {
                let keys = keys.clone();
                counted
                    .push(self.on("count", shard, READS, move |shard, identity, now| shard.count(identity, &keys, now)).await?);
            }
            Ok(counted)
        })
    }

    /// What is confirmed is in every state in which the server may come back.
    fn confirm<'a>(&'a self, _: Level, of: &'a [Confirm], not_after: Duration) -> BoxFuture<'a, Result<()>> {
        let (of, limit) = (of.to_vec(), millis(not_after));
        Box::pin(async move {
            let confirmed = self.call(
                || "journal confirm".to_owned(),
                READS,
                limit,
                move |state, _| {
                    let identity = state.identity();
                    for Confirm { shard, inc } in of {
                        state.shards.entry(shard.stem()).or_default().stands(&identity, inc)?;
                    }
                    state.confirmed = state.past.len();
                    Ok(())
                },
            );
            let confirmed = confirmed.await?;
            self.world.note(|| format!("  → {confirmed:?}"));
            confirmed
        })
    }

    fn unmet<'a>(&'a self, _: &'a Declaration, _: Level) -> BoxFuture<'a, Result<Vec<Error>>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn settled<'a>(&'a self, shard: &'a Shard, inc: u64, changes: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<Vec<Settled>>> {
        let changes = changes.to_vec();
        Box::pin(self.on("settled", shard, READS, move |shard, identity, _| shard.settled(identity, inc, &changes)))
    }

    /// No step of its own. The flusher asks right after `status`, which does not look at the lease, and nothing but this does:
    /// what others do in between they could as well do before or after both. Its failure would end the turn as that of `status`.
    fn lead<'a>(&'a self, shard: &'a Shard, holder: Id, hold: Duration) -> BoxFuture<'a, Result<bool>> {
        let led = {
            let (now, mut state) = (self.world.now_ms(), locked(&self.state));
            state.leaseless || state.shards.entry(shard.stem()).or_default().lead(holder, millis(hold), now)
        };
        self.world.note(|| format!("journal lead → {led}"));
        Box::pin(std::future::ready(Ok(led)))
    }

    /// No step of its own, as `lead`. Unless the scenario spreads, everybody is told that nobody else is there: it gives no safety,
    /// so nothing may depend on it.
    fn present<'a>(&'a self, namespace: &'a str, holder: Id, hold: Duration) -> BoxFuture<'a, Result<Vec<Id>>> {
        let there = {
            let (now, mut state) = (self.world.now_ms(), locked(&self.state));
            if state.spreads {
                state.members.entry(namespace.to_owned()).or_default().present(holder, millis(hold), now)
            } else {
                vec![holder]
            }
        };
        Box::pin(std::future::ready(Ok(there)))
    }

    fn install<'a>(&'a self, shard: &'a Shard, install: &'a Install) -> BoxFuture<'a, Result<Installed>> {
        let install = install.clone();
        Box::pin(self.on("install", shard, WRITES, move |shard, identity, _| Ok(shard.install(identity, &install))))
    }

    fn claim<'a>(&'a self, at: &'a At, from: u64, freeze: Freeze) -> BoxFuture<'a, Result<Option<Claimed>>> {
        let epoch = at.epoch;
        Box::pin(self.on("claim", &at.shard, WRITES, move |shard, identity, now| shard.claim(identity, epoch, from, freeze, now)))
    }

    fn acknowledge<'a>(&'a self, at: &'a At, batch: BatchId, acks: &'a [Ack]) -> BoxFuture<'a, Result<u64>> {
        let (epoch, acks) = (at.epoch, acks.to_vec());
        let step = move |shard: &mut ShardState, identity: &Identity, now| shard.acknowledge(identity, epoch, batch, &acks, now);
        Box::pin(self.on("acknowledge", &at.shard, WRITES, step))
    }

    fn park<'a>(&'a self, at: &'a At, batch: BatchId, park: Park<'a>) -> BoxFuture<'a, Result<u64>> {
        let world = self.world.clone();
        let (epoch, keys, reason, cause) = (at.epoch, park.keys.to_vec(), park.reason, park.cause.to_owned());
        let step = move |shard: &mut ShardState, identity: &Identity, now| {
            let parked = shard.park(identity, epoch, batch, Park { keys: &keys, reason, cause: &cause }, now);
            world.count_explored(|counts| counts.parks += u64::from(parked.is_ok()));
            parked
        };
        Box::pin(self.on("park", &at.shard, WRITES, step))
    }

    fn split<'a>(&'a self, at: &'a At, batch: BatchId, keep: u64) -> BoxFuture<'a, Result<Option<Split>>> {
        let (epoch, world) = (at.epoch, self.world.clone());
        let step = move |shard: &mut ShardState, identity: &Identity, _| {
            let split = shard.split(identity, epoch, batch, keep);
            world.count_explored(|counts| counts.splits += u64::from(matches!(split, Ok(Some(_)))));
            split
        };
        Box::pin(self.on("split", &at.shard, WRITES, step))
    }

    /// No step of its own: it comes right after the answer of SQL, and changes nothing but a count of tries.
    fn ended<'a>(&'a self, at: &'a At, batch: BatchId) -> BoxFuture<'a, Result<()>> {
        let mut state = locked(&self.state);
        let identity = state.identity();
        let ended = state.shards.entry(at.shard.stem()).or_default().ended(&identity, at.epoch, batch);
        Box::pin(std::future::ready(ended))
    }

    fn delay<'a>(&'a self, at: &'a At, batch: BatchId, pause: Duration, counts: bool) -> BoxFuture<'a, Result<bool>> {
        let (epoch, pause, world) = (at.epoch, millis(pause), self.world.clone());
        let step = move |shard: &mut ShardState, identity: &Identity, now| {
            let delayed = shard.delay(identity, epoch, batch, pause, counts, now);
            world.count_explored(|counts| counts.delays += u64::from(matches!(delayed, Ok(true))));
            delayed
        };
        Box::pin(self.on("delay", &at.shard, WRITES, step))
    }

    fn dirty<'a>(&'a self, at: &'a At, from: u64) -> BoxFuture<'a, Result<Vec<Bytes>>> {
        let epoch = at.epoch;
        Box::pin(self.on("dirty", &at.shard, READS, move |shard, identity, _| shard.dirty_keys(identity, epoch, from)))
    }

    fn supersede<'a>(&'a self, at: &'a At, keys: &'a [Bytes], cause: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        let (epoch, keys, cause) = (at.epoch, keys.to_vec(), cause.map(ToOwned::to_owned));
        let step = move |shard: &mut ShardState, identity: &Identity, now| {
            shard.supersede(identity, epoch, &keys, cause.as_deref(), now)
        };
        Box::pin(self.on("supersede", &at.shard, WRITES, step))
    }

    fn release<'a>(&'a self, at: &'a At, batch: BatchId, how: Release<'a>) -> BoxFuture<'a, Result<u64>> {
        let epoch = at.epoch;
        let drop = if let Release::Drop(keys) = how { Some(keys.to_vec()) } else { None };
        let step = move |shard: &mut ShardState, identity: &Identity, _| {
            let how = drop.as_deref().map_or(Release::Dissolve, Release::Drop);
            shard.release(identity, epoch, batch, how)
        };
        Box::pin(self.on("release", &at.shard, WRITES, step))
    }

    fn resume<'a>(&'a self, at: &'a At, install: &'a Install) -> BoxFuture<'a, Result<()>> {
        let install = install.clone();
        Box::pin(self.on("resume", &at.shard, WRITES, move |shard, identity, _| shard.resume(identity, &install)))
    }

    fn dead_letters<'a>(
        &'a self,
        shard: &'a Shard,
        after: Option<&'a (Version, Bytes)>,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>>> {
        let after = after.cloned();
        Box::pin(self.on("dead letters", shard, READS, move |shard, _, _| Ok(shard.dead_letters(after.as_ref()))))
    }

    fn redrive<'a>(
        &'a self,
        shard: &'a Shard,
        letters: &'a [(Bytes, Version)],
        bounds: Bounds,
    ) -> BoxFuture<'a, Result<Vec<Redriven>>> {
        let letters = letters.to_vec();
        let step = move |shard: &mut ShardState, identity: &Identity, now| shard.redrive(identity, &letters, bounds, now);
        Box::pin(self.on("redrive", shard, WRITES, step))
    }

    fn discard<'a>(&'a self, shard: &'a Shard, letters: &'a [(Bytes, Version)]) -> BoxFuture<'a, Result<u64>> {
        let letters = letters.to_vec();
        Box::pin(self.on("discard", shard, WRITES, move |shard, identity, _| shard.discard(identity, &letters)))
    }
}
