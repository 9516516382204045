//! Futures that are dropped anywhere, on a runtime of one thread and of several.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use writeway_core::diesel_async::{AsyncConnection, SimpleAsyncConnection};
use writeway_core::error::{Kind, Outcome};
use writeway_core::store::{Store, Transaction};

use crate::support::{File, account, delete, key, put};

/// The future's result, unless it takes more looks than that: then it is dropped.
pub(crate) async fn within<T>(looks: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut looked = 0;
    let look = |context: &mut Context<'_>| {
        looked += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if looked >= looks => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    };
    poll_fn(look).await
}

async fn dropped_anywhere() {
    let file = File::make().await;
    let store = file.accounts();
    let mut unfinished = 0;
    for looks in (1..=12).flat_map(|looks| [looks; 10]) {
        let write = async {
            let mut tx = store.begin(Some(Duration::from_secs(60))).await?;
            store.apply_in(&mut tx, &[put(account(1, 1)), delete(2)]).await?;
            tx.commit().await?;
            store.fetch(&[key(1)]).await
        };
        match within(looks, write).await {
            Some(done) => assert_eq!(done.expect("what was not dropped is committed").len(), 1),
            None => unfinished += 1,
        }
    }
    assert!(unfinished > 10, "only {unfinished} were dropped half-way");
    store.apply(&[put(account(1, 2))]).await.expect("the pool is healthy");
    assert_eq!(store.fetch(&[key(1)]).await.expect("fetched"), [account(1, 2)]);
}

#[tokio::test]
async fn leave_no_open_transaction_on_one_thread() {
    dropped_anywhere().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leave_no_open_transaction_on_several_threads() {
    dropped_anywhere().await;
}

#[tokio::test]
async fn a_connection_on_which_a_call_was_dropped_is_of_no_more_use() {
    let file = File::make().await;
    let store = file.accounts();
    let mut tx = store.begin(None).await.expect("begun");
    {
        // Long enough to be under way at the first look.
        let long = "INSERT INTO parents WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000) SELECT x FROM n";
        let mut call = pin!(tx.connection().batch_execute(long));
        let is_pending = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
        assert!(is_pending, "it ended too soon");
    }
    assert!(store.apply_in(&mut tx, &[put(account(1, 1))]).await.is_err(), "invariant violated: nothing more is run on it");
    let nested = tx.connection().transaction::<_, writeway_core::diesel::result::Error, _>(async |_| Ok(())).await;
    assert!(nested.is_err(), "nor does it panic");
    let error = tx.commit().await.expect_err("nor committed");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_ne!(error.outcome(), Outcome::Applied);
    store.apply(&[put(account(2, 2))]).await.expect("the pool makes another one");
    assert_eq!(file.number("SELECT count(*) FROM parents").await, 0, "invariant violated: rolled back");
}
