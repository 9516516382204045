//! Write-back embedded: SQLite and the journal in the process.
#![cfg(feature = "sqlite")]

use std::time::Duration;

use writeway_back::{Changes, Kind, MemoryJournal, Outcome, Sql, WriteBack, WriteBackBuilder};
use writeway_testkit::file::{File, Notes, note};

const LATER: Duration = Duration::from_secs(3_600);

fn builder(file: &File) -> WriteBackBuilder<Sql<Notes>> {
    WriteBack::builder(file.notes()).namespace("notes").shards(4).migrate().allow_volatile_changes()
}

#[tokio::test]
async fn many_changes_of_few_rows_are_few_rows_in_sql() {
    let file = File::make().await;
    let notes = builder(&file).max_delay(LATER).build(MemoryJournal::new()).await.expect("build");
    for round in 0..100 {
        for id in 0..8 {
            let _ticket = notes.put(note(id, &round.to_string())).await.expect("put");
        }
    }
    assert_eq!(notes.get(&3).await.expect("get").expect("a row").text, "99");
    assert_eq!(file.number("SELECT count(*) FROM notes").await, 0);
    notes.flush().await.expect("flush");
    assert_eq!(file.number("SELECT count(*) FROM notes WHERE text = '99' AND version = 1").await, 8, "the last of each, once");
    assert_eq!(notes.get(&3).await.expect("get").expect("a row").version, 1, "as SQL returned it");
    let ticket = notes.write(Changes::new().delete(3).put(note(4, "last"))).await.expect("write");
    notes.flush().await.expect("flush");
    ticket.durable().await.expect("durable");
    assert_eq!(file.number("SELECT count(*) FROM notes").await, 7);
    let drained = notes.shutdown(Duration::from_secs(10)).await.expect("shutdown");
    assert_eq!(drained.left, 0);
}

#[tokio::test]
async fn what_was_never_flushed_is_reported_too() {
    let file = File::make().await;
    let notes = builder(&file).max_delay(LATER).build(MemoryJournal::new()).await.expect("build");
    let ticket = notes.put(note(1, "unflushed")).await.expect("put");
    assert_eq!(notes.shutdown(Duration::ZERO).await.expect("shutdown").left, 1);
    drop((notes, ticket));
    let file = file.reopen().await;
    let notes = builder(&file).max_delay(LATER).build(MemoryJournal::new()).await.expect("build");
    let told = notes.stats().await.expect("stats").loss_possible;
    assert!(told > 0, "invariant violated: a possible loss is reported");
    assert_eq!(notes.get(&1).await.expect("get"), None);
}

#[tokio::test]
async fn what_was_not_flushed_ends_with_the_process_and_is_reported() {
    let file = File::make().await;
    let notes = builder(&file).max_delay(LATER).build(MemoryJournal::new()).await.expect("build");
    assert_eq!(notes.stats().await.expect("stats").loss_possible, 0, "a first start loses nothing");
    let flushed = notes.put(note(1, "flushed")).await.expect("put");
    notes.flush().await.expect("flush");
    let unflushed = notes.put(note(2, "unflushed")).await.expect("put");
    let receipts = [flushed.receipt(), unflushed.receipt()];
    let drained = notes.shutdown(Duration::ZERO).await.expect("shutdown");
    assert_eq!(drained.left, 1, "the remainder is told");
    drop((notes, flushed, unflushed));

    let file = file.reopen().await;
    let notes = builder(&file).max_delay(LATER).build(MemoryJournal::new()).await.expect("build");
    assert!(notes.stats().await.expect("stats").loss_possible > 0, "said so");
    assert_eq!(notes.get(&1).await.expect("get").expect("a row").text, "flushed");
    assert_eq!(notes.get(&2).await.expect("get"), None, "there was no journal to keep it");
    for receipt in &receipts {
        let error = notes.durable(receipt).await.expect_err("the new journal has never heard of it");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Unknown), "{error}");
    }
    let _ticket = notes.put(note(2, "again")).await.expect("put");
    notes.flush().await.expect("flush");
    assert_eq!(file.number("SELECT count(*) FROM notes").await, 2);
}

/// The clock stands while SQLite works, and jumps over the audit's pauses.
#[tokio::test(start_paused = true)]
async fn an_audit_finds_what_was_changed_behind_its_back_and_nothing_else() {
    let file = File::make().await;
    let notes = builder(&file).max_delay(LATER).build(MemoryJournal::new()).await.expect("build");
    for id in 0..6 {
        let _ticket = notes.put(note(id, "flushed")).await.expect("put");
    }
    notes.flush().await.expect("flush");
    let _ticket = notes.put(note(5, "on its way")).await.expect("put");
    assert_eq!(notes.get(&9).await.expect("get"), None);
    let audit = notes.audit(100).await.expect("audit");
    assert!(audit.is_clean(), "invariant violated: an audit raises no false alarm: {audit:?}");
    assert_eq!((audit.looked_at, audit.equal, audit.dirty, audit.absent), (7, 5, 1, 1), "{audit:?}");

    file.run("UPDATE notes SET text = 'behind its back' WHERE id = 3").await;
    let audit = notes.audit(100).await.expect("audit");
    assert_eq!(audit.stale(), [3], "invariant violated: an audit finds what differs");
    assert_eq!((audit.looked_at, audit.equal, audit.dirty, audit.absent), (7, 4, 1, 1), "{audit:?}");
    assert_eq!((audit.undecided, audit.stranded, audit.damaged), (0, 0, 0), "{audit:?}");
    assert_eq!(notes.get(&3).await.expect("get").expect("a row").text, "flushed", "it changes nothing");
}
