//! What a store promises.

use std::future::Future;
use std::sync::Mutex;

use writeway_core::cache::BoxFuture;
use writeway_core::change::{Change, Stored};
use writeway_core::store::{Store, Transaction};

use super::{Check, StoreSubject, expect, ok};
use crate::explorer::{Verdict, Violation};

pub(super) fn checks<S: Store>() -> Vec<Check<StoreSubject<S>>> {
    let check = |name, run| Check { name, unfit: |_| None, run };
    let unbounded = |s: &StoreSubject<S>| s.commit_within.is_none().then_some("this server has no time-outs");
    let one_writer = |s: &StoreSubject<S>| s.one_writer.then_some("this server has one writer");
    vec![
        check("a row knows its key", |s| Box::pin(row_key(s))),
        check("a fetch returns the rows that exist", |s| Box::pin(fetch(s))),
        check("a put inserts or replaces, and returns the row", |s| Box::pin(put(s))),
        check("one answer per change, in their order", |s| Box::pin(one_answer_each(s))),
        check("a delete of a row says gone", |s| Box::pin(delete(s))),
        check("a delete that finds no row says unread, or locks the key", |s| Box::pin(delete_missing(s))),
        check("nothing is visible before the commit", |s| Box::pin(invisible(s))),
        check("a rollback undoes all and frees the rows", |s| Box::pin(rollback(s))),
        check("a dropped transaction is rolled back", |s| Box::pin(dropped(s))),
        check("a transaction sees its own changes", |s| Box::pin(own_changes(s))),
        check("a second writer of a row waits for the first", |s| Box::pin(row_locks(s, true))),
        check("a second writer of a missing row waits for the first", |s| Box::pin(row_locks(s, false))),
        Check { name: "writers of different rows do not wait", unfit: one_writer, run: |s| Box::pin(apart(s)) },
        check("a reader does not wait for a writer", |s| Box::pin(readers(s))),
        check("an autocommitted change is there at once", |s| Box::pin(autocommit(s))),
        Check { name: "no commit lands after the time-outs", unfit: unbounded, run: |s| Box::pin(too_late(s)) },
    ]
}

/// Every check has keys of its own, and begins without rows.
async fn clean<S: Store, const N: usize>(s: &StoreSubject<S>, check: u32) -> Result<[u32; N], Violation> {
    let mut keys = [0; N];
    for (n, key) in (0..).zip(&mut keys) {
        *key = s.first_key + 10 * check + n;
    }
    let changes = keys.map(|key| Change::Delete((s.key)(key)));
    ok("deleting what an earlier run left", s.store.apply(&changes).await)?;
    Ok(keys)
}

async fn values<S: Store>(s: &StoreSubject<S>, keys: &[u32]) -> Result<Vec<(u32, u64)>, Violation> {
    let asked = keys.iter().map(|&key| (s.key)(key)).collect::<Vec<_>>();
    let rows = ok("fetch", s.store.fetch(&asked).await)?;
    let number = |row: &S::Row| keys.iter().copied().find(|&key| (s.key)(key) == s.store.key(row)).unwrap_or(u32::MAX);
    let mut found = rows.iter().map(|row| (number(row), (s.value)(row))).collect::<Vec<_>>();
    found.sort_unstable();
    Ok(found)
}

fn put_of<S: Store>(s: &StoreSubject<S>, key: u32, value: u64) -> Change<S::Key, S::Row> {
    Change::Put((s.row)(key, value))
}

/// An answer without the type of the row.
fn plain<S: Store>(s: &StoreSubject<S>, stored: &[Stored<S::Row>]) -> Vec<Stored<u64>> {
    let plain = |stored: &Stored<S::Row>| match stored {
        Stored::As(row) => Stored::As((s.value)(row)),
        Stored::Gone => Stored::Gone,
        Stored::Unread => Stored::Unread,
    };
    stored.iter().map(plain).collect()
}

async fn apply_in<S: Store>(
    s: &StoreSubject<S>,
    tx: &mut S::Tx,
    changes: &[Change<S::Key, S::Row>],
) -> Result<Vec<Stored<u64>>, Violation> {
    Ok(plain(s, &ok("apply_in", s.store.apply_in(tx, changes).await)?))
}

async fn row_key<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [one, two] = clean(s, 0).await?;
    let same = |row: u32, key: u32| s.store.key(&(s.row)(row, 1)) == (s.key)(key);
    expect("the key of its own row", same(one, one), true)?;
    expect("the key of another row", same(one, two), false)
}

async fn fetch<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [one, two, three] = clean(s, 1).await?;
    expect("no rows", values(s, &[one, two, three]).await?, vec![])?;
    ok("apply", s.store.apply(&[put_of(s, one, 1), put_of(s, three, 3)]).await)?;
    expect("those that exist", values(s, &[three, two, one]).await?, vec![(one, 1), (three, 3)])?;
    expect("one of them", values(s, &[three]).await?, vec![(three, 3)])?;
    expect("nothing asked", values(s, &[]).await?, vec![])
}

async fn put<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [key] = clean(s, 2).await?;
    for value in [1, 2] {
        let mut tx = ok("begin", s.store.begin(None).await)?;
        expect("put", apply_in(s, &mut tx, &[put_of(s, key, value)]).await?, vec![Stored::As(value)])?;
        ok("commit", tx.commit().await)?;
        expect("fetch", values(s, &[key]).await?, vec![(key, value)])?;
    }
    Ok(())
}

async fn one_answer_each<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [a, b, c, d] = clean(s, 3).await?;
    ok("apply", s.store.apply(&[put_of(s, b, 2), put_of(s, d, 4)]).await)?;
    let changes = [put_of(s, a, 10), Change::Delete((s.key)(b)), put_of(s, c, 30), put_of(s, d, 40)];
    let mut tx = ok("begin", s.store.begin(None).await)?;
    let stored = apply_in(s, &mut tx, &changes).await?;
    expect("the answers", stored, vec![Stored::As(10), Stored::Gone, Stored::As(30), Stored::As(40)])?;
    expect("nothing to do", apply_in(s, &mut tx, &[]).await?, vec![])?;
    ok("commit", tx.commit().await)?;
    expect("fetch", values(s, &[a, b, c, d]).await?, vec![(a, 10), (c, 30), (d, 40)])
}

async fn delete<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [key] = clean(s, 4).await?;
    ok("apply", s.store.apply(&[put_of(s, key, 1)]).await)?;
    let mut tx = ok("begin", s.store.begin(None).await)?;
    expect("delete", apply_in(s, &mut tx, &[Change::Delete((s.key)(key))]).await?, vec![Stored::Gone])?;
    ok("commit", tx.commit().await)?;
    expect("fetch", values(s, &[key]).await?, vec![])
}

/// Two transactions at once: `first` makes its change and holds it for `patience`, `second` makes its own meanwhile. True if
/// the second had to wait for the first one's end.
async fn waits<S: Store>(
    s: &StoreSubject<S>,
    first: Change<S::Key, S::Row>,
    second: Change<S::Key, S::Row>,
) -> Result<(Vec<Stored<u64>>, bool), Violation> {
    let order = Mutex::new(Vec::new());
    let note = |what: &'static str| order.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
    let holder = async {
        let mut tx = ok("first begin", s.store.begin(None).await)?;
        let stored = apply_in(s, &mut tx, &[first]).await?;
        s.runtime.sleep(s.patience * 2).await;
        note("first ends");
        ok("first commit", tx.commit().await)?;
        Ok(stored)
    };
    let waiter = async {
        s.runtime.sleep(s.patience).await;
        let mut tx = ok("second begin", s.store.begin(None).await)?;
        apply_in(s, &mut tx, &[second]).await?;
        note("second has its row");
        ok("second commit", tx.commit().await)
    };
    let (stored, ended) = both(holder, waiter).await;
    ended?;
    let waited = order.lock().unwrap_or_else(std::sync::PoisonError::into_inner).first() == Some(&"first ends");
    Ok((stored?, waited))
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}

async fn delete_missing<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [key] = clean(s, 5).await?;
    let (stored, waited) = waits(s, Change::Delete((s.key)(key)), put_of(s, key, 7)).await?;
    match stored.as_slice() {
        [Stored::Unread] => {}
        [Stored::Gone] => expect("it says gone, so an insert waits", waited, true)?,
        other => expect("delete", other.to_vec(), vec![Stored::Unread])?,
    }
    expect("fetch", values(s, &[key]).await?, vec![(key, 7)])
}

async fn invisible<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [old, new, gone] = clean(s, 6).await?;
    ok("apply", s.store.apply(&[put_of(s, old, 1), put_of(s, gone, 1)]).await)?;
    let mut tx = ok("begin", s.store.begin(None).await)?;
    let changes = [put_of(s, old, 2), put_of(s, new, 2), Change::Delete((s.key)(gone))];
    apply_in(s, &mut tx, &changes).await?;
    expect("fetch before the commit", values(s, &[old, new, gone]).await?, vec![(old, 1), (gone, 1)])?;
    ok("commit", tx.commit().await)?;
    expect("fetch after the commit", values(s, &[old, new, gone]).await?, vec![(old, 2), (new, 2)])
}

async fn undone<S: Store, F: for<'a> FnOnce(&'a StoreSubject<S>, S::Tx) -> BoxFuture<'a, ()>>(
    s: &StoreSubject<S>,
    check: u32,
    end: F,
) -> Verdict {
    let [old, new] = clean(s, check).await?;
    ok("apply", s.store.apply(&[put_of(s, old, 1)]).await)?;
    let mut tx = ok("begin", s.store.begin(None).await)?;
    apply_in(s, &mut tx, &[put_of(s, old, 2), put_of(s, new, 2)]).await?;
    end(s, tx).await;
    expect("fetch", values(s, &[old, new]).await?, vec![(old, 1)])?;
    // If the rows were still locked, this would wait until the test runner loses patience.
    ok("the next writer", s.store.apply(&[put_of(s, old, 3), put_of(s, new, 3)]).await)?;
    expect("fetch after it", values(s, &[old, new]).await?, vec![(old, 3), (new, 3)])
}

async fn rollback<S: Store>(s: &StoreSubject<S>) -> Verdict {
    undone(s, 7, |_, tx| Box::pin(tx.rollback())).await
}

async fn dropped<S: Store>(s: &StoreSubject<S>) -> Verdict {
    undone(s, 8, |s, tx| {
        drop(tx);
        // A server may notice a moment later.
        s.runtime.sleep(s.patience)
    })
    .await
}

async fn own_changes<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [key] = clean(s, 9).await?;
    let mut tx = ok("begin", s.store.begin(None).await)?;
    expect("put", apply_in(s, &mut tx, &[put_of(s, key, 1)]).await?, vec![Stored::As(1)])?;
    expect("put again", apply_in(s, &mut tx, &[put_of(s, key, 2)]).await?, vec![Stored::As(2)])?;
    expect("delete", apply_in(s, &mut tx, &[Change::Delete((s.key)(key))]).await?, vec![Stored::Gone])?;
    expect("put at last", apply_in(s, &mut tx, &[put_of(s, key, 3)]).await?, vec![Stored::As(3)])?;
    ok("commit", tx.commit().await)?;
    expect("fetch", values(s, &[key]).await?, vec![(key, 3)])
}

async fn row_locks<S: Store>(s: &StoreSubject<S>, exists: bool) -> Verdict {
    let [key] = clean(s, if exists { 10 } else { 11 }).await?;
    if exists {
        ok("apply", s.store.apply(&[put_of(s, key, 1)]).await)?;
    }
    let (stored, waited) = waits(s, put_of(s, key, 2), put_of(s, key, 3)).await?;
    expect("the first put", stored, vec![Stored::As(2)])?;
    expect("the second writer waited", waited, true)?;
    expect("fetch", values(s, &[key]).await?, vec![(key, 3)])
}

async fn apart<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [one, two] = clean(s, 12).await?;
    let (_, waited) = waits(s, put_of(s, one, 1), put_of(s, two, 2)).await?;
    expect("the second writer waited", waited, false)?;
    expect("fetch", values(s, &[one, two]).await?, vec![(one, 1), (two, 2)])
}

async fn readers<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [key] = clean(s, 13).await?;
    ok("apply", s.store.apply(&[put_of(s, key, 1)]).await)?;
    let mut tx = ok("begin", s.store.begin(None).await)?;
    apply_in(s, &mut tx, &[put_of(s, key, 2)]).await?;
    let deadline = s.runtime.now() + s.patience * 20;
    let read = writeway_core::tasks::until(&*s.runtime, deadline, values(s, &[key])).await;
    expect("fetch while the row is locked", read.transpose()?, Some(vec![(key, 1)]))?;
    tx.rollback().await;
    Ok(())
}

async fn autocommit<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [one, two, three] = clean(s, 14).await?;
    let stored = ok("apply", s.store.apply(&[put_of(s, one, 1), put_of(s, two, 2)]).await)?;
    expect("puts", plain(s, &stored), vec![Stored::As(1), Stored::As(2)])?;
    let changes = [put_of(s, one, 10), Change::Delete((s.key)(two)), put_of(s, three, 30)];
    let stored = ok("apply", s.store.apply(&changes).await)?;
    expect("a mixture", plain(s, &stored), vec![Stored::As(10), Stored::Gone, Stored::As(30)])?;
    expect("fetch", values(s, &[one, two, three]).await?, vec![(one, 10), (three, 30)])
}

async fn too_late<S: Store>(s: &StoreSubject<S>) -> Verdict {
    let [key] = clean(s, 15).await?;
    let Some(within) = s.commit_within else { return Ok(()) };
    let mut tx = ok("begin", s.store.begin(Some(within)).await)?;
    apply_in(s, &mut tx, &[put_of(s, key, 1)]).await?;
    s.runtime.sleep(within).await;
    let refused = tx.commit().await.is_err();
    expect("the commit is refused", refused, true)?;
    s.runtime.sleep(s.patience).await;
    expect("fetch", values(s, &[key]).await?, vec![])
}
