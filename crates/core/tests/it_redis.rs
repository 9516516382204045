//! The cache port on a real Redis: what every call answers.

mod redis_support;

use std::time::Duration;

use redis_support::*;
use writeway_core::cache::{Ask, Barriers, BeginBy, Declaration, Entries, Fill, Finish, Finished, Lease, Lookup};
use writeway_core::entry::{BARRIER, FORMAT, MAGIC};
use writeway_core::error::{Kind, Outcome};
use writeway_core::redis::Redis;
use writeway_core::runtime::{Runtime, Tokio};

async fn connect(test: &str) -> Option<Redis> {
    let (url, prefix) = shared(test)?;
    let redis = Redis::builder(url).prefix(prefix).response_timeout(Duration::from_secs(5)).connect().await.expect("a server");
    Some(redis)
}

#[tokio::test]
async fn a_key_goes_round_as_reader_and_writer_do_it() {
    let Some(redis) = connect("round").await else { return };
    let k = key("7");
    redis.invalidate(std::slice::from_ref(&k)).await.expect("voided");
    assert_eq!(get(&redis, &k).await.ok(), Some(Lookup::Miss));
    assert_eq!(lease(&redis, &k, 1).await.ok(), Some(Lease::Granted(id(1))));
    assert_eq!(lease(&redis, &k, 2).await.ok(), Some(Lease::Busy));
    fill(&redis, &k, 2, "not mine").await.expect("nothing happens");
    assert_eq!(get(&redis, &k).await.ok(), Some(Lookup::Miss));
    fill(&redis, &k, 1, "ada").await.expect("filled");
    assert_eq!(get(&redis, &k).await.ok(), Some(hit("ada")));
    assert_eq!(lease(&redis, &k, 2).await.ok(), Some(Lease::Hit(value("ada"))));

    begin(&redis, &k, 5).await.expect("placed");
    assert_eq!(get(&redis, &k).await.ok(), Some(Lookup::Miss));
    assert_eq!(lease(&redis, &k, 2).await.ok(), Some(Lease::Bypass));
    assert_eq!(finish(&redis, &k, 5, Some("bob")).await.ok(), Some(Finished::Published));
    assert_eq!(get(&redis, &k).await.ok(), Some(hit("bob")));

    begin(&redis, &k, 5).await.expect("placed");
    begin(&redis, &k, 6).await.expect("placed beside it");
    assert_eq!(finish(&redis, &k, 5, Some("eve")).await.ok(), Some(Finished::Voided));
    assert_eq!(finish(&redis, &k, 6, Some("eve")).await.ok(), Some(Finished::Voided), "they overlapped");
    assert_eq!(get(&redis, &k).await.ok(), Some(Lookup::Miss));
}

#[tokio::test]
async fn many_keys_are_answered_in_the_order_asked() {
    let Some(redis) = connect("many").await else { return };
    // More than two pages, the last one short.
    let keys: Vec<_> = (0..1234).map(|n| key(n.to_string())).collect();
    redis.invalidate(&keys).await.expect("voided");
    let asks: Vec<_> = keys.iter().map(|k| Ask { key: k.clone(), id: id(1), discard: false }).collect();
    assert_eq!(redis.lease(&asks, HOLD).await.ok(), Some(vec![Lease::Granted(id(1)); keys.len()]));
    let third = |n: &usize| n.is_multiple_of(3);
    let fills: Vec<_> = (0..keys.len())
        .filter(third)
        .map(|n| Fill { key: keys[n].clone(), lease: id(1), entry: value(&n.to_string()), ttl: TTL })
        .collect();
    redis.fill(&fills).await.expect("filled");
    let expected: Vec<_> = (0..keys.len()).map(|n| if third(&n) { hit(&n.to_string()) } else { Lookup::Miss }).collect();
    assert_eq!(redis.get(&keys).await.ok(), Some(expected));
    redis.begin(&keys, id(2), soon()).await.expect("placed");
    let ends: Vec<_> = keys.iter().map(|k| Finish { key: k.clone(), publish: None }).collect();
    assert_eq!(redis.finish(&ends, id(2)).await.ok(), Some(vec![Finished::Voided; keys.len()]));
    assert_eq!(redis.get(&[]).await.ok(), Some(vec![]));
    redis.begin(&[], id(2), soon()).await.expect("nothing to do");
}

#[tokio::test]
async fn a_begin_that_comes_too_late_is_refused() {
    let Some(redis) = connect("late").await else { return };
    let k = key("late");
    let by = BeginBy { within: TTL, not_after: Tokio.now().saturating_sub(Duration::from_millis(1)) };
    let late = refused(redis.begin(std::slice::from_ref(&k), id(1), by).await);
    assert_eq!((late.kind(), late.outcome()), (Kind::Unavailable, Outcome::NotApplied));
    assert_eq!(lease(&redis, &k, 2).await.ok(), Some(Lease::Granted(id(2))), "nothing stands there");
    let by = BeginBy { within: TTL, not_after: Duration::MAX };
    redis.begin(std::slice::from_ref(&k), id(1), by).await.expect("no limit is a limit far away");
    finish(&redis, &k, 1, None).await.expect("ended");
}

#[tokio::test]
async fn other_types_of_keys_are_neither_read_nor_overwritten() {
    let Some((url, prefix)) = shared("type") else { return };
    let redis = Redis::builder(&url).prefix(&prefix).connect().await.expect("a server");
    let (list, good) = (key("list"), key("good"));
    let full = format!("{prefix}:users:list");
    let mut raw = raw(&url).await;
    tell(&mut raw, &["DEL", &full]).await.expect("deleted");
    tell(&mut raw, &["RPUSH", &full, "x"]).await.expect("pushed");

    assert_eq!(get(&redis, &list).await.ok(), Some(Lookup::Miss));
    assert_eq!(redis.get(&[list.clone(), list.clone()]).await.ok(), Some(vec![Lookup::Miss; 2]));
    assert_eq!(lease(&redis, &list, 1).await.ok(), Some(Lease::Bypass));
    fill(&redis, &list, 1, "x").await.expect("ignored");
    for error in [
        refused(begin(&redis, &list, 1).await),
        refused(redis.begin(&[good.clone(), list.clone()], id(1), soon()).await),
        refused(redis.invalidate(&[list.clone(), good.clone()]).await),
    ] {
        assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotApplied));
        assert!(error.to_string().contains("namespace users"), "{error}");
    }
    assert_eq!(finish(&redis, &list, 1, Some("x")).await.ok(), Some(Finished::Voided));
    let left: i64 = ::redis::cmd("LLEN").arg(&full).query_async(&mut raw).await.expect("still a list");
    assert_eq!(left, 1);
    tell(&mut raw, &["DEL", &full]).await.expect("deleted");
}

#[tokio::test]
async fn another_release_is_left_alone_and_a_full_barrier_overloads() {
    let Some((url, prefix)) = shared("foreign") else { return };
    let redis = Redis::builder(&url).prefix(&prefix).connect().await.expect("a server");
    let mut raw = raw(&url).await;
    let newer = [MAGIC, b'V', FORMAT + 1, 0];
    let _: () = ::redis::Cmd::set(format!("{prefix}:users:new"), &newer).query_async(&mut raw).await.expect("set");
    let k = key("new");
    assert_eq!(get(&redis, &k).await.ok(), Some(Lookup::Miss));
    assert_eq!(lease(&redis, &k, 1).await.ok(), Some(Lease::Bypass));
    assert_eq!(refused(begin(&redis, &k, 1).await).kind(), Kind::Rejected);
    assert_eq!(refused(redis.invalidate(&[k]).await).kind(), Kind::Rejected);

    let mut full = vec![MAGIC, BARRIER, FORMAT, 0];
    for n in 0..64_u8 {
        full.extend([n; 16]);
        full.extend((u64::MAX >> 1).to_be_bytes());
    }
    let _: () = ::redis::Cmd::set(format!("{prefix}:users:full"), &full).query_async(&mut raw).await.expect("set");
    assert_eq!(refused(begin(&redis, &key("full"), 99).await).kind(), Kind::Overloaded);
    let _: () = ::redis::Cmd::del(&[format!("{prefix}:users:new"), format!("{prefix}:users:full")])
        .query_async(&mut raw)
        .await
        .expect("deleted");
}

#[tokio::test]
async fn prefixes_are_apart() {
    let (Some(one), Some(two)) = (connect("one").await, connect("two").await) else { return };
    let k = key("apart");
    assert_eq!(write(&one, &k, "mine").await.ok(), Some(Finished::Published));
    two.invalidate(std::slice::from_ref(&k)).await.expect("voided");
    assert_eq!(get(&one, &k).await.ok(), Some(hit("mine")));
    assert_eq!(get(&two, &k).await.ok(), Some(Lookup::Miss));
}

#[tokio::test]
async fn a_namespace_has_one_mode() {
    let Some(redis) = connect("mode").await else { return };
    let declaration = |mode| Declaration { namespace: "users".into(), mode, no_eviction: true, persistence: false };
    redis.declare(&declaration("strict")).await.expect("recorded");
    redis.declare(&declaration("strict")).await.expect("the same again");
    let other = refused(redis.declare(&declaration("eventual")).await);
    assert_eq!(other.kind(), Kind::Invalid);
    assert!(other.to_string().contains("users is recorded as strict"), "{other}");
}

#[tokio::test]
async fn scan_finds_every_key_of_a_stem_and_no_other() {
    let Some(redis) = connect("scan").await else { return };
    redis
        .declare(&Declaration { namespace: "users".into(), mode: "strict", no_eviction: false, persistence: false })
        .await
        .expect("recorded");
    let mut keys: Vec<_> = (0..1500).map(|n| key(n.to_string())).collect();
    keys.push(key("a*b?[c]\\"));
    let others = [b"user:x".to_vec(), b"users2:x".to_vec(), b"users:*".to_vec()];
    redis.begin(&[&keys[..], &others].concat(), id(1), soon()).await.expect("placed");
    let mut found = all(&redis, b"users:").await;
    assert!(found.remove(&b"users:*"[..]), "a star is a key like others");
    assert_eq!(found, keys.iter().cloned().collect());
    assert_eq!(all(&redis, b"users:*").await, [b"users:*".to_vec()].into(), "and no pattern");
    assert_eq!(all(&redis, b"users:a*b?[c]\\").await.len(), 1);
    let ends: Vec<_> = keys.iter().chain(&others).map(|k| Finish { key: k.clone(), publish: None }).collect();
    redis.finish(&ends, id(1)).await.expect("ended");
    assert!(all(&redis, b"users:").await.is_empty());
}

async fn all(redis: &Redis, stem: &[u8]) -> std::collections::BTreeSet<Vec<u8>> {
    let (mut cursor, mut found) = (0, std::collections::BTreeSet::new());
    loop {
        let (next, page) = redis.scan(stem, cursor).await.expect("a page");
        found.extend(page);
        if next == 0 {
            return found;
        }
        cursor = next;
    }
}

#[tokio::test]
async fn a_handle_shows_no_password() {
    let Some((url, prefix)) = shared("debug") else { return };
    let Some((head, tail)) = url.split_once("://").filter(|(_, tail)| !tail.contains('@')) else { return };
    // A server without passwords takes any for its default user.
    let redis = Redis::builder(format!("{head}://default:secret@{tail}")).prefix(prefix).connect().await.expect("a server");
    assert!(!format!("{redis:?} {redis:#?}").contains("secret"));
}
