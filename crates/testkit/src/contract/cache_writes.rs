//! What writers are promised of a cache.

use writeway_core::cache::{BeginBy, Finish, Finished, Lease};
use writeway_core::entry::state::MAX_TOKENS;
use writeway_core::error::Kind;

use super::subject::value;
use super::{CacheSubject, Check, expect, ok, refused};
use crate::explorer::Verdict;

pub(super) const CHECKS: &[Check<CacheSubject>] = &[
    Check { name: "a barrier hides the value", unfit: |_| None, run: |s| Box::pin(barrier(s)) },
    Check { name: "a begin breaks the lease", unfit: |_| None, run: |s| Box::pin(breaks_lease(s)) },
    Check { name: "a begin that comes too late is refused", unfit: |_| None, run: |s| Box::pin(late(s)) },
    Check { name: "a sole writer publishes", unfit: |_| None, run: |s| Box::pin(publishes(s)) },
    Check { name: "a finish may publish nothing", unfit: |_| None, run: |s| Box::pin(voids(s)) },
    Check { name: "writers that overlap do not publish", unfit: |_| None, run: |s| Box::pin(poison(s)) },
    Check { name: "a writer after overlapping ones publishes", unfit: |_| None, run: |s| Box::pin(after_poison(s)) },
    Check { name: "a barrier lapses", unfit: |_| None, run: |s| Box::pin(lapses(s)) },
    Check { name: "a lapsed writer does not publish", unfit: |_| None, run: |s| Box::pin(lapsed_finish(s)) },
    Check { name: "a finish without its barrier leaves nothing", unfit: |_| None, run: |s| Box::pin(lost_barrier(s)) },
    Check { name: "a second finish does no harm", unfit: |_| None, run: |s| Box::pin(finish_twice(s)) },
    Check { name: "a second begin does not poison itself", unfit: |_| None, run: |s| Box::pin(begin_twice(s)) },
    Check { name: "writers of one key are bounded", unfit: |_| None, run: |s| Box::pin(full(s)) },
    Check { name: "one write holds several keys", unfit: |_| None, run: |s| Box::pin(several(s)) },
    Check { name: "an invalidation removes a value", unfit: |_| None, run: |s| Box::pin(invalidates(s)) },
    Check { name: "an invalidation voids a lease", unfit: |_| None, run: |s| Box::pin(voids_lease(s)) },
    Check { name: "an invalidation keeps writers from publishing", unfit: |_| None, run: |s| Box::pin(poisons(s)) },
];

async fn barrier(s: &CacheSubject) -> Verdict {
    let key = s.key("barrier", 0);
    s.store(&key, &value("old")).await?;
    ok("begin", s.begin(&key, s.id(), s.long()).await)?;
    expect("get", s.get(&key).await?, None)?;
    expect("lease", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Bypass)
}

async fn breaks_lease(s: &CacheSubject) -> Verdict {
    let (key, id, token) = (s.key("breaks", 0), s.id(), s.id());
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))?;
    ok("begin", s.begin(&key, token, s.long()).await)?;
    s.fill(&key, id, &value("old")).await?;
    expect("get while the writer commits", s.get(&key).await?, None)?;
    expect("finish", s.finish(&key, token, None).await?, Finished::Voided)?;
    s.fill(&key, id, &value("old")).await?;
    expect("get after the writer", s.get(&key).await?, None)
}

async fn late(s: &CacheSubject) -> Verdict {
    let (key, token) = (s.key("late", 0), s.id());
    s.store(&key, &value("stays")).await?;
    s.wait(10).await;
    let by = BeginBy { within: s.long(), not_after: s.runtime.now().saturating_sub(s.unit * 5) };
    refused("begin", s.cache.begin(std::slice::from_ref(&key), token, by).await, Kind::Unavailable)?;
    expect("get", s.get(&key).await?, Some(value("stays")))
}

async fn publishes(s: &CacheSubject) -> Verdict {
    let (key, token) = (s.key("publishes", 0), s.id());
    s.store(&key, &value("old")).await?;
    ok("begin", s.begin(&key, token, s.long()).await)?;
    expect("finish", s.finish(&key, token, Some(&value("new"))).await?, Finished::Published)?;
    expect("get", s.get(&key).await?, Some(value("new")))
}

async fn voids(s: &CacheSubject) -> Verdict {
    let (key, token, id) = (s.key("voids", 0), s.id(), s.id());
    ok("begin", s.begin(&key, token, s.long()).await)?;
    expect("finish", s.finish(&key, token, None).await?, Finished::Voided)?;
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))
}

async fn poison(s: &CacheSubject) -> Verdict {
    let (key, first, second, id) = (s.key("poison", 0), s.id(), s.id(), s.id());
    ok("first begin", s.begin(&key, first, s.long()).await)?;
    ok("second begin", s.begin(&key, second, s.long()).await)?;
    expect("first finish", s.finish(&key, first, Some(&value("1"))).await?, Finished::Voided)?;
    expect("get between", s.get(&key).await?, None)?;
    expect("lease between", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Bypass)?;
    expect("second finish, alone by now", s.finish(&key, second, Some(&value("2"))).await?, Finished::Voided)?;
    expect("get", s.get(&key).await?, None)?;
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))
}

async fn after_poison(s: &CacheSubject) -> Verdict {
    let (key, first, second, third) = (s.key("after-poison", 0), s.id(), s.id(), s.id());
    ok("first begin", s.begin(&key, first, s.long()).await)?;
    ok("second begin", s.begin(&key, second, s.long()).await)?;
    for token in [second, first] {
        expect("finish", s.finish(&key, token, Some(&value("x"))).await?, Finished::Voided)?;
    }
    ok("third begin", s.begin(&key, third, s.long()).await)?;
    expect("third finish", s.finish(&key, third, Some(&value("3"))).await?, Finished::Published)
}

async fn lapses(s: &CacheSubject) -> Verdict {
    let (key, id) = (s.key("lapses", 0), s.id());
    ok("begin", s.begin(&key, s.id(), s.unit * 2).await)?;
    expect("lease before", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Bypass)?;
    s.wait(2).await;
    expect("lease after", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))
}

async fn lapsed_finish(s: &CacheSubject) -> Verdict {
    let (key, token) = (s.key("lapsed", 0), s.id());
    ok("begin", s.begin(&key, token, s.unit).await)?;
    s.wait(1).await;
    expect("finish", s.finish(&key, token, Some(&value("1"))).await?, Finished::Voided)?;
    expect("get", s.get(&key).await?, None)?;
    // A commit whose barrier has lapsed came before: it does not keep the next writer from publishing.
    let (lapsed, live) = (s.id(), s.id());
    ok("begin that lapses", s.begin(&key, lapsed, s.unit).await)?;
    s.wait(1).await;
    ok("begin after it", s.begin(&key, live, s.long()).await)?;
    expect("its finish", s.finish(&key, live, Some(&value("2"))).await?, Finished::Published)
}

async fn lost_barrier(s: &CacheSubject) -> Verdict {
    let key = s.key("lost", 0);
    s.store(&key, &value("maybe stale")).await?;
    expect("finish on a value", s.finish(&key, s.id(), Some(&value("1"))).await?, Finished::Voided)?;
    expect("get", s.get(&key).await?, None)?;
    let id = s.id();
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))?;
    expect("finish on a lease", s.finish(&key, s.id(), None).await?, Finished::Voided)?;
    s.fill(&key, id, &value("maybe stale")).await?;
    expect("get after the fill", s.get(&key).await?, None)?;
    let others = s.id();
    ok("begin of another", s.begin(&key, others, s.long()).await)?;
    expect("finish beside another", s.finish(&key, s.id(), Some(&value("1"))).await?, Finished::Voided)?;
    expect("the other's finish", s.finish(&key, others, Some(&value("2"))).await?, Finished::Voided)
}

async fn finish_twice(s: &CacheSubject) -> Verdict {
    let (key, token) = (s.key("twice", 0), s.id());
    ok("begin", s.begin(&key, token, s.long()).await)?;
    expect("finish", s.finish(&key, token, Some(&value("1"))).await?, Finished::Published)?;
    expect("finish again", s.finish(&key, token, Some(&value("1"))).await?, Finished::Voided)?;
    expect("get", s.get(&key).await?, None)
}

async fn begin_twice(s: &CacheSubject) -> Verdict {
    let (key, token) = (s.key("begin-twice", 0), s.id());
    ok("begin", s.begin(&key, token, s.long()).await)?;
    ok("begin again", s.begin(&key, token, s.long()).await)?;
    expect("finish", s.finish(&key, token, Some(&value("1"))).await?, Finished::Published)
}

async fn full(s: &CacheSubject) -> Verdict {
    let key = s.key("full", 0);
    let tokens = (0..MAX_TOKENS).map(|_| s.id()).collect::<Vec<_>>();
    for &token in &tokens {
        ok("begin", s.begin(&key, token, s.long()).await)?;
    }
    refused("one more", s.begin(&key, s.id(), s.long()).await, Kind::Overloaded)?;
    ok("one of them again", s.begin(&key, tokens[7], s.long()).await)?;
    expect("finish", s.finish(&key, tokens[0], None).await?, Finished::Voided)?;
    ok("one more, as there is room", s.begin(&key, s.id(), s.long()).await)
}

async fn several(s: &CacheSubject) -> Verdict {
    let (keys, token) = ([s.key("several", 0), s.key("several", 1), s.key("several", 2)], s.id());
    let by = BeginBy { within: s.long(), not_after: s.runtime.now() + s.long() };
    ok("begin", s.cache.begin(&keys, token, by).await)?;
    for key in &keys {
        expect("lease", s.lease(key, s.id(), s.long_hold()).await?, Lease::Bypass)?;
    }
    let end = |n: usize, publish| Finish { key: keys[n].clone(), publish };
    let ends = [end(2, Some((value("2"), s.long()))), end(0, None), end(1, Some((value("1"), s.long())))];
    let finished = ok("finish", s.cache.finish(&ends, token).await)?;
    expect("finish", finished, vec![Finished::Published, Finished::Voided, Finished::Published])?;
    expect("the first", s.get(&keys[0]).await?, None)?;
    expect("the second", s.get(&keys[1]).await?, Some(value("1")))?;
    expect("the third", s.get(&keys[2]).await?, Some(value("2")))
}

async fn invalidates(s: &CacheSubject) -> Verdict {
    let keys = [s.key("invalidates", 0), s.key("invalidates", 1)];
    for key in &keys {
        s.store(key, &value("1")).await?;
    }
    ok("invalidate", s.cache.invalidate(&[keys[0].clone(), s.key("invalidates", 2)]).await)?;
    expect("get", s.get(&keys[0]).await?, None)?;
    expect("get of another", s.get(&keys[1]).await?, Some(value("1")))
}

async fn voids_lease(s: &CacheSubject) -> Verdict {
    let (key, id) = (s.key("voids-lease", 0), s.id());
    expect("lease", s.lease(&key, id, s.long_hold()).await?, Lease::Granted(id))?;
    ok("invalidate", s.cache.invalidate(std::slice::from_ref(&key)).await)?;
    s.fill(&key, id, &value("old")).await?;
    expect("get", s.get(&key).await?, None)
}

async fn poisons(s: &CacheSubject) -> Verdict {
    let (key, token) = (s.key("poisons", 0), s.id());
    ok("begin", s.begin(&key, token, s.long()).await)?;
    ok("invalidate", s.cache.invalidate(std::slice::from_ref(&key)).await)?;
    expect("lease", s.lease(&key, s.id(), s.long_hold()).await?, Lease::Bypass)?;
    expect("finish", s.finish(&key, token, Some(&value("1"))).await?, Finished::Voided)?;
    expect("get", s.get(&key).await?, None)
}
