//! What readers are promised of a cache.

use std::collections::BTreeSet;

use writeway_core::cache::{Ask, Declaration, Fill, Finish, Finished, Hold, Lease, Lookup};
use writeway_core::error::Kind;

use super::subject::value;
use super::{CacheSubject, Check, expect, ok, refused};
use crate::explorer::{Verdict, Violation};

pub(super) const CHECKS: &[Check<CacheSubject>] = &[
    Check { name: "answers are in the order of the questions", unfit: |_| None, run: |s| Box::pin(order(s)) },
    Check { name: "no question is answered by nothing", unfit: |_| None, run: |s| Box::pin(nothing_asked(s)) },
    Check { name: "a fill needs its own lease", unfit: |_| None, run: |s| Box::pin(fill_needs_lease(s)) },
    Check { name: "a held lease is busy", unfit: |_| None, run: |s| Box::pin(busy(s)) },
    Check { name: "a lease taken over keeps its id", unfit: |_| None, run: |s| Box::pin(takeover(s)) },
    Check { name: "a lease that is gone fills nothing", unfit: |_| None, run: |s| Box::pin(lease_expires(s)) },
    Check { name: "a lease on a value is a hit", unfit: |_| None, run: |s| Box::pin(lease_hits(s)) },
    Check { name: "a discarded value is replaced", unfit: |_| None, run: |s| Box::pin(discard(s)) },
    Check { name: "a value lives for its time", unfit: |_| None, run: |s| Box::pin(expires(s)) },
    Check { name: "any bytes are kept as they are", unfit: |_| None, run: |s| Box::pin(binary(s)) },
    Check { name: "a scan returns every key of its stem", unfit: |_| None, run: |s| Box::pin(scan(s)) },
    Check { name: "a scan that removes goes through all", unfit: |_| None, run: |s| Box::pin(scan_and_remove(s)) },
    Check { name: "a namespace has one mode", unfit: |_| None, run: |s| Box::pin(declare(s)) },
];

async fn order(s: &CacheSubject) -> Verdict {
    let keys = (0..4).map(|n| s.key("order", n)).collect::<Vec<_>>();
    let ids = keys.iter().map(|_| s.id()).collect::<Vec<_>>();
    // Every other key gets a value of its own.
    for n in [1, 3] {
        s.store(&keys[n], &value(&n.to_string())).await?;
    }
    let hit = |n: usize| Lookup::Hit(value(&n.to_string()));
    let found = ok("get", s.cache.get(&keys).await)?;
    expect("get", found, vec![Lookup::Miss, hit(1), Lookup::Miss, hit(3)])?;
    let asks = keys.iter().zip(&ids).map(|(key, &id)| Ask { key: key.clone(), id, discard: false }).collect::<Vec<_>>();
    let leases = ok("lease", s.cache.lease(&asks, s.long_hold()).await)?;
    let lease_hit = |n: usize| Lease::Hit(value(&n.to_string()));
    expect("lease", leases, vec![Lease::Granted(ids[0]), lease_hit(1), Lease::Granted(ids[2]), lease_hit(3)])?;
    let fill = |n: usize| Fill { key: keys[n].clone(), lease: ids[n], entry: value(&n.to_string()), ttl: s.long() };
    ok("fill", s.cache.fill(&[fill(2), fill(0)]).await)?;
    expect("get after the fills", ok("get", s.cache.get(&keys).await)?, (0..4).map(hit).collect())?;

    let token = s.id();
    ok("begin", s.begin(&keys[2], token, s.long()).await)?;
    let end = |n: usize| Finish { key: keys[n].clone(), publish: Some((value("new"), s.long())) };
    let finished = ok("finish", s.cache.finish(&[end(1), end(2), end(3)], token).await)?;
    expect("finish", finished, vec![Finished::Voided, Finished::Published, Finished::Voided])
}

async fn nothing_asked(s: &CacheSubject) -> Verdict {
    expect("get", ok("get", s.cache.get(&[]).await)?, vec![])?;
    expect("lease", ok("lease", s.cache.lease(&[], s.long_hold()).await)?, vec![])?;
    ok("fill", s.cache.fill(&[]).await)?;
    ok("invalidate", s.cache.invalidate(&[]).await)?;
    expect("finish", ok("finish", s.cache.finish(&[], s.id()).await)?, vec![])
}

async fn fill_needs_lease(s: &CacheSubject) -> Verdict {
    let (key, id, other) = (s.key("fill", 0), s.id(), s.id());
    s.fill(&key, id, &value("1")).await?;
    expect("get after a fill without a lease", s.get(&key).await?, None)?;
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))?;
    s.fill(&key, other, &value("2")).await?;
    expect("get after a fill under another id", s.get(&key).await?, None)?;
    s.fill(&key, id, &value("3")).await?;
    expect("get after a fill under the lease", s.get(&key).await?, Some(value("3")))?;
    s.fill(&key, id, &value("4")).await?;
    expect("get after a second fill under the same lease", s.get(&key).await?, Some(value("3")))
}

async fn busy(s: &CacheSubject) -> Verdict {
    let (key, id) = (s.key("busy", 0), s.id());
    expect("first lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))?;
    expect("second lease", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Busy)?;
    expect("get", s.get(&key).await?, None)
}

async fn takeover(s: &CacheSubject) -> Verdict {
    let (key, id) = (s.key("takeover", 0), s.id());
    let hold = Hold { owner: s.unit, key: s.long() };
    expect("first lease", s.lease(&key, id, hold).await?, Lease::Granted(id))?;
    s.wait(1).await;
    expect("lease after its owner's time", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Granted(id))?;
    expect("lease right after", s.lease(&key, s.id(), hold).await?, Lease::Busy)?;
    s.fill(&key, id, &value("slow")).await?;
    expect("get after the slow loader's fill", s.get(&key).await?, Some(value("slow")))
}

async fn lease_expires(s: &CacheSubject) -> Verdict {
    let (key, id) = (s.key("lease-expires", 0), s.id());
    expect("lease", s.lease(&key, id, Hold { owner: s.unit / 2, key: s.unit }).await?, Lease::Granted(id))?;
    s.wait(1).await;
    s.fill(&key, id, &value("1")).await?;
    expect("get", s.get(&key).await?, None)?;
    let next = s.id();
    expect("lease", s.lease(&key, next, s.long_hold()).await?, Lease::Granted(next))
}

async fn lease_hits(s: &CacheSubject) -> Verdict {
    let key = s.key("lease-hits", 0);
    s.store(&key, &value("1")).await?;
    expect("lease", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Hit(value("1")))
}

async fn discard(s: &CacheSubject) -> Verdict {
    let (key, id) = (s.key("discard", 0), s.id());
    s.store(&key, &value("damaged")).await?;
    let ask = |discard| Ask { key: key.clone(), id, discard };
    let leases = ok("lease", s.cache.lease(&[ask(true)], s.long_hold()).await)?;
    expect("lease that discards", leases, vec![Lease::Granted(id)])?;
    expect("get", s.get(&key).await?, None)?;
    let leases = ok("lease", s.cache.lease(&[Ask { id: s.id(), ..ask(true) }], s.long_hold()).await)?;
    expect("a lease is nothing to discard", leases, vec![Lease::Busy])?;
    s.fill(&key, id, &value("good")).await?;
    expect("get after the fill", s.get(&key).await?, Some(value("good")))
}

async fn expires(s: &CacheSubject) -> Verdict {
    let (filled, published, id) = (s.key("expires", 0), s.key("expires", 1), s.id());
    expect("lease", s.lease(&filled, id, s.long_hold()).await?, Lease::Granted(id))?;
    let fill = Fill { key: filled.clone(), lease: id, entry: value("1"), ttl: s.unit * 2 };
    ok("fill", s.cache.fill(&[fill]).await)?;
    ok("begin", s.begin(&published, id, s.long()).await)?;
    let end = Finish { key: published.clone(), publish: Some((value("2"), s.unit * 2)) };
    expect("finish", ok("finish", s.cache.finish(&[end], id).await)?, vec![Finished::Published])?;
    expect("the filled one, before", s.get(&filled).await?, Some(value("1")))?;
    expect("the published one, before", s.get(&published).await?, Some(value("2")))?;
    s.wait(2).await;
    expect("the filled one, after", s.get(&filled).await?, None)?;
    expect("the published one, after", s.get(&published).await?, None)
}

async fn binary(s: &CacheSubject) -> Verdict {
    let key = s.key("binary", 0);
    let mut entry = value("");
    entry.extend((0..=u8::MAX).chain(0..=u8::MAX).chain(*b"\r\n$-1\r\n\0"));
    s.store(&key, &entry).await?;
    let token = s.id();
    let large = [entry, vec![b'x'; 100_000]].concat();
    ok("begin", s.begin(&key, token, s.long()).await)?;
    expect("finish", s.finish(&key, token, Some(&large)).await?, Finished::Published)?;
    Violation::unless(s.get(&key).await? == Some(large), "get", || "other bytes than were published".into())
}

async fn scanned(s: &CacheSubject, stem: &[u8], remove: bool) -> Result<BTreeSet<Vec<u8>>, Violation> {
    let (mut seen, mut cursor) = (BTreeSet::new(), 0);
    // Bounded: a cursor that never comes back to 0 is a failure, not a hang.
    for _ in 0..100_000 {
        let (next, keys) = ok("scan", s.cache.scan(stem, cursor).await)?;
        if remove {
            ok("invalidate", s.cache.invalidate(&keys).await)?;
        }
        seen.extend(keys);
        cursor = next;
        if cursor == 0 {
            return Ok(seen);
        }
    }
    Err(Violation { invariant: "scan", detail: "its cursor never comes back to 0".into() })
}

async fn scan(s: &CacheSubject) -> Verdict {
    let keys = (0..50).map(|n| s.key("scan", n)).collect::<BTreeSet<_>>();
    for key in &keys {
        s.store(key, &value("1")).await?;
    }
    // A name that begins like the stem, and characters that mean something to a pattern.
    s.store(&s.key("scan2", 0), &value("1")).await?;
    s.store(&s.key("sca", 0), &value("1")).await?;
    let stem = s.key("scan", 0);
    let stem = &stem[..stem.len() - 1];
    expect("scan", scanned(s, stem, false).await?, keys)?;
    s.store(&s.key("sc*n", 0), &value("1")).await?;
    let stem = s.key("sc*n", 0);
    let stem = &stem[..stem.len() - 1];
    expect("scan of a stem with an asterisk", scanned(s, stem, false).await?, BTreeSet::from([s.key("sc*n", 0)]))?;
    expect("scan of nothing", scanned(s, &s.key("none", 0), false).await?, BTreeSet::new())
}

async fn scan_and_remove(s: &CacheSubject) -> Verdict {
    let keys = (0..50).map(|n| s.key("remove", n)).collect::<BTreeSet<_>>();
    for key in &keys {
        s.store(key, &value("1")).await?;
    }
    let stem = s.key("remove", 0);
    let stem = &stem[..stem.len() - 1];
    expect("scan", scanned(s, stem, true).await?, keys)?;
    expect("scan again", scanned(s, stem, true).await?, BTreeSet::new())
}

async fn declare(s: &CacheSubject) -> Verdict {
    let of = |n: u32, mode| {
        let namespace = format!("{}-declared-{n}", s.name);
        Declaration { namespace, mode, no_eviction: false, persistence: false }
    };
    ok("the first declaration", s.cache.declare(&of(1, "strict")).await)?;
    ok("the same again", s.cache.declare(&of(1, "strict")).await)?;
    refused("another mode", s.cache.declare(&of(1, "eventual")).await, Kind::Invalid)?;
    ok("another namespace", s.cache.declare(&of(2, "eventual")).await)?;
    refused("its other mode", s.cache.declare(&of(2, "strict")).await, Kind::Invalid)
}
