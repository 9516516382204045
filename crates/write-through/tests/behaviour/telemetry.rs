//! What is counted, and that the metrics say the same.

use std::sync::Arc;

use writeway_testkit::double::Act;
use writeway_through::stats::{ReadStats, WriteStats};

use crate::rig::{Rig, down, unanswered, user};

#[tokio::test(start_paused = true)]
async fn reads_are_counted_by_what_they_found() {
    let rig = Rig::new().await;
    rig.in_sql_only(user(1, "ada")).await;
    for _ in 0..3 {
        rig.users.get(&1).await.expect("get");
        rig.runtime.quiet().await;
    }
    rig.users.get_many(&[1, 2, 3, 2]).await.expect("get_many");
    let mut expected = ReadStats::default();
    (expected.hits, expected.misses, expected.loads, expected.fills) = (2 + 1, 1 + 2, 2, 3);
    assert_eq!(rig.users.stats().reads, expected, "a miss, two hits; a hit and two misses");

    rig.cache.plant("users:1", &[0xD7, b'V', 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    rig.users.get(&1).await.expect("damage is a miss");
    rig.redis.on("get", Act::Fail(down));
    rig.users.get(&1).await.expect("from sql");
    rig.users.get_many(&[1, 2]).await.expect("from sql");
    rig.sql.on("fetch", Act::Fail(down));
    rig.users.get(&1).await.expect_err("neither answers");
    let now = rig.users.stats().reads;
    assert_eq!((now.misses - expected.misses, now.damaged, now.unanswered), (1, 1, 1 + 2 + 1));
    assert_eq!((now.loads - expected.loads, now.loads_failed, now.failed), (3, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_joined_load_is_counted_as_one() {
    let rig = Arc::new(Rig::new().await);
    rig.redis.on("lease", Act::HoldBefore);
    let get = |rig: Arc<Rig>| async move { rig.users.get(&7).await };
    #[expect(clippy::disallowed_methods, reason = "callers of a test")]
    let callers: Vec<_> = (0..10).map(|_| tokio::spawn(get(rig.clone()))).collect();
    rig.redis.called("get", 10).await;
    rig.redis.called("lease", 1).await;
    tokio::task::yield_now().await;
    rig.redis.on("lease", Act::Pass);
    for caller in callers {
        caller.await.expect("no panic").expect("get");
    }
    let reads = rig.users.stats().reads;
    assert_eq!((reads.misses, reads.joined, reads.loads), (10, 9, 1));
}

#[tokio::test(start_paused = true)]
async fn writes_are_counted_by_what_became_of_them() {
    let rig = Rig::new().await;
    rig.users.put(user(1, "ada")).await.expect("put");
    let mut tx = rig.users.begin().await.expect("begin");
    rig.users.touch(&mut tx, &1);
    tx.commit().await.expect("commit");
    rig.redis.on("finish", Act::Fail(down));
    rig.users.put(user(2, "bob")).await.expect("committed");
    rig.redis.on("begin", Act::Fail(down));
    rig.users.put(user(3, "eve")).await.expect_err("refused");
    rig.redis.on_all(Act::Pass);
    rig.sql.on("commit", Act::LoseAnswer(unanswered));
    rig.users.put(user(4, "kim")).await.expect_err("nobody knows");
    let mut tx = rig.users.begin().await.expect("begin");
    rig.users.touch(&mut tx, &1);
    tx.commit().await.expect_err("nobody knows");
    let mut expected = WriteStats::default();
    (expected.done, expected.published, expected.invalidated, expected.lapsed) = (3, 1, 1, 1);
    (expected.failed, expected.unknown) = (3, 2);
    assert_eq!(rig.users.stats().writes, expected);
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn the_metrics_say_what_the_counts_say() {
    let seen = writeway_testkit::double::Metrics::default();
    let _installed = metrics::set_default_local_recorder(&seen);
    let rig = Rig::new().await;
    let of = |name: &str| seen.value(&format!("writeway_{name}{{namespace=\"users\"}}")).unwrap_or_else(|| panic!("no {name}"));
    assert!(of("read_hit_total").abs() < 1e-9, "there from the beginning");
    rig.users.put(user(1, "ada")).await.expect("put");
    rig.users.get(&1).await.expect("get");
    rig.users.get(&2).await.expect("get");
    rig.redis.on_all(Act::Fail(down));
    rig.users.put(user(1, "eve")).await.expect_err("refused");
    let counts = [of("write_done_total"), of("write_published_total"), of("read_hit_total"), of("read_miss_total")];
    assert_eq!(counts.map(|count| count.to_string()), ["1", "1", "1", "1"]);
    let failed = "writeway_write_failed_total{namespace=\"users\",kind=\"unavailable\"}";
    assert_eq!(seen.value(failed).map(|n| n.to_string()).as_deref(), Some("1"));
    assert_eq!(seen.observations("writeway_read_seconds{namespace=\"users\"}"), Some(2));
    assert_eq!(seen.observations("writeway_write_seconds{namespace=\"users\"}"), Some(2));
    let known: Vec<&str> = writeway_through::metrics::ALL.iter().map(|metric| metric.name).collect();
    let name = |full: &str| full.split('{').next().map(str::to_owned);
    let unknown: Vec<_> =
        seen.names().iter().filter_map(|full| name(full)).filter(|name| !known.contains(&name.as_str())).collect();
    assert_eq!(unknown, Vec::<String>::new());
}
