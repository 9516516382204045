//! Write-back embedded: SQLite and the journal in the process.
#![cfg(feature = "sqlite")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use writeway_back::diesel::prelude::*;
use writeway_back::diesel::{self, QueryResult};
use writeway_back::diesel_async::RunQueryDsl;
use writeway_back::sql::{AsyncSqliteConnection, CountTable, SqlCounts};
use writeway_back::store::Blame;
use writeway_back::{Changes, Counters, Kind, MemoryJournal, Outcome, Sql, WriteBack, WriteBackBuilder, bulk_add, counts};
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

mod schema {
    writeway_back::diesel::table! { posts (id) { id -> BigInt, likes -> BigInt, } }
}
use schema::posts;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Queryable, Selectable)]
#[diesel(table_name = posts)]
struct Likes {
    likes: i64,
}
counts!(Likes { likes });
bulk_add!(add_likes on posts: (i64, Likes) { key [id], add [likes], existing only } in Sqlite);

struct Posts;
impl CountTable for Posts {
    type Connection = AsyncSqliteConnection;
    type Key = i64;
    type Counts = Likes;
    async fn fetch(conn: &mut AsyncSqliteConnection, keys: &[i64]) -> QueryResult<Vec<(i64, Likes)>> {
        posts::table.filter(posts::id.eq_any(keys)).select((posts::id, Likes::as_select())).load(conn).await
    }
    async fn add(conn: &mut AsyncSqliteConnection, increments: &[(i64, Likes)]) -> QueryResult<Vec<(i64, Likes)>> {
        add_likes(conn, increments).await
    }
}

/// A missing row is the increment's fault, so that it is set aside at once: by default ten tries are made first.
async fn likes(file: &File) -> Counters<SqlCounts<Posts>> {
    let builder = Counters::builder(SqlCounts::new(file.pools.clone())).namespace("likes").shards(4).max_delay(LATER);
    let builder = builder.migrate().allow_volatile_changes().classify(|e| (e.kind() == Kind::Rejected).then_some(Blame::Row));
    builder.build(MemoryJournal::new()).await.expect("build")
}

#[tokio::test]
async fn counters_are_added_up_over_a_restart() {
    let file = File::make().await;
    file.run("CREATE TABLE posts (id BIGINT PRIMARY KEY, likes BIGINT NOT NULL); INSERT INTO posts VALUES (1, 100)").await;
    let counters = likes(&file).await;
    for _ in 0..50 {
        let _ticket = counters.add_many([(1, Likes { likes: 1 }), (2, Likes { likes: 2 })]).await.expect("add");
    }
    let both = [Some(Likes { likes: 150 }), Some(Likes { likes: 100 })];
    assert_eq!(counters.get_many(&[1, 2]).await.expect("get"), both, "SQL's, and what is on its way");
    assert_eq!(file.number("SELECT sum(likes) FROM posts").await, 100);
    counters.flush().await.expect("flush");
    assert_eq!(file.number("SELECT likes FROM posts").await, 150, "invariant violated: an increment is in effect once");
    assert_eq!(counters.get_many(&[1, 2]).await.expect("get"), [both[0].clone(), None]);

    let letters = counters.dead_letters(None).await.expect("letters");
    assert!(matches!(&letters[..], [letter] if letter.cause.contains("insert it and redrive")), "{letters:?}");
    file.run("INSERT INTO posts VALUES (2, 0)").await;
    assert_eq!(counters.redrive(&letters).await.expect("redrive").driven, 1);
    assert_eq!(counters.get_many(&[1, 2]).await.expect("get"), both);
    let ticket = counters.add(&1, Likes { likes: -5 }).await.expect("add");
    assert_eq!(counters.shutdown(Duration::from_secs(10)).await.expect("shutdown").left, 0);
    drop((counters, letters, ticket));

    let file = file.reopen().await;
    let counters = likes(&file).await;
    let kept = [Some(Likes { likes: 145 }), Some(Likes { likes: 100 })];
    let found = counters.get_many(&[1, 2]).await.expect("get");
    assert_eq!(found, kept, "invariant violated: an increment is in effect once");
    let _ticket = counters.add(&2, Likes { likes: 1 }).await.expect("add");
    counters.flush().await.expect("flush");
    assert_eq!(counters.get(&2).await.expect("get"), Some(Likes { likes: 101 }));
    assert_eq!(file.number("SELECT sum(likes) FROM posts").await, 246);
}
