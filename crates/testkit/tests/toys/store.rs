//! The simulated SQL behaves as SQL: locks that wait, deletes that do not, nothing before a commit, nothing after a rollback.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use writeway_core::change::{Change, Stored};
use writeway_core::error::Outcome;
use writeway_core::runtime::Runtime;
use writeway_core::store::{Store as _, Transaction};
use writeway_testkit::check;
use writeway_testkit::explorer::Explore;
use writeway_testkit::sim::Cell;

use crate::protocol::put;

#[test]
fn writers_of_a_missing_row_wait_for_each_other() {
    let report = Explore::new("two inserts").run(|world| {
        let store = world.store(&[]);
        let app = world.process("app");
        for value in [10, 20] {
            let store = store.clone();
            app.task(format!("insert {value}"), async move {
                let mut tx = store.begin(None).await.expect("no faults");
                store.apply_in(&mut tx, &[put(value)]).await.expect("no faults");
                assert_eq!(store.committed(1).is_some(), store.history().commits.len() == 1, "not before the commit");
                tx.commit().await.expect("no faults");
                assert_eq!(store.committed(1), Some(value), "the other one waits until now");
            });
        }
        world.explore()
    });
    assert!(report.counts.lock_waits > 0, "{report}");
}

#[test]
fn a_delete_that_finds_no_row_locks_nothing() {
    let seen = Mutex::new(BTreeSet::new());
    let report = Explore::new("delete and insert").run(|world| {
        let store = world.store(&[]);
        let app = world.process("app");
        let (deletes, inserts) = (store.clone(), store.clone());
        app.task("delete", async move {
            let mut tx = deletes.begin(None).await.expect("no faults");
            let gone = deletes.apply_in(&mut tx, &[Change::Delete(1)]).await.expect("no faults");
            tx.commit().await.expect("no faults");
            assert!(gone == [Stored::Gone] || gone == [Stored::Unread]);
        });
        app.task("insert", async move {
            let mut tx = inserts.begin(None).await.expect("no faults");
            let stored = inserts.apply_in(&mut tx, &[put(10)]).await.expect("no faults");
            assert_eq!(stored, [Stored::As(Cell { key: 1, value: 10 })]);
            tx.commit().await.expect("no faults");
        });
        world.explore()?;
        seen.lock().unwrap().insert(store.committed(1));
        Ok(())
    });
    assert_eq!(seen.into_inner().unwrap(), BTreeSet::from([None, Some(10)]));
    assert_eq!((report.runs, report.counts.lock_waits), (6, 0));
}

#[test]
fn a_delete_that_waited_for_another_delete_finds_nothing() {
    let unread = Mutex::new(0);
    let report = Explore::new("two deletes").run(|world| {
        let store = world.store(&[(1, 0)]);
        let app = world.process("app");
        for name in ["one", "two"] {
            let store = store.clone();
            let unread = store.clone();
            app.task(name, async move {
                let mut tx = store.begin(None).await.expect("no faults");
                let first = store.history().commits.is_empty();
                let stored = store.apply_in(&mut tx, &[Change::Delete(1)]).await.expect("no faults");
                let alone = stored == [Stored::Gone];
                tx.commit().await.expect("no faults");
                assert!(alone || first || unread.committed(1).is_none());
            });
        }
        world.explore()?;
        *unread.lock().unwrap() += store.history().commits.iter().filter(|commit| !commit.changed).count();
        Ok(())
    });
    assert_eq!(u64::try_from(unread.into_inner().unwrap()).unwrap(), report.runs, "one of the two, in every run");
    assert!(report.counts.lock_waits > 0);
}

#[test]
fn what_is_dropped_is_rolled_back_and_what_is_autocommitted_stays() {
    Explore::new("a crash while another waits").crashes(1).run(|world| {
        let store = world.store(&[(1, 0)]);
        let (dying, other) = (world.process("dying"), world.process("other").immortal());
        let holder = store.clone();
        dying.task("holder", async move {
            let mut tx = holder.begin(None).await.expect("no faults");
            holder.apply_in(&mut tx, &[put(10)]).await.expect("no faults");
            tx.rollback().await;
        });
        let waiter = store.clone();
        other.task("waiter", async move {
            let change = put(20);
            let applied = waiter.witness_write(std::slice::from_ref(&change), waiter.apply(std::slice::from_ref(&change))).await;
            assert_eq!(applied.expect("no faults"), [Stored::As(Cell { key: 1, value: 20 })]);
        });
        world.explore()?;
        assert_eq!(store.committed(1), Some(20));
        check::strict(world, &world.cache(), &store)
    });
}

#[test]
fn a_commit_ends_in_every_way_and_never_after_the_servers_time_out() {
    let ends = Arc::new(Mutex::new(BTreeSet::new()));
    Explore::new("one commit").store_faults(1).lapses(1, Duration::from_secs(10)).run(|world| {
        let store = world.store(&[(1, 0)]);
        let writer = store.clone();
        let (runtime, ends) = (world.runtime(), ends.clone());
        world.process("app").task("writer", async move {
            let Ok(mut tx) = writer.begin(Some(Duration::from_secs(2))).await else { return };
            if writer.apply_in(&mut tx, &[put(10)]).await.is_err() {
                return;
            }
            let started = runtime.now();
            let outcome = tx.commit().await.map_err(|e| e.outcome());
            let committed = || writer.committed(1) == Some(10);
            assert!(
                runtime.now() < started + Duration::from_secs(2)
                    || outcome.is_ok() == committed()
                    || outcome == Err(Outcome::Unknown)
            );
            let settled = committed();
            // By then, whatever lands has landed.
            runtime.sleep(Duration::from_secs(2)).await;
            ends.lock().unwrap().insert((format!("{outcome:?}"), settled, committed()));
        });
        world.explore()
    });
    let ends = ends.lock().unwrap().clone();
    let of = |answer: &str| ends.iter().filter(|end| end.0 == answer).map(|end| (end.1, end.2)).collect::<BTreeSet<_>>();
    assert_eq!(of("Ok(())"), BTreeSet::from([(true, true)]));
    assert_eq!(of("Err(NotApplied)"), BTreeSet::from([(false, false)]));
    assert_eq!(of("Err(Unknown)"), BTreeSet::from([(false, false), (false, true), (true, true)]));
}
