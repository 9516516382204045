//! Somebody who does not take part: a row that is changed past the handles, a key that belongs to a newer release.

use writeway_core::entry::{FORMAT, MAGIC, VALUE};
use writeway_core::store::Store as _;
use writeway_testkit::check;
use writeway_testkit::explorer::{Verdict, Violation};
use writeway_testkit::sim::Cell;
use writeway_through::{Change, Kind, Outcome};

use crate::setup::{KEY, Site, cache_key, explore};

/// Reads may be stale until the invalidation; after it nothing may be.
#[test]
fn a_row_changed_by_others_and_then_invalidated() {
    let report = explore("a change by others, an invalidation, a writer, a reader").run(|world| -> Verdict {
        let site = Site::new(world);
        let [one, two, three] = site.apps();
        one.task("changes it past the handle", |app| async move {
            app.note(app.store.apply(&[Change::Put(Cell { key: KEY, value: 30 })]).await);
            app.note(app.handle.invalidate(&[KEY]).await);
        });
        two.puts(10);
        three.reads(1);
        world.explore()?;
        check::answers_hold(site.store.database())?;
        check::nothing_stale_at_rest(&site.cache, site.store.database())?;
        site.nothing_fails_by_itself()?;
        site.serves_again()
    });
    assert!(report.assert_complete().counts.lock_waits > 0, "{report}");
}

/// During a deploy: readers read SQL, writers refuse, and the entry stays as it is.
#[test]
fn an_entry_of_a_newer_release() {
    let foreign = [&[MAGIC, VALUE, FORMAT + 1][..], b"from the future"].concat();
    let report = explore("an entry of a newer release, one writer, one reader").run(|world| -> Verdict {
        let site = Site::new(world);
        let [one, two] = site.apps();
        site.cache.put_raw(&cache_key(KEY), &foreign, None);
        one.task("puts", |app| async move {
            let row = Cell { key: KEY, value: 10 };
            let put = app.store.witness_put(row, app.handle.put(row)).await;
            let refused = put.as_ref().is_err_and(|e| (e.kind(), e.outcome()) == (Kind::Rejected, Outcome::NotApplied));
            app.note(if refused { Ok(()) } else { Err(writeway_through::Error::invalid("must be refused")) });
        });
        two.reads(1);
        world.explore()?;
        check::reads_are_linearizable(site.store.database())?;
        check::answers_hold(site.store.database())?;
        let left = site.cache.raw(&cache_key(KEY));
        Violation::unless(left.as_ref() == Some(&foreign), "hands off foreign entries", || format!("{left:02x?}"))?;
        site.nothing_fails_by_itself()
    });
    assert_eq!(report.assert_complete().counts.hits, 0, "{report}");
}
