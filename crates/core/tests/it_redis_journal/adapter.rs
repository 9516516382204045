//! What every call of the journal answers on a real server.

use std::time::Duration;

use writeway_core::cache::{Ask, Entries, Fill, Lease, Lookup};
use writeway_core::entry::{DIRTY, FORMAT, MAGIC};
use writeway_core::error::{Kind, Outcome};
use writeway_core::journal::{
    Accept, Accepted, Ack, At, BatchId, Bound, Bounds, Claimed, Found, Install, Installed, Journal, PAGE, Park, Reason, Release,
    Settled, Shard, Status, Version,
};
use writeway_core::runtime::{Runtime, Tokio};

use crate::redis_support::*;
use crate::shard::*;

#[tokio::test]
async fn a_change_goes_round_from_accept_to_acknowledge() {
    let Some((journal, ..)) = fresh("round").await else { return };
    let (at, _) = open(&journal, 1).await;
    let both = [put("1", "ada"), put("2", "bob")];
    let bytes = 2 * both[0].value.len() as u64;
    let versions = vec![version(1, 1), version(1, 2)];
    let as_they_are = Accepted::As { versions, inc: 1, dirty: 2, dirty_bytes: bytes };
    assert_eq!(accept(&journal, &both).await.ok(), Some(as_they_are));
    assert_eq!(look(&journal, "1").await.ok(), Some(dirty("ada")));
    let ask = Ask { key: post("1"), id: id(1), discard: true };
    assert_eq!(journal.lease(std::slice::from_ref(&ask), HOLD).await.ok(), Some(vec![Lease::Dirty(value("ada"))]));
    assert_eq!(became(&journal, "1", 1, version(1, 1)).await, Settled::Pending);

    let batch = claim(&journal, &at).await;
    assert_eq!((batch.id, batch.whole), (BatchId { epoch: 1, batch: 1 }, true));
    let items: Vec<_> = batch.items.iter().map(|item| (item.key.clone(), item.version, item.value.clone())).collect();
    assert_eq!(items, [(post("1"), version(1, 1), value("ada")), (post("2"), version(1, 2), value("bob"))]);
    assert_eq!(accepted(&journal, &[put("2", "eve")]).await, version(1, 3));
    let again = Claimed { tries: 1, ..batch.clone() };
    assert_eq!(claim(&journal, &at).await, again, "frozen: a later put does not slip in");
    let Status { dirty: late, open, dead, version: last, oldest, .. } = journal.status(&at.shard).await.expect("a status");
    assert_eq!((late, open, dead, last), (1, 2, 0, version(1, 3)));
    assert!(oldest.is_some());

    let other = BatchId { epoch: 1, batch: 2 };
    assert_eq!(journal.acknowledge(&at, other, &[ack("1", "Ada")]).await.ok(), Some(0), "not the open batch");
    assert_eq!(look(&journal, "1").await.ok(), Some(dirty("ada")));
    assert_eq!(journal.acknowledge(&at, batch.id, &[ack("2", "Bob")]).await.ok(), Some(1));
    assert_eq!(look(&journal, "2").await.ok(), Some(dirty("eve")), "the newer put stays");
    assert_eq!(journal.acknowledge(&at, batch.id, &[ack("1", "Ada")]).await.ok(), Some(0));
    assert_eq!(look(&journal, "1").await.ok(), Some(hit("Ada")));
    assert_eq!(became(&journal, "1", 1, version(1, 1)).await, Settled::Durable);
    assert_eq!(became(&journal, "2", 1, version(1, 3)).await, Settled::Pending);

    let next = claim(&journal, &at).await;
    assert_eq!((next.id.batch, next.items.len()), (2, 1));
    let gone = Ack { key: post("2"), clean: None };
    assert_eq!(journal.acknowledge(&at, next.id, &[gone]).await.ok(), Some(0));
    assert_eq!(look(&journal, "2").await.ok(), Some(Lookup::Miss), "the next read loads it");
    assert_eq!(journal.claim(&at, 0, ALL).await.ok(), Some(None));
}

#[tokio::test]
async fn until_it_is_opened_and_in_another_epoch_a_shard_is_fenced() {
    let Some((journal, ..)) = fresh("fenced").await else { return };
    let first = At { shard: shard(), epoch: 1 };
    all_fenced(&journal, &first).await;
    let status = journal.status(&first.shard).await.expect("a status");
    assert!(!status.installed && !status.identity.0.is_empty());
    assert_eq!(Status { identity: Default::default(), ..status.clone() }, Status::default(), "nothing is there");
    journal.invalidate(&[post("1")]).await.expect("removes nothing that SQL lacks");

    let install = Install { identity: status.identity.clone(), epoch: 1, batch: 0, diverged: None };
    let elsewhere = Install { identity: Default::default(), ..install.clone() };
    assert_eq!(journal.install(&first.shard, &elsewhere).await.ok(), Some(Installed::Refused));
    assert_eq!(journal.install(&first.shard, &install).await.ok(), Some(Installed::Recover(Found::default())));
    fenced(accept(&journal, &[put("1", "x")]).await);
    fenced(look(&journal, "1").await);
    assert_eq!(journal.dirty(&first, 0).await.ok(), Some(vec![]));
    journal.resume(&first, &install).await.expect("resumed");
    assert!(journal.status(&first.shard).await.expect("a status").installed);
    assert_eq!(journal.install(&first.shard, &install).await.ok(), Some(Installed::Refused), "not newer");

    accepted(&journal, &[put("1", "x")]).await;
    let batch = claim(&journal, &first).await;
    let (second, found) = open(&journal, 2).await;
    assert_eq!(found, None, "the same server: it goes on");
    flusher_fenced(&journal, &first).await;
    assert_eq!(claim(&journal, &second).await, Claimed { tries: 1, ..batch }, "under the name under which it was frozen");
    assert_eq!(accepted(&journal, &[put("2", "y")]).await, version(2, 2));
}

#[tokio::test]
async fn bounds_lateness_and_foreign_keys_are_answers() {
    let Some((journal, mut raw, prefix)) = fresh("bounds").await else { return };
    let (at, _) = open(&journal, 1).await;
    accepted(&journal, &[put("1", "x")]).await;
    let minute = || Tokio.now() + Duration::from_secs(60);
    let changes = [put("2", "y")];
    let full = async |bounds| journal.accept(&at.shard, &changes, bounds, minute()).await.ok();
    assert_eq!(full(Bounds { keys: 1, ..ROOM }).await, Some(Accepted::Full(Bound::Keys)));
    assert_eq!(full(Bounds { bytes: 20, ..ROOM }).await, Some(Accepted::Full(Bound::Bytes)));
    claim(&journal, &at).await;
    assert_eq!(full(Bounds { keys: 1, ..ROOM }).await, Some(Accepted::Full(Bound::Keys)), "the open batch counts");
    let oldest = async || journal.status(&at.shard).await.ok().and_then(|status| status.oldest);
    eventually("a millisecond", async || oldest().await.filter(|age| !age.is_zero())).await;
    assert_eq!(full(Bounds { age: Duration::ZERO, ..ROOM }).await, Some(Accepted::Full(Bound::Age)), "the open batch's first");

    let past = Tokio.now().saturating_sub(Duration::from_millis(1));
    assert_eq!(journal.accept(&at.shard, &changes, ROOM, past).await.ok(), Some(Accepted::Late));
    let newer = [MAGIC, b'V', FORMAT + 1, 0];
    let _: () = redis::Cmd::set(format!("{prefix}:{{posts:0}}:e:2"), &newer).query_async(&mut raw).await.expect("set");
    assert_eq!(accept(&journal, &[put("3", "z"), put("2", "y")]).await.ok(), Some(Accepted::Foreign));
    assert_eq!(refused(journal.invalidate(&[post("2")]).await).kind(), Kind::Rejected);
    assert_eq!(look(&journal, "3").await.ok(), Some(Lookup::Miss), "all or none");
    assert_eq!(journal.status(&at.shard).await.expect("a status").version, version(1, 1));
    assert!(matches!(journal.accept(&at.shard, &[put("3", "z")], ROOM, Duration::MAX).await, Ok(Accepted::As { .. })));
}

#[tokio::test]
async fn a_large_batch_goes_page_by_page_and_no_call_takes_more_than_one() {
    let Some((journal, ..)) = fresh("pages").await else { return };
    let (at, _) = open(&journal, 1).await;
    let changes: Vec<Accept> = (0..2 * PAGE + 50).map(|n| put(format!("{n:04}"), "x")).collect();
    let keys: Vec<_> = changes.iter().map(|change| change.key.clone()).collect();
    for page in changes.chunks(PAGE) {
        accepted(&journal, page).await;
    }
    let mut pages = Vec::new();
    for n in 0..3 {
        pages.push(journal.claim(&at, n * PAGE as u64, ALL).await.expect("an answer").expect("a page"));
    }
    let seen: Vec<_> = pages.iter().map(|page| (page.id.batch, page.items.len(), page.whole)).collect();
    assert_eq!(seen, [(1, PAGE, false), (1, PAGE, false), (1, 50, true)]);
    assert_eq!(pages.iter().flat_map(|page| &page.items).map(|item| item.key.clone()).collect::<Vec<_>>(), keys);
    for (n, page) in pages.iter().enumerate() {
        let again = journal.claim(&at, (n * PAGE) as u64, ALL).await.expect("an answer").expect("a page");
        assert_eq!(again.items, page.items);
    }

    let batch = pages[0].id;
    let acks: Vec<Ack> = keys.iter().map(|key| Ack { key: key.clone(), clean: None }).collect();
    let versions: Vec<_> = keys.iter().map(|key| (key.clone(), version(1, 1))).collect();
    let errors = [
        refused(accept(&journal, &changes).await),
        refused(journal.settled(&at.shard, 1, &versions).await),
        refused(journal.acknowledge(&at, batch, &acks).await),
        refused(journal.park(&at, batch, Park { keys: &keys, reason: Reason::Damaged, cause: "a cause" }).await),
        refused(journal.supersede(&at, &keys, None).await),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied), "{error}");
    }
    let mut left = Vec::new();
    for page in acks.chunks(PAGE) {
        left.push(journal.acknowledge(&at, batch, page).await.expect("acknowledged"));
    }
    assert_eq!(left, [PAGE as u64 + 50, 50, 0]);
}

#[tokio::test]
async fn what_is_set_aside_is_listed_page_by_page_and_says_why() {
    let Some((journal, ..)) = fresh("dead").await else { return };
    let (at, _) = open(&journal, 1).await;
    let changes: Vec<Accept> = (0..PAGE + 50).map(|n| put(format!("{n:04}"), &n.to_string())).collect();
    for page in changes.chunks(PAGE) {
        accepted(&journal, page).await;
    }
    for n in 0..2 {
        journal.claim(&at, n * PAGE as u64, ALL).await.expect("an answer").expect("a page");
    }
    accepted(&journal, &[put("0000", "newer")]).await;
    let (batch, mut left) = (BatchId { epoch: 1, batch: 1 }, 0);
    for page in changes.chunks(PAGE) {
        let keys: Vec<_> = page.iter().map(|change| change.key.clone()).collect();
        left = journal
            .park(&at, batch, Park { keys: &keys, reason: Reason::Damaged, cause: "größer als erlaubt" })
            .await
            .expect("parked");
    }
    assert_eq!(left, 0, "the batch has ended");
    assert_eq!(journal.status(&at.shard).await.expect("a status").dead, PAGE as u64 + 50);
    let first = journal.dead_letters(&at.shard, None).await.expect("a page");
    let second = journal
        .dead_letters(&at.shard, first.last().map(|letter| (letter.version, letter.key.clone())).as_ref())
        .await
        .expect("a page");
    assert_eq!((first.len(), second.len()), (PAGE, 50));
    for (n, letter) in first.iter().chain(&second).enumerate() {
        assert_eq!((&letter.key, &letter.value), (&changes[n].key, &changes[n].value));
        assert_eq!((letter.version, letter.cause.as_str()), (version(1, n as u64 + 1), "größer als erlaubt"));
    }
    assert_eq!(
        journal.dead_letters(&at.shard, second.last().map(|letter| (letter.version, letter.key.clone())).as_ref()).await.ok(),
        Some(vec![])
    );
    assert_eq!(became(&journal, "0001", 1, version(1, 2)).await, Settled::Dead);
    assert_eq!(look(&journal, "0001").await.ok(), Some(Lookup::Miss));
    assert_eq!(look(&journal, "0000").await.ok(), Some(dirty("newer")), "stays");
}

#[tokio::test]
async fn a_shard_that_another_server_knows_is_compared_with_sql_before_it_goes_on() {
    let Some((journal, mut raw, prefix)) = fresh("recovery").await else { return };
    let (first, _) = open(&journal, 1).await;
    accepted(&journal, &[put("1", "frozen"), put("2", "frozen")]).await;
    let batch = claim(&journal, &first).await.id;
    accepted(&journal, &[put("2", "newer"), put("3", "superseded"), put("4", "ambiguous"), put("5", "stays")]).await;
    let clean = Ask { key: post("6"), id: id(6), discard: false };
    assert_eq!(journal.lease(std::slice::from_ref(&clean), HOLD).await.ok(), Some(vec![Lease::Granted(id(6))]));
    journal.fill(&[Fill { key: post("6"), lease: id(6), entry: value("clean"), ttl: TTL }]).await.expect("filled");
    assert_eq!(look(&journal, "6").await.ok(), Some(hit("clean")));
    // As in a copy of that server from which this one was restored.
    tell(&mut raw, &["HSET", &format!("{prefix}:{{posts:0}}:meta"), "identity", "another"]).await.expect("set");
    all_fenced(&journal, &first).await;

    let identity = journal.status(&first.shard).await.expect("a status").identity;
    let (at, install) = (At { epoch: 2, ..first.clone() }, Install { identity, epoch: 2, batch: 7, diverged: None });
    let found = Found { epoch: 1, batch: 1, open: Some(batch), first: 1, whole: true, dirty: 4 };
    assert_eq!(journal.install(&at.shard, &install).await.ok(), Some(Installed::Recover(found)));
    let dirty_keys = journal.dirty(&at, 0).await.expect("keys");
    assert_eq!(dirty_keys, ["2", "3", "4", "5"].map(post));
    assert_eq!(journal.dirty(&at, 3).await.ok(), Some(vec![post("5")]));
    fenced(journal.dirty(&first, 0).await);
    fenced(look(&journal, "6").await);
    journal.supersede(&at, &[post("3")], None).await.expect("dropped");
    journal.supersede(&at, &[post("4")], Some("ambiguous")).await.expect("set aside");
    let other = BatchId { epoch: 2, ..batch };
    assert_eq!(journal.release(&at, other, Release::Drop(&[])).await.ok(), Some(0), "another batch");
    assert_eq!(journal.release(&at, batch, Release::Dissolve).await.ok(), Some(0), "none is left");
    journal.resume(&at, &install).await.expect("resumed");

    let looked = journal.get(&["1", "2", "3", "4", "5", "6"].map(post)).await.expect("read");
    let miss = Lookup::Miss;
    assert_eq!(looked, [dirty("frozen"), dirty("newer"), miss.clone(), miss.clone(), dirty("stays"), miss]);
    let letters = journal.dead_letters(&at.shard, None).await.expect("letters");
    assert_eq!(
        letters.iter().map(|letter| (&letter.key, letter.cause.as_str())).collect::<Vec<_>>(),
        [(&post("4"), "ambiguous")]
    );
    assert_eq!(became(&journal, "3", 1, version(1, 4)).await, Settled::Unknown, "accepted before the loss");
    assert_eq!(became(&journal, "2", 1, version(1, 2)).await, Settled::Pending, "the newer change stands for both");
    let next = claim(&journal, &at).await;
    assert_eq!((next.id, next.items.len()), (BatchId { epoch: 2, batch: 8 }, 3), "no number is given twice");
}

#[tokio::test]
async fn a_change_that_cannot_be_read_is_never_a_miss() {
    let Some((journal, mut raw, prefix)) = fresh("unreadable").await else { return };
    let (at, _) = open(&journal, 1).await;
    accepted(&journal, &[put("newer", "x"), put("cut", "x"), put("good", "x")]).await;
    let full = |name: &str| format!("{prefix}:{{posts:0}}:e:{name}");
    let newer = [MAGIC, DIRTY, FORMAT + 1, 1, 2, 3].to_vec();
    for (name, bytes) in [("newer", &newer), ("cut", &vec![MAGIC, DIRTY, FORMAT, 0, 0])] {
        let _: () = redis::Cmd::set(full(name), bytes).query_async(&mut raw).await.expect("set");
    }
    let keys = ["newer", "cut", "good"].map(post);
    let found = [Lookup::Dirty(newer.clone()), Lookup::Dirty(vec![]), dirty("x")];
    assert_eq!(journal.get(&keys).await.ok(), Some(found.to_vec()));
    assert_eq!(look(&journal, "newer").await.ok(), Some(found[0].clone()));
    let asks: Vec<_> = keys.iter().map(|key| Ask { key: key.clone(), id: id(1), discard: true }).collect();
    let leases = [newer.clone(), vec![], value("x")].map(Lease::Dirty);
    assert_eq!(journal.lease(&asks, HOLD).await.ok(), Some(leases.to_vec()));
    assert_eq!(accept(&journal, &[put("newer", "y")]).await.ok(), Some(Accepted::Foreign), "hands off");
    assert_eq!(refused(journal.invalidate(&[post("newer")]).await).kind(), Kind::Rejected);
    journal.invalidate(&[post("cut")]).await.expect("kept");
    let schema_1 = Accept { schema: 1, ..put("other", "x") };
    accepted(&journal, &[schema_1]).await;
    let claimed: Vec<_> = claim(&journal, &at).await.items.into_iter().map(|item| (item.key, item.value)).collect();
    assert_eq!(claimed, [(post("cut"), vec![]), (post("good"), value("x"))], "the others are for a process that can read them");
    assert_eq!(journal.status(&at.shard).await.expect("a status").dirty, 2);
    accepted(&journal, &[put("cut", "repaired")]).await;
    assert_eq!(look(&journal, "cut").await.ok(), Some(dirty("repaired")));
}

#[tokio::test]
async fn other_types_of_keys_are_neither_read_nor_overwritten() {
    let Some((journal, mut raw, prefix)) = fresh("type").await else { return };
    let (at, _) = open(&journal, 1).await;
    accepted(&journal, &[put("frozen", "x")]).await;
    let batch = claim(&journal, &at).await.id;
    accepted(&journal, &[put("dirty", "x")]).await;
    let full = |name: &str| format!("{prefix}:{{posts:0}}:{name}");
    for name in ["e:list", "e:frozen", "e:dirty"] {
        tell(&mut raw, &["DEL", &full(name)]).await.expect("deleted");
        tell(&mut raw, &["RPUSH", &full(name), "x"]).await.expect("pushed");
    }
    assert_eq!(look(&journal, "list").await.ok(), Some(Lookup::Miss));
    assert_eq!(journal.get(&[post("list"), post("list")]).await.ok(), Some(vec![Lookup::Miss; 2]));
    let ask = Ask { key: post("list"), id: id(1), discard: false };
    assert_eq!(journal.lease(&[ask], HOLD).await.ok(), Some(vec![Lease::Bypass]));
    journal.fill(&[Fill { key: post("list"), lease: id(1), entry: value("x"), ttl: TTL }]).await.expect("ignored");
    for error in [
        refused(accept(&journal, &[put("good", "x"), put("list", "x")]).await),
        refused(journal.invalidate(&[post("list"), post("good")]).await),
    ] {
        assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied));
        assert!(error.to_string().contains("namespace {posts"), "{error}");
    }
    assert_eq!(journal.acknowledge(&at, batch, &[ack("frozen", "x")]).await.ok(), Some(0));
    assert_eq!(journal.claim(&at, 0, ALL).await.ok(), Some(None), "nothing is left to flush");
    for name in ["e:list", "e:frozen", "e:dirty"] {
        let left: i64 = redis::cmd("LLEN").arg(full(name)).query_async(&mut raw).await.expect("still a list");
        assert_eq!(left, 1);
    }
    tell(&mut raw, &["SET", &full("meta"), "x"]).await.expect("set");
    assert_eq!(refused(journal.status(&at.shard).await).kind(), Kind::Invalid);
    assert_eq!(refused(accept(&journal, &[put("good", "x")]).await).kind(), Kind::Invalid);
    assert_eq!(refused(look(&journal, "good").await).kind(), Kind::Invalid);
}

#[tokio::test]
async fn keys_of_other_shards_and_of_no_shard_are_told_apart() {
    let Some((journal, ..)) = fresh("shards").await else { return };
    let (at, _) = open(&journal, 1).await;
    let other = Shard { number: 1, ..shard() };
    let theirs = [other.stem().as_slice(), b"e:1"].concat();
    accepted(&journal, &[put("1", "x")]).await;
    fenced(journal.get(&[post("1"), theirs.clone()]).await);
    let install =
        Install { identity: journal.status(&other).await.expect("a status").identity, epoch: 5, batch: 0, diverged: None };
    journal.install(&other, &install).await.expect("installed");
    journal.resume(&At { shard: other.clone(), epoch: 5 }, &install).await.expect("resumed");
    let found = journal.get(&[theirs.clone(), post("1"), theirs.clone()]).await.ok();
    assert_eq!(found, Some(vec![Lookup::Miss, dirty("x"), Lookup::Miss]), "in the order asked");

    let foreign = Accept { key: theirs.clone(), ..put("1", "y") };
    for error in [
        refused(accept(&journal, &[foreign]).await),
        refused(
            journal
                .park(
                    &at,
                    BatchId::default(),
                    Park { keys: std::slice::from_ref(&theirs), reason: Reason::Damaged, cause: "a cause" },
                )
                .await,
        ),
        refused(journal.dead_letters(&at.shard, Some(&(Version::default(), theirs.clone()))).await),
        refused(journal.get(&[b"posts:1".to_vec()]).await),
        refused(journal.invalidate(&[b"{posts:0}:meta".to_vec()]).await),
    ] {
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
    let hold = Duration::from_secs(60);
    assert_eq!(journal.lead(&at.shard, id(1), hold).await.ok(), Some(true));
    assert_eq!(journal.lead(&at.shard, id(2), hold).await.ok(), Some(false));
    assert_eq!(journal.lead(&other, id(2), hold).await.ok(), Some(true));
    assert_eq!(journal.lead(&at.shard, id(1), Duration::ZERO).await.ok(), Some(true));
    assert_eq!(journal.lead(&at.shard, id(2), hold).await.ok(), Some(true), "given up");
}
