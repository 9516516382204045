//! The fence and the batch log: a batch is in effect at most once, and none of an epoch that has passed.

use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::error::{Kind, Outcome};
use writeway_core::journal::{At, BatchId, Shard};
use writeway_core::sql::{AsyncSqliteConnection, Bookkeeping, Sql};
use writeway_core::store::{FencedStore, Flush, Flushed, Logged, Opened};

use crate::support::{Account, Accounts, File, account, delete, put};

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

/// A prepared file, with a ledger of every application.
async fn prepared() -> (File, Sql<Accounts>) {
    let file = File::make().await;
    let ledger = "
        CREATE TABLE ledger (id BIGINT, balance BIGINT);
        CREATE TRIGGER inserted AFTER INSERT ON accounts BEGIN INSERT INTO ledger VALUES (NEW.id, NEW.balance); END;
        CREATE TRIGGER updated AFTER UPDATE ON accounts BEGIN INSERT INTO ledger VALUES (NEW.id, NEW.balance); END;";
    file.run(ledger).await;
    let store = file.accounts();
    assert_eq!(store.prepare(NAMESPACE, 4, true).await.expect("prepared"), [0; 4]);
    (file, store)
}

async fn flush(
    store: &Sql<Accounts>,
    epoch: u64,
    id: BatchId,
    changes: &Changes,
) -> writeway_core::error::Result<Flushed<Account>> {
    let (at, keys) = (At { shard: shard(0), epoch }, keys(&["a", "b"]));
    let within = Some(Duration::from_secs(60));
    store.flush(&Flush { at: &at, batch: id, keys: &keys, within, keep_log: Duration::from_secs(60) }, changes).await
}

async fn is_applied(store: &Sql<Accounts>, epoch: u64, id: BatchId, changes: &Changes) -> bool {
    matches!(flush(store, epoch, id, changes).await, Ok(Flushed::Applied(_)))
}

#[tokio::test]
async fn the_first_opener_decides_the_number_of_shards() {
    let file = File::make().await;
    let store = file.accounts();
    let missing = store.prepare(NAMESPACE, 4, false).await.expect_err("no tables");
    assert_eq!(missing.kind(), Kind::Invalid);
    assert!(missing.to_string().contains("sqlite/0001_writeway/up.sql"), "{missing}");
    let (one, two) = tokio::join!(store.prepare(NAMESPACE, 4, true), store.prepare(NAMESPACE, 9, true));
    let (one, two) = (one.expect("prepared"), two.expect("prepared"));
    assert!(one == two && (one.len() == 4 || one.len() == 9), "invariant violated: both agree: {one:?}, {two:?}");
    assert_eq!(store.prepare(NAMESPACE, 7, false).await.expect("prepared"), one);
    assert_eq!(store.prepare("others", 1, false).await.expect("prepared"), [0]);
    let unknown = Shard { namespace: "unknown".into(), number: 0 };
    assert_eq!(store.open(&unknown, None).await.expect_err("no fence").kind(), Kind::Invalid);
    file.run(AsyncSqliteConnection::MIGRATION_UP).await;
    file.run(AsyncSqliteConnection::MIGRATION_DOWN).await;
    assert!(store.prepare(NAMESPACE, 4, false).await.is_err());
}

#[tokio::test]
async fn a_batch_is_in_effect_once() {
    let (file, store) = prepared().await;
    assert_eq!(
        store.open(&shard(0), Some(BatchId::default())).await.expect("open"),
        Opened { epoch: 1, batch: 0, log: Vec::new() }
    );
    let changes = [put(account(1, 10)), put(account(2, 20))];
    let applied = flush(&store, 1, batch(1, 1), &changes).await.expect("flushed");
    assert_eq!(applied, Flushed::Applied(vec![Stored::As(account(1, 10)), Stored::As(account(2, 20))]));
    for _ in 0..2 {
        let again = flush(&store, 1, batch(1, 1), &changes).await.ok();
        assert_eq!(again, Some(Flushed::Already), "invariant violated: a batch is in effect once");
    }
    assert_eq!(file.number("SELECT count(*) FROM ledger").await, 2, "invariant violated: once");
    assert_eq!(flush(&store, 1, batch(1, 2), &[delete(1)]).await.expect("flushed"), Flushed::Applied(vec![Stored::Gone]));
    assert_eq!(file.number("SELECT count(*) FROM accounts").await, 1);
}

#[tokio::test]
async fn a_passed_epoch_changes_nothing() {
    let (file, store) = prepared().await;
    store.open(&shard(0), None).await.expect("open");
    assert!(is_applied(&store, 1, batch(1, 1), &[put(account(1, 10))]).await);
    let logged = Logged { id: batch(1, 1), keys: keys(&["a", "b"]) };
    assert_eq!(
        store.open(&shard(0), Some(BatchId::default())).await.expect("open"),
        Opened { epoch: 2, batch: 1, log: vec![logged] }
    );
    for id in [batch(1, 1), batch(1, 2)] {
        let late = flush(&store, 1, id, &[put(account(1, 99))]).await.expect("asked");
        assert_eq!(late, Flushed::Superseded, "invariant violated: fenced");
    }
    assert_eq!(file.number("SELECT balance FROM accounts").await, 10);
    assert!(is_applied(&store, 2, batch(1, 2), &[put(account(1, 11))]).await, "an older freeze");
    let from_the_future = flush(&store, 9, batch(9, 9), &[put(account(1, 99))]).await.expect_err("never given out");
    assert_eq!((from_the_future.kind(), from_the_future.outcome()), (Kind::Invalid, Outcome::NotApplied));
}

#[tokio::test]
async fn what_fails_rolls_the_fence_back() {
    let (file, store) = prepared().await;
    store.open(&shard(0), None).await.expect("open");
    let refused = flush(&store, 1, batch(1, 1), &[put(account(1, 10)), put(account(2, -1))]).await.expect_err("a CHECK");
    assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied));
    let deferred = Account { parent: Some(7), ..account(3, 30) };
    let refused = flush(&store, 1, batch(1, 1), &[put(deferred)]).await.expect_err("a deferred check");
    assert_eq!(refused.outcome(), Outcome::NotApplied, "{refused}");
    assert_eq!(file.number("SELECT batch FROM writeway_fence WHERE shard = 0").await, 0, "invariant violated: rolled back");
    let left = "SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM writeway_batch)";
    assert_eq!(file.number(left).await, 0);
    assert!(is_applied(&store, 1, batch(1, 1), &[put(account(1, 10))]).await, "the same batch again");
}

#[tokio::test]
async fn the_log_is_trimmed_from_its_old_end() {
    let (file, store) = prepared().await;
    store.open(&shard(0), None).await.expect("open");
    for n in 1..=3 {
        assert!(is_applied(&store, 1, batch(1, n), &[put(account(1, 10))]).await);
    }
    file.run("UPDATE writeway_batch SET flushed_at = flushed_at - 61000 WHERE batch < 3").await;
    assert!(is_applied(&store, 1, batch(1, 4), &[put(account(1, 10))]).await);
    for (over, read) in [(0, &[3, 4][..]), (3, &[3, 4]), (4, &[4]), (9, &[4]), (2, &[3, 4])] {
        let log = store.open(&shard(0), Some(BatchId { epoch: 9, batch: over })).await.expect("open").log;
        let batches: Vec<u64> = log.iter().map(|logged| logged.id.batch).collect();
        assert_eq!(batches, read, "invariant violated: the log is read from the last entry that is not after {over}");
    }
}
