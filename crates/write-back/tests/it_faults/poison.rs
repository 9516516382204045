//! Rows that SQL refuses, and what only looks like it: 499 of 500 land, one is set aside with its cause, a better value of its row
//! lands and clears it; a row that another may mend waits; what is the table's fault or the server's sets nothing aside.

use std::time::Duration;

use writeway_back::diesel::QueryResult;
use writeway_back::diesel_async::AsyncPgConnection;
use writeway_back::journal::Reason;
use writeway_back::store::Blame;
use writeway_back::{DeadLetter, Kind, Sql, SqlTable, WriteBackBuilder};
use writeway_testkit::harness::{Score, Scores, score};

use crate::rig::{Handle, Rig, builder, cache, until};

const ROWS: i32 = 500;

/// What the triggers and constraints of this suite refuse, by the row's note.
const REFUSING: &str = "
    CREATE TABLE games (game BIGINT PRIMARY KEY);
    INSERT INTO games VALUES (1);
    ALTER TABLE scores ADD CONSTRAINT of_a_game FOREIGN KEY (game) REFERENCES games;
    ALTER TABLE scores ALTER note TYPE VARCHAR(20);
    CREATE UNIQUE INDEX one_of_a_kind ON scores (note) WHERE note LIKE 'unique%';
    CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.note = 'overflow' THEN NEW.points := 2147483647 + NEW.player; END IF;
        IF NEW.note = 'raise' THEN RAISE EXCEPTION 'customer 5 does not exist'; END IF;
        IF NEW.note = 'sleep' THEN PERFORM pg_sleep(60); END IF;
        RETURN NEW; END $$;
    CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON scores FOR EACH ROW EXECUTE FUNCTION refuse();";

type Spoil = fn(Score) -> Score;

/// What makes a row bad, and what its letter says.
const KINDS: [(&str, Spoil, &str); 7] = [
    ("a check", |row| Score { points: -1, ..row }, "check"),
    ("an overflow", |row| noted(row, "overflow"), "out of range"),
    ("a text that is too long", |row| noted(row, "longer than twenty characters"), "value too long"),
    ("a NUL byte", |row| noted(row, "a\0b"), ""),
    ("a trigger", |row| noted(row, "raise"), "customer 5 does not exist"),
    ("a duplicate", |row| noted(row, "unique"), "unique"),
    ("a missing parent", |row| Score { game: 2, ..row }, "foreign key"),
];

fn noted(row: Score, note: &str) -> Score {
    Score { note: Some(note.to_owned()), ..row }
}

async fn refusing(test: &str) -> Option<Rig> {
    let rig = Rig::new(test).await?;
    rig.schema.run(REFUSING).await;
    Some(rig)
}

/// All letters of the namespace.
async fn letters(handle: &Handle) -> Vec<DeadLetter<Sql<Scores>>> {
    let mut all: Vec<DeadLetter<Sql<Scores>>> = Vec::new();
    loop {
        let page = handle.dead_letters(all.last()).await.expect("redis answers");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// One batch after the other may hold all five hundred, and the missing parent is given up as soon as any other row.
fn impatient<S: writeway_back::store::FencedStore>(builder: WriteBackBuilder<S>) -> WriteBackBuilder<S> {
    builder.shards(1).classify(|error| {
        let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        text.contains("of_a_game").then_some(Blame::Row)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_each_kind_of_bad_row_all_others_land() {
    let Some(rig) = refusing("poison").await else { return };
    let handle = rig.build(impatient).await;
    // So that the duplicate is one.
    handle.put(noted(score(-1, 1), "unique")).await.expect("accepted").durable().await.expect("in SQL");
    for (n, (kind, spoil, cause)) in (0..).zip(KINDS) {
        let (first, bad) = (n * 1_000, n * 1_000 + ROWS / 2);
        let rows = (first..first + ROWS).map(|player| if player == bad { spoil(score(player, 1)) } else { score(player, 1) });
        let before = handle.stats().await.expect("stats");
        drop(handle.write(rows.clone().map(writeway_back::Change::Put).collect()).await.expect("accepted"));
        let landed =
            async || rig.ledger.holds().await.into_keys().filter(|player| (first..first + ROWS).contains(player)).count();
        until("499 rows are in SQL", async || landed().await == 499).await;
        until("one is set aside", async || letters(&handle).await.len() == 1).await;
        let found = letters(&handle).await.remove(0);
        let after = handle.stats().await.expect("stats");
        println!("{kind}: 499 rows in SQL, {} splits, 1 dead letter: {}", after.splits - before.splits, found.cause);
        assert_eq!((found.reason, found.tries), (Reason::Refused, 3), "{found:?}");
        assert!(found.cause.contains(cause), "{kind}: {}", found.cause);
        assert!(after.splits - before.splits >= 8, "invariant violated: the bad row is found by halving");

        let good = score(bad, 2);
        handle.put(good.clone()).await.expect("accepted").durable().await.expect("a good value lands");
        until("the letter is gone", async || letters(&handle).await.len() == usize::from(spoil(score(bad, 1)).game == 2)).await;
        for letter in letters(&handle).await {
            // The bad row was another game's: it has a key of its own.
            assert_eq!(handle.discard(&[letter]).await.expect("discarded"), 1);
        }
        assert_eq!(rig.ledger.holds().await.get(&bad), Some(&2), "invariant violated: a later good value lands");
    }
    assert_eq!(handle.stats().await.expect("stats").dead, 0);
    rig.ascending().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_whose_parent_comes_later_waits_for_it() {
    let Some(rig) = refusing("parents").await else { return };
    let handle = rig.build(|builder| builder.shards(1)).await;
    let child = handle.put(Score { game: 2, ..score(1, 1) }).await.expect("accepted");
    for player in 2..20 {
        handle.put(score(player, 1)).await.expect("accepted").durable().await.expect("the others go on");
    }
    until("it failed alone", async || handle.stats().await.is_ok_and(|stats| stats.delayed >= 3)).await;
    assert_eq!(child.durable().await.expect_err("not yet").kind(), Kind::Unavailable);
    rig.schema.run("INSERT INTO games VALUES (2)").await;
    until("it lands", async || child.durable().await.is_ok()).await;
    let stats = handle.stats().await.expect("stats");
    println!("a parent that came late: held back {} times, {} dead letters", stats.delayed, stats.dead);
    assert_eq!((stats.dead, stats.suspects), (0, 0), "invariant violated: what another row mends is not set aside");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_driven_again_in_order_or_discarded() {
    let Some(rig) = refusing("letters").await else { return };
    let handle = rig.build(|builder| builder.shards(1)).await;
    let mut tickets = Vec::new();
    for player in 0..30 {
        tickets.push(handle.put(noted(score(player, 1), "raise")).await.expect("accepted"));
    }
    until("all are set aside", async || letters(&handle).await.len() == 30).await;
    for ticket in &tickets {
        assert_eq!(ticket.durable().await.expect_err("set aside").kind(), Kind::Rejected);
    }
    let found = letters(&handle).await;
    let players: Vec<i32> = found.iter().filter_map(|letter| letter.change.as_ref()).map(player).collect();
    assert_eq!(players, (0..30).collect::<Vec<_>>(), "invariant violated: letters are in the order in which they were accepted");

    // Nothing is mended yet: they come back, and none is lost.
    let again = handle.redrive_all().await.expect("accepted");
    assert_eq!((again.driven, again.left), (30, 0));
    until("all are set aside again", async || letters(&handle).await.len() == 30).await;

    assert_eq!(handle.discard(&found[..1]).await.expect("an answer"), 0, "that letter was replaced by a later one");
    let found = letters(&handle).await;
    assert_eq!(handle.discard(&found[..10]).await.expect("discarded"), 10);
    rig.schema.run("DROP TRIGGER refuse ON scores").await;
    let one = handle.redrive(&found[10..11]).await.expect("accepted");
    assert_eq!(one.driven, 1);
    until("it is in SQL", async || rig.ledger.holds().await.contains_key(&10)).await;
    let rest = handle.redrive_all().await.expect("accepted");
    assert_eq!((rest.driven, rest.gone, rest.superseded, rest.left), (19, 0, 0, 0));
    until("the rest is in SQL", async || rig.ledger.holds().await.len() == 20).await;
    assert!(letters(&handle).await.is_empty());
    tickets[29].durable().await.expect("invariant violated: the ticket of what was driven again is resolved");
    println!("30 letters: driven in vain, 10 discarded, 20 driven again and in SQL");
}

fn player(change: &writeway_back::Change<(i64, i32), Score>) -> i32 {
    match change {
        writeway_back::Change::Put(row) => row.player,
        writeway_back::Change::Delete((_, player)) => *player,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_letters_are_full_bad_rows_wait_and_good_ones_land() {
    let Some(rig) = refusing("full").await else { return };
    let handle = rig.build(|builder| builder.shards(1).max_dead(3)).await;
    for player in 0..10 {
        drop(handle.put(noted(score(player, 1), "raise")).await.expect("accepted"));
    }
    for player in 10..40 {
        drop(handle.put(score(player, 1)).await.expect("accepted"));
    }
    until("the good rows are in SQL", async || rig.ledger.holds().await.len() == 30).await;
    until("as many are set aside as may be", async || handle.stats().await.is_ok_and(|stats| stats.dead == 3)).await;
    let stats = handle.stats().await.expect("stats");
    assert_eq!(stats.suspects, 7, "invariant violated: dead letters are bounded, and nothing is lost: {stats:?}");
    rig.schema.run("DROP TRIGGER refuse ON scores").await;
    // In this order: one that failed just before the cure and found room would be set aside, too.
    until("those that waited are in SQL", async || rig.ledger.holds().await.len() == 37).await;
    assert_eq!(handle.redrive_all().await.expect("accepted").driven, 3);
    until("all are in SQL", async || rig.ledger.holds().await.len() == 40).await;
    println!("10 bad rows with room for 3 letters: 7 waited, and landed once they were good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_missing_and_a_row_that_is_locked_set_nothing_aside() {
    let Some(rig) = refusing("missing").await else { return };
    let handle = rig.build(|builder| builder.shards(2)).await;
    rig.schema.run("ALTER TABLE scores RENAME TO hidden").await;
    for player in 0..100 {
        drop(handle.put(score(player, 1)).await.expect("accepted"));
    }
    until("it failed for some time", async || handle.stats().await.is_ok_and(|stats| stats.retries > 30)).await;
    let stats = handle.stats().await.expect("stats");
    println!("a table that is missing: {} failures, {} suspects, {} dead letters", stats.retries, stats.suspects, stats.dead);
    assert!(stats.dead == 0 && stats.suspects <= 2, "invariant violated: while nothing lands, no row is to blame: {stats:?}");
    rig.schema.run("ALTER TABLE hidden RENAME TO scores").await;
    until("all are in SQL", async || rig.ledger.holds().await.len() == 100).await;

    let slow = handle.put(noted(score(1_000, 1), "sleep")).await.expect("accepted");
    for player in 100..200 {
        drop(handle.put(score(player, 1)).await.expect("accepted"));
    }
    until("the others are in SQL", async || rig.ledger.holds().await.len() == 200).await;
    until("it was held back", async || handle.stats().await.is_ok_and(|stats| stats.suspects == 1)).await;
    rig.schema.run("DROP TRIGGER refuse ON scores").await;
    until("it lands", async || slow.durable().await.is_ok()).await;
    let stats = handle.stats().await.expect("stats");
    println!("a row that runs into the time-out: held back {} times, {} dead letters", stats.delayed, stats.dead);
    assert_eq!((stats.dead, stats.suspects), (0, 0), "invariant violated: what is the server's fault is not set aside");
}

/// A table whose code panics at one row.
struct Panicking;

impl SqlTable for Panicking {
    type Connection = AsyncPgConnection;
    type Key = (i64, i32);
    type Row = Score;

    fn key(row: &Score) -> (i64, i32) {
        (row.game, row.player)
    }

    async fn fetch(conn: &mut AsyncPgConnection, keys: &[(i64, i32)]) -> QueryResult<Vec<Score>> {
        Scores::fetch(conn, keys).await
    }

    async fn upsert(conn: &mut AsyncPgConnection, rows: &[Score]) -> QueryResult<Vec<Score>> {
        assert!(rows.iter().all(|row| row.points != 13), "a panic of the table's code");
        Scores::upsert(conn, rows).await
    }

    async fn remove(conn: &mut AsyncPgConnection, keys: &[(i64, i32)]) -> QueryResult<usize> {
        Scores::remove(conn, keys).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_at_which_the_tables_code_panics_is_set_aside() {
    let Some(rig) = Rig::new("panics").await else { return };
    let table = Sql::<Panicking>::new(rig.schema.pool(3, Duration::from_millis(700)).await);
    let handle = builder(table).shards(1).build(cache(&rig.given).await).await.expect("build");
    let rows = (0..ROWS).map(|player| score(player, if player == 250 { 13 } else { 1 }));
    drop(handle.write(rows.map(writeway_back::Change::Put).collect()).await.expect("accepted"));
    until("the others are in SQL", async || rig.ledger.holds().await.len() == 499).await;
    until("one is set aside", async || handle.stats().await.is_ok_and(|stats| stats.dead == 1)).await;
    let letter = handle.dead_letters(None).await.expect("letters").remove(0);
    println!("a panic at one of {ROWS} rows: {}", letter.cause);
    assert!(letter.cause.contains("panicked") && letter.change.is_some());
    assert!(!format!("{letter:?}").contains("13"), "invariant violated: no value is in Debug");
    handle.put(score(250, 14)).await.expect("accepted").durable().await.expect("a good value lands");
    assert_eq!(handle.stats().await.expect("stats").dead, 0);
}
