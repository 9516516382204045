//! The fence and the batch log: a batch is in effect at most once, and none of an epoch that has passed.

use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::diesel_async::AsyncPgConnection;
use writeway_core::diesel_async::SimpleAsyncConnection;
use writeway_core::error::{Kind, Outcome};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::sql::{Bookkeeping, Sql};
use writeway_core::store::{FencedStore, Flush, Flushed, Logged, Opened};

use crate::support::{Account, Accounts, Schema, account, delete, put, waiting};

type Accounting = Sql<Accounts<false>>;
type Changes = [Change<(String, i64), Account>];

const NAMESPACE: &str = "accounts";

fn shard(number: u16) -> Shard {
    Shard { namespace: NAMESPACE.into(), number }
}

fn batch(epoch: u64, batch: u64) -> BatchId {
    BatchId { epoch, batch }
}

fn keys(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

/// A prepared schema, with a ledger of every application.
async fn prepared(name: &str) -> Option<(Schema, Accounting)> {
    let schema = Schema::make(name).await?;
    schema
        .run(
            "CREATE TABLE ledger (n BIGSERIAL, id BIGINT, balance BIGINT);
             CREATE FUNCTION note() RETURNS TRIGGER LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO ledger (id, balance) VALUES (NEW.id, NEW.balance); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION note();",
        )
        .await;
    let store = schema.accounts().await;
    assert_eq!(store.prepare(NAMESPACE, 4, true).await.expect("prepared"), [0; 4]);
    Some((schema, store))
}

async fn flush(store: &Accounting, epoch: u64, id: BatchId, changes: &Changes) -> writeway_core::error::Result<Flushed<Account>> {
    let (at, keys) = (At { shard: shard(0), epoch }, keys(&["a", "b"]));
    let within = Some(Duration::from_secs(5));
    store.flush(&Flush { at: &at, batch: id, keys: &keys, within, keep_log: Duration::from_secs(60) }, changes).await
}

#[tokio::test]
async fn the_first_opener_decides_the_number_of_shards() {
    let Some(schema) = Schema::make("fence_prepare").await else { return };
    let store = schema.accounts().await;
    let missing = store.prepare(NAMESPACE, 4, false).await.expect_err("no tables");
    assert_eq!(missing.kind(), Kind::Invalid);
    assert!(missing.to_string().contains("up.sql") && missing.to_string().contains("migrate()"), "{missing}");
    let (one, two) = (store.prepare(NAMESPACE, 4, true), store.prepare(NAMESPACE, 9, true));
    let (one, two) = tokio::join!(one, two);
    let (one, two) = (one.expect("prepared"), two.expect("prepared"));
    assert!(one == two && (one.len() == 4 || one.len() == 9), "invariant violated: both agree: {one:?}, {two:?}");
    assert_eq!(store.prepare(NAMESPACE, 7, false).await.expect("prepared"), one);
    assert_eq!(store.prepare("others", 1, false).await.expect("prepared"), [0]);
    let unknown = Shard { namespace: "unknown".into(), number: 0 };
    assert_eq!(store.open(&unknown, None).await.expect_err("no fence").kind(), Kind::Invalid);
    schema.run(AsyncPgConnection::MIGRATION_UP).await;
    schema.run(AsyncPgConnection::MIGRATION_DOWN).await;
    assert!(store.prepare(NAMESPACE, 4, false).await.is_err());
}

#[tokio::test]
async fn a_batch_is_in_effect_once() {
    let Some((schema, store)) = prepared("fence_once").await else { return };
    assert_eq!(
        store.open(&shard(0), Some(BatchId::default())).await.expect("open"),
        Opened { epoch: 1, batch: 0, log: Vec::new() }
    );
    let changes = [put(account(1, 10)), put(account(2, 20))];
    let Flushed::Applied(stored) = flush(&store, 1, batch(1, 1), &changes).await.expect("flushed") else { panic!("not applied") };
    assert!(matches!(&stored[..], [Stored::As(a), Stored::As(b)] if (a.stamp, b.stamp) == (100, 200)), "as SQL has them");
    for _ in 0..2 {
        let again = flush(&store, 1, batch(1, 1), &changes).await.ok();
        assert_eq!(again, Some(Flushed::Already), "invariant violated: a batch is in effect once");
    }
    assert_eq!(schema.number("SELECT count(*) FROM ledger").await, 2, "invariant violated: once");
    assert_eq!(flush(&store, 1, batch(1, 2), &[delete(1)]).await.expect("flushed"), Flushed::Applied(vec![Stored::Gone]));
    assert_eq!(schema.number("SELECT count(*) FROM accounts").await, 1);
}

#[tokio::test]
async fn a_passed_epoch_changes_nothing() {
    let Some((schema, store)) = prepared("fence_epoch").await else { return };
    store.open(&shard(0), None).await.expect("open");
    assert!(matches!(flush(&store, 1, batch(1, 1), &[put(account(1, 10))]).await, Ok(Flushed::Applied(_))));
    let opened = store.open(&shard(0), Some(BatchId::default())).await.expect("open");
    let logged = Logged { id: batch(1, 1), keys: keys(&["a", "b"]) };
    assert_eq!(opened, Opened { epoch: 2, batch: 1, log: vec![logged] });
    for id in [batch(1, 1), batch(1, 2)] {
        let late = flush(&store, 1, id, &[put(account(1, 99))]).await.expect("asked");
        assert_eq!(late, Flushed::Superseded, "invariant violated: fenced");
    }
    assert_eq!(schema.number("SELECT balance FROM accounts").await, 10);
    assert!(matches!(flush(&store, 2, batch(1, 2), &[put(account(1, 11))]).await, Ok(Flushed::Applied(_))), "an older freeze");
    let from_the_future = flush(&store, 9, batch(9, 9), &[put(account(1, 99))]).await.expect_err("never given out");
    assert_eq!((from_the_future.kind(), from_the_future.outcome()), (Kind::Invalid, Outcome::NotApplied));
}

#[tokio::test]
async fn what_fails_rolls_the_fence_back() {
    let Some((schema, store)) = prepared("fence_fails").await else { return };
    store.open(&shard(0), None).await.expect("open");
    let refused = flush(&store, 1, batch(1, 1), &[put(account(1, 10)), put(account(2, -1))]).await.expect_err("a CHECK");
    assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied));
    let deferred = Account { parent: Some(7), ..account(3, 30) };
    let refused = flush(&store, 1, batch(1, 1), &[put(deferred)]).await.expect_err("a deferred check");
    assert_eq!(refused.outcome(), Outcome::NotApplied, "{refused}");
    assert_eq!(schema.number("SELECT batch FROM writeway_fence WHERE shard = 0").await, 0, "invariant violated: rolled back");
    assert_eq!(
        schema.number("SELECT count(*) FROM accounts").await + schema.number("SELECT count(*) FROM writeway_batch").await,
        0
    );
    assert!(
        matches!(flush(&store, 1, batch(1, 1), &[put(account(1, 10))]).await, Ok(Flushed::Applied(_))),
        "the same batch again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_waits_for_a_flush_under_way_and_sees_its_batch() {
    let Some((schema, store)) = prepared("fence_waits").await else { return };
    store.open(&shard(0), None).await.expect("open");
    let mut blocker = schema.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE accounts IN EXCLUSIVE MODE").await.expect("locked");
    let (flusher, opener) = (store.clone(), store.clone());
    #[expect(clippy::disallowed_methods, reason = "callers of a test")]
    let flushing = tokio::spawn(async move { flush(&flusher, 1, batch(1, 1), &[put(account(1, 10))]).await });
    schema.until(&waiting("fence_waits"), 1).await;
    #[expect(clippy::disallowed_methods, reason = "callers of a test")]
    let opening = tokio::spawn(async move { opener.open(&shard(0), Some(BatchId::default())).await });
    schema.until(&waiting("fence_waits"), 2).await;
    blocker.batch_execute("COMMIT").await.expect("unlocked");
    assert!(matches!(flushing.await.expect("no panic"), Ok(Flushed::Applied(_))));
    let opened = opening.await.expect("no panic").expect("open");
    assert_eq!((opened.epoch, opened.batch, opened.log.len()), (2, 1, 1), "invariant violated: the log is read after the wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_killed_leaves_the_batch_to_be_tried_again() {
    let Some((schema, store)) = prepared("fence_killed").await else { return };
    store.open(&shard(0), None).await.expect("open");
    let mut blocker = schema.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE accounts IN EXCLUSIVE MODE").await.expect("locked");
    let flusher = store.clone();
    #[expect(clippy::disallowed_methods, reason = "callers of a test")]
    let flushing = tokio::spawn(async move { flush(&flusher, 1, batch(1, 1), &[put(account(1, 10))]).await });
    schema.until(&waiting("fence_killed"), 1).await;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'fence_killed'
        AND wait_event_type = 'Lock'";
    assert_eq!(schema.number(kill).await, 1);
    let killed = flushing.await.expect("no panic").expect_err("killed");
    assert_eq!((killed.kind(), killed.outcome()), (Kind::Unavailable, Outcome::NotApplied), "{killed}");
    blocker.batch_execute("COMMIT").await.expect("unlocked");
    assert!(matches!(flush(&store, 1, batch(1, 1), &[put(account(1, 10))]).await, Ok(Flushed::Applied(_))));
    assert_eq!(schema.number("SELECT count(*) FROM ledger").await, 1, "invariant violated: once");
}

#[tokio::test]
async fn the_log_is_trimmed_from_its_old_end() {
    let Some((schema, store)) = prepared("fence_trim").await else { return };
    store.open(&shard(0), None).await.expect("open");
    for n in 1..=3 {
        assert!(matches!(flush(&store, 1, batch(1, n), &[put(account(1, 10))]).await, Ok(Flushed::Applied(_))));
    }
    schema.run("UPDATE writeway_batch SET flushed_at = now() - INTERVAL '61 seconds' WHERE batch < 3").await;
    assert!(matches!(flush(&store, 1, batch(1, 4), &[put(account(1, 10))]).await, Ok(Flushed::Applied(_))));
    let log = store.open(&shard(0), Some(BatchId::default())).await.expect("open").log;
    assert_eq!(log.iter().map(|logged| logged.id.batch).collect::<Vec<_>>(), [3, 4]);
    for (over, read) in [(3, &[3, 4][..]), (4, &[4]), (9, &[4]), (2, &[3, 4])] {
        let log = store.open(&shard(0), Some(BatchId { epoch: 9, batch: over })).await.expect("open").log;
        let batches: Vec<u64> = log.iter().map(|logged| logged.id.batch).collect();
        assert_eq!(batches, read, "invariant violated: the log is read from the last entry that is not after {over}");
    }
}
