//! What a cache promises of bytes that it did not write: another kind or format is left alone, damage is nothing.

use writeway_core::cache::{BeginBy, Bytes, Finish, Finished, Lease};
use writeway_core::entry::{BARRIER, FORMAT, LEASE, MAGIC, VALUE};
use writeway_core::error::Kind;

use super::subject::{Raw, value};
use super::{CacheSubject, Check, expect, ok, refused};
use crate::explorer::Verdict;

const NO_BYTES: fn(&CacheSubject) -> Option<&'static str> = |s| s.raw.is_none().then_some("the bytes cannot be written here");

pub(super) const CHECKS: &[Check<CacheSubject>] = &[
    Check { name: "another kind or format is left alone", unfit: NO_BYTES, run: |s| Box::pin(left_alone(s)) },
    Check { name: "a foreign key stops the whole write", unfit: NO_BYTES, run: |s| Box::pin(stops_the_write(s)) },
    Check { name: "damage is nothing", unfit: NO_BYTES, run: |s| Box::pin(damage(s)) },
    Check { name: "a barrier cannot be evicted", unfit: NO_BYTES, run: |s| Box::pin(expiry(s)) },
];

fn raw(s: &CacheSubject) -> &dyn Raw {
    s.raw.as_deref().expect("checked by `unfit`")
}

fn foreign() -> [Bytes; 4] {
    let newer = FORMAT + 1;
    [
        vec![MAGIC, b'D', FORMAT, 1, 2, 3],
        vec![MAGIC, VALUE, newer, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'x'],
        vec![MAGIC, LEASE, newer],
        vec![MAGIC, BARRIER, 0, 0],
    ]
}

async fn left_alone(s: &CacheSubject) -> Verdict {
    for (n, bytes) in (0..).zip(foreign()) {
        let (key, token) = (s.key("foreign", n), s.id());
        raw(s).put_raw(&key, &bytes).await;
        expect("get", s.get(&key).await?, None)?;
        expect("lease", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Bypass)?;
        s.fill(&key, s.id(), &value("1")).await?;
        refused("begin", s.begin(&key, token, s.long()).await, Kind::Rejected)?;
        expect("finish", s.finish(&key, token, Some(&value("1"))).await?, Finished::Voided)?;
        refused("invalidate", s.cache.invalidate(std::slice::from_ref(&key)).await, Kind::Rejected)?;
        expect("the bytes", raw(s).get_raw(&key).await, Some(bytes))?;
    }
    Ok(())
}

async fn stops_the_write(s: &CacheSubject) -> Verdict {
    let (keys, token) = ([s.key("stops", 0), s.key("stops", 1)], s.id());
    raw(s).put_raw(&keys[1], &foreign()[0]).await;
    let by = BeginBy { within: s.long(), not_after: s.runtime.now() + s.long() };
    refused("begin", s.cache.begin(&keys, token, by).await, Kind::Rejected)?;
    // What stands is finished by the writer, which must not commit.
    let ends = keys.clone().map(|key| Finish { key, publish: None });
    expect("finish", ok("finish", s.cache.finish(&ends, token).await)?, vec![Finished::Voided; 2])?;
    let id = s.id();
    expect("lease of the other key", s.lease(&keys[0], id, s.long_hold()).await?, Lease::Granted(id))?;
    expect("the foreign bytes", raw(s).get_raw(&keys[1]).await, Some(foreign()[0].clone()))
}

async fn damage(s: &CacheSubject) -> Verdict {
    let cut = |bytes: &[u8]| bytes.to_vec();
    let damaged = [
        cut(b""),
        cut(b"somebody's text"),
        cut(&[MAGIC]),
        cut(&[MAGIC, VALUE]),
        cut(&value("")[..11]),
        cut(&[MAGIC, LEASE, FORMAT, 1, 2, 3]),
        cut(&[MAGIC, BARRIER, FORMAT]),
        cut(&[MAGIC, BARRIER, FORMAT, 0]),
        cut(&[MAGIC, BARRIER, FORMAT, 0, 1, 2, 3]),
        cut(&[MAGIC, BARRIER, FORMAT, 7].into_iter().chain([0xFF; 24]).collect::<Vec<_>>()),
    ];
    for (n, bytes) in (0..).zip(damaged) {
        let (read, written, id) = (s.key("damage", 2 * n), s.key("damage", 2 * n + 1), s.id());
        raw(s).put_raw(&read, &bytes).await;
        raw(s).put_raw(&written, &bytes).await;
        expect("get", s.get(&read).await?, None)?;
        expect("lease", s.lease(&read, id, s.long_hold()).await?, Lease::Granted(id))?;
        s.fill(&read, id, &value("good")).await?;
        expect("get after the fill", s.get(&read).await?, Some(value("good")))?;
        ok("begin", s.begin(&written, id, s.long()).await)?;
        expect("finish", s.finish(&written, id, Some(&value("good"))).await?, Finished::Published)?;
    }
    Ok(())
}

async fn expiry(s: &CacheSubject) -> Verdict {
    let (key, id, token) = (s.key("expiry", 0), s.id(), s.id());
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))?;
    expect("a lease expires", raw(s).expires(&key).await, true)?;
    s.fill(&key, id, &value("1")).await?;
    expect("a value expires", raw(s).expires(&key).await, true)?;
    ok("begin", s.begin(&key, token, s.long()).await)?;
    expect("a barrier does not", raw(s).expires(&key).await, false)?;
    expect("finish", s.finish(&key, token, Some(&value("2"))).await?, Finished::Published)?;
    expect("a published value does", raw(s).expires(&key).await, true)
}
