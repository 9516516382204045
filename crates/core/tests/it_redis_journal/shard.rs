//! What the tests of the adapter share: one shard, how it is opened, and what is put into it.

use std::time::Duration;

use writeway_core::cache::{Bytes, Entries, Lookup};
use writeway_core::error::{Kind, Outcome, Result};
use writeway_core::journal::{
    Accept, Accepted, Ack, At, Bounds, Claimed, Found, Freeze, Install, Installed, Journal, Park, Reason, Settled, Shard, Version,
};
use writeway_core::redis::{Redis, RedisJournal};
use writeway_core::runtime::{Runtime, Tokio};

use crate::redis_support::*;

/// All that is dirty.
pub(crate) const ALL: Freeze = Freeze { schema: 0, max_keys: 1_000, max_bytes: 1 << 20, suspects_first: false };
pub(crate) const ROOM: Bounds = Bounds { keys: 1 << 20, bytes: 1 << 30, age: Duration::from_secs(3_600) };

pub(crate) fn shard() -> Shard {
    Shard { namespace: "posts".into(), number: 0 }
}

pub(crate) fn post(name: impl AsRef<str>) -> Bytes {
    [shard().stem().as_slice(), b"e:", name.as_ref().as_bytes()].concat()
}

pub(crate) fn put(name: impl AsRef<str>, text: &str) -> Accept {
    Accept { key: post(name), schema: 0, value: value(text) }
}

pub(crate) fn ack(name: &str, text: &str) -> Ack {
    Ack { key: post(name), clean: Some((value(text), TTL)) }
}

pub(crate) fn version(epoch: u64, seq: u64) -> Version {
    Version { epoch, seq }
}

/// A journal on the shared server, with nothing under its prefix.
pub(crate) async fn fresh(test: &str) -> Option<(RedisJournal, redis::aio::MultiplexedConnection, String)> {
    let (url, prefix) = shared(&format!("journal.{test}"))?;
    let mut raw = raw(&url).await;
    let left: Vec<Bytes> = redis::cmd("KEYS").arg(format!("{prefix}:*")).query_async(&mut raw).await.expect("keys");
    if !left.is_empty() {
        let _: () = redis::Cmd::del(left).query_async(&mut raw).await.expect("deleted");
    }
    let long = Duration::from_secs(10);
    let redis = Redis::builder(url).prefix(&prefix).response_timeout(long).checkout_timeout(long).connect().await;
    Some((redis.expect("a server").into(), raw, prefix))
}

/// Opens the shard in this epoch, as a server's that SQL knows nothing of; what it held when it had to recover.
pub(crate) async fn open(journal: &RedisJournal, epoch: u64) -> (At, Option<Found>) {
    let at = At { shard: shard(), epoch };
    let identity = journal.status(&at.shard).await.expect("a status").identity;
    let install = Install { identity, epoch, batch: 0, diverged: None };
    match journal.install(&at.shard, &install).await.expect("an answer") {
        Installed::Ready => (at, None),
        Installed::Recover(found) => {
            journal.resume(&at, &install).await.expect("resumed");
            (at, Some(found))
        }
        Installed::Refused => panic!("epoch {epoch} was refused"),
    }
}

pub(crate) async fn accept(journal: &RedisJournal, changes: &[Accept]) -> Result<Accepted> {
    journal.accept(&shard(), changes, ROOM, Tokio.now() + Duration::from_secs(60)).await
}

/// Accepted, with the last version.
pub(crate) async fn accepted(journal: &RedisJournal, changes: &[Accept]) -> Version {
    match accept(journal, changes).await {
        Ok(Accepted::As { versions, .. }) => *versions.last().expect("one per change"),
        other => panic!("not accepted: {other:?}"),
    }
}

pub(crate) async fn claim(journal: &RedisJournal, at: &At) -> Claimed {
    journal.claim(at, 0, ALL).await.expect("an answer").expect("a batch")
}

pub(crate) async fn look(journal: &RedisJournal, name: &str) -> Result<Lookup> {
    Ok(journal.get(&[post(name)]).await?.remove(0))
}

pub(crate) async fn became(journal: &RedisJournal, name: &str, inc: u64, version: Version) -> Settled {
    journal.settled(&shard(), inc, &[(post(name), version)]).await.expect("an answer").remove(0)
}

pub(crate) fn dirty(text: &str) -> Lookup {
    Lookup::Dirty(value(text))
}

/// Refused, because the shard is not installed on this server, or not in this epoch.
pub(crate) fn fenced<T: std::fmt::Debug>(result: Result<T>) {
    let error = refused(result);
    assert_eq!((error.kind(), error.outcome()), (Kind::Fenced, Outcome::NotApplied), "{error}");
}

/// All that a shard refuses while it is not installed.
pub(crate) async fn all_fenced(journal: &RedisJournal, at: &At) {
    use writeway_core::cache::{Ask, Fill};
    use writeway_core::journal::BatchId;

    let (k, none) = (post("1"), BatchId::default());
    fenced(look(journal, "1").await);
    fenced(journal.lease(&[Ask { key: k.clone(), id: id(1), discard: false }], HOLD).await);
    fenced(journal.fill(&[Fill { key: k.clone(), lease: id(1), entry: value("x"), ttl: TTL }]).await);
    fenced(accept(journal, &[put("1", "x")]).await);
    fenced(journal.count(&[(at.shard.clone(), vec![k.clone()])]).await);
    fenced(journal.settled(&at.shard, at.epoch, &[(k.clone(), Version::default())]).await);
    fenced(journal.redrive(&at.shard, &[(k.clone(), Version::default())], ROOM).await);
    fenced(journal.discard(&at.shard, &[(k.clone(), Version::default())]).await);
    flusher_fenced(journal, at).await;
    fenced(journal.dirty(at, 0).await);
    fenced(journal.supersede(at, &[k], None).await);
    fenced(journal.release(at, none, writeway_core::journal::Release::Drop(&[])).await);
    let install = Install { identity: Default::default(), epoch: at.epoch, batch: 0, diverged: None };
    fenced(journal.resume(at, &install).await);
}

/// All that a flusher of a past epoch is refused.
pub(crate) async fn flusher_fenced(journal: &RedisJournal, at: &At) {
    let none = writeway_core::journal::BatchId::default();
    fenced(journal.claim(at, 0, ALL).await);
    fenced(journal.acknowledge(at, none, &[ack("1", "x")]).await);
    let park = Park { keys: &[post("1")], reason: Reason::Damaged, cause: "a cause" };
    fenced(journal.park(at, none, park).await);
    fenced(journal.split(at, none, 1).await);
    fenced(journal.delay(at, none, TTL, true).await);
    fenced(journal.ended(at, none).await);
}
