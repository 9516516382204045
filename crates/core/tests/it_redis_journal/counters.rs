//! Counters on a real server: added, frozen, acknowledged, counted.

use writeway_core::cache::Bytes;
use writeway_core::entry::increments::Increments;
use writeway_core::error::Kind;
use writeway_core::journal::{Accept, Accepted, Count, Counted, Journal, Shard, Status};
use writeway_core::redis::RedisJournal;

use crate::redis_support::*;
use crate::shard::*;

fn likes(by: i64) -> Bytes {
    Increments { key: b"1".to_vec(), fields: vec![(b"likes".to_vec(), by)] }.to_bytes()
}

fn add(by: i64) -> Accept {
    Accept { key: post("1"), schema: 0, value: likes(by) }
}

async fn count(journal: &RedisJournal) -> Counted {
    journal.count(&[(shard(), vec![post("1")])]).await.expect("an answer").remove(0)
}

fn counted(acked: u64, open: u64, count: Count) -> Counted {
    Counted { acked, open, counts: vec![count] }
}

/// Once round, from the first increment to the row that SQL returned.
pub(crate) async fn round(journal: &RedisJournal) {
    let (at, _) = open(journal, 1).await;
    assert_eq!(count(journal).await, counted(0, 0, Count::default()));
    accepted(journal, &[add(1 << 53), add(1)]).await;
    accepted(journal, &[add(-3)]).await;
    let sum = likes((1 << 53) - 2);
    let of = |base, frozen, pending| Count { base, frozen, pending };
    assert_eq!(count(journal).await, counted(0, 0, of(None, None, Some(sum.clone()))));
    let Status { dirty, dirty_bytes, .. } = journal.status(&shard()).await.expect("a status");
    assert_eq!((dirty, dirty_bytes), (1, sum.len() as u64));

    let batch = claim(journal, &at).await;
    assert_eq!(batch.items.iter().map(|item| &item.value).collect::<Vec<_>>(), [&sum]);
    assert_eq!(count(journal).await, counted(0, 1, of(None, Some(sum.clone()), None)), "moved, not copied");
    accepted(journal, &[add(5)]).await;
    assert_eq!(count(journal).await, counted(0, 1, of(None, Some(sum), Some(likes(5)))));
    journal.acknowledge(&at, batch.id, &[ack("1", "the row")]).await.expect("acknowledged");
    assert_eq!(count(journal).await, counted(1, 0, of(Some(value("the row")), None, Some(likes(5)))));
}

#[tokio::test]
async fn increments_go_round_from_add_to_count() {
    let Some((journal, ..)) = fresh("counters").await else { return };
    fenced(journal.count(&[(shard(), vec![post("1")])]).await);
    round(&journal).await;

    let row = put("1", "a row");
    assert_eq!(accept(&journal, std::slice::from_ref(&row)).await.ok(), Some(Accepted::Unfit), "it would hide increments");
    assert_eq!(accept(&journal, &[add(i64::MAX)]).await.ok(), Some(Accepted::Unfit), "they would wrap");
    assert_eq!(accept(&journal, &[add(i64::MAX), add(-5)]).await.ok(), Some(Accepted::Unfit), "on the way, too");
    let pending = count(&journal).await.counts.remove(0).pending;
    assert_eq!(pending, Some(likes(5)), "all or none");
    let theirs = (Shard { number: 1, ..shard() }, vec![post("1")]);
    assert_eq!(refused(journal.count(&[theirs]).await).kind(), Kind::Invalid);
}
