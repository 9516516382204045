//! Write-through embedded: SQLite and the cache in the process.
#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use writeway_testkit::file::{File, Note, Notes, note};
use writeway_through::diesel_async::SimpleAsyncConnection;
use writeway_through::store::Store;
use writeway_through::{CacheEffect, Changes, Kind, MemoryCache, Outcome, Sql, WriteThrough, WriteThroughBuilder};

const TIME_TO_LIVE: Duration = Duration::from_secs(60);

type Handle = WriteThrough<Sql<Notes>>;

fn builder(file: &File) -> WriteThroughBuilder<Sql<Notes>> {
    // A busy machine is no failure.
    let (patience, within) = (Duration::from_secs(30), Duration::from_secs(25));
    WriteThrough::builder(file.notes()).namespace("notes").call_timeout(patience).commit_within(within)
}

async fn handle(file: &File) -> Handle {
    builder(file).build(MemoryCache::new()).await.expect("build")
}

fn version(note: &Option<Note>) -> i64 {
    note.as_ref().map_or(0, |note| note.version)
}

#[tokio::test]
async fn what_sql_made_of_a_row_is_published() {
    let file = File::make().await;
    let notes = handle(&file).await;
    let written = notes.put(note(1, "a")).await.expect("put");
    assert_eq!((version(&written.row), written.cache), (1, CacheEffect::Published));
    let written = notes.put(note(1, "b")).await.expect("put");
    assert_eq!((version(&written.row), written.cache), (2, CacheEffect::Published));
    file.run("UPDATE notes SET text = 'behind the cache'").await;
    assert_eq!(notes.get(&1).await.expect("get"), written.row, "a hit");
    notes.invalidate(&[1]).await.expect("invalidate");
    assert_eq!(notes.get(&1).await.expect("get").expect("a row").text, "behind the cache");
    assert_eq!(notes.delete(&1).await.expect("delete").cache, CacheEffect::Published);
    assert_eq!(notes.get(&1).await.expect("get"), None);
    let refused = notes.put(note(2, "")).await.expect_err("a CHECK");
    assert_eq!((refused.kind(), refused.outcome()), (Kind::Rejected, Outcome::NotApplied));
    assert_eq!(notes.get(&2).await.expect("get"), None);
}

#[tokio::test]
async fn a_transaction_of_ones_own_holds_the_only_writer() {
    let file = File::make().await;
    let short = Duration::from_millis(50);
    let notes = builder(&file).call_timeout(short).build(MemoryCache::new()).await.expect("build");
    let mut tx = notes.begin().await.expect("begin");
    tx.connection().batch_execute("INSERT INTO notes VALUES (1, 'mine', 1)").await.expect("inserted");
    notes.touch(&mut tx, &1);
    assert_eq!(notes.get(&1).await.expect("a reader does not wait"), None);
    let busy = notes.put(note(2, "other")).await.expect_err("there is one writer");
    assert_eq!((busy.is_retryable(), busy.outcome()), (true, Outcome::NotApplied), "{busy}");
    tx.commit().await.expect("commit");
    assert_eq!(notes.get(&1).await.expect("get").expect("a row").text, "mine");
    notes.put(note(2, "other")).await.expect("the writer is free");
}

/// The clock stands while SQLite works, and jumps over the audit's pauses.
#[tokio::test(start_paused = true)]
async fn an_audit_finds_what_was_changed_behind_the_cache_and_nothing_else() {
    let file = File::make().await;
    let notes = handle(&file).await;
    for id in 0..6 {
        notes.put(note(id, "written")).await.expect("put");
    }
    assert_eq!(notes.get(&9).await.expect("get"), None);
    let audit = notes.audit(100).await.expect("audit");
    assert!(audit.is_clean(), "invariant violated: an audit raises no false alarm: {audit:?}");
    assert_eq!((audit.looked_at, audit.equal, audit.absent), (7, 6, 1), "{audit:?}");

    file.run("UPDATE notes SET text = 'behind its back' WHERE id = 3; DELETE FROM notes WHERE id = 4").await;
    let audit = notes.audit(100).await.expect("audit");
    let mut stale = audit.stale().to_vec();
    stale.sort_unstable();
    assert_eq!(stale, [3, 4], "invariant violated: an audit finds what differs");
    assert_eq!((audit.looked_at, audit.equal, audit.absent, audit.undecided), (7, 4, 1, 0), "{audit:?}");
    assert_eq!(notes.get(&3).await.expect("get").expect("a row").text, "written", "it changes nothing");
}

/// Readers, writers and an auditor on three rows. A read is stale if it returns a lower version than one that was acknowledged, or
/// read from SQL, before it began.
struct Watch {
    notes: Handle,
    table: Sql<Notes>,
    highest: [AtomicI64; 3],
    stale: AtomicU64,
    reads: AtomicU64,
    done: AtomicBool,
}

impl Watch {
    async fn write(self: Arc<Self>, rounds: i64) {
        for n in 0..rounds {
            let id = n % 3;
            let row = self.notes.put(note(id, "w")).await.expect("put").row;
            self.saw(id, version(&row));
        }
    }

    async fn read(self: Arc<Self>) {
        for id in (0..3).cycle().take_while(|_| !self.done.load(SeqCst)) {
            let known = self.highest(id).load(SeqCst);
            let found = version(&self.notes.get(&id).await.expect("get"));
            self.reads.fetch_add(1, SeqCst);
            self.stale.fetch_add(u64::from(found < known), SeqCst);
            self.saw(id, found);
            tokio::task::yield_now().await;
        }
    }

    async fn audit(self: Arc<Self>) {
        for id in (0..3).cycle().take_while(|_| !self.done.load(SeqCst)) {
            let found = self.table.fetch(&[id]).await.expect("fetch").pop();
            self.saw(id, version(&found));
        }
    }

    fn highest(&self, id: i64) -> &AtomicI64 {
        &self.highest[usize::try_from(id).expect("small")]
    }

    fn saw(&self, id: i64, version: i64) {
        self.highest(id).fetch_max(version, SeqCst);
    }
}

/// Reads, and how many were stale.
#[expect(clippy::disallowed_methods, reason = "the load of a test")]
async fn watch(file: &File, notes: Handle, rounds: i64) -> (u64, u64) {
    let watch = Watch {
        notes,
        table: file.notes(),
        highest: Default::default(),
        stale: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };
    let watch = Arc::new(watch);
    let writers: Vec<_> = (0..3).map(|_| tokio::spawn(watch.clone().write(rounds))).collect();
    let mut others: Vec<_> = (0..4).map(|_| tokio::spawn(watch.clone().read())).collect();
    others.push(tokio::spawn(watch.clone().audit()));
    for writer in writers {
        writer.await.expect("no panic");
    }
    watch.done.store(true, SeqCst);
    for other in others {
        other.await.expect("no panic");
    }
    (watch.reads.load(SeqCst), watch.stale.load(SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_reads_are_never_stale() {
    let file = File::make().await;
    let (reads, stale) = watch(&file, handle(&file).await, 300).await;
    println!("strict: {reads} reads, {stale} stale");
    assert!(reads >= 1_000, "the harness did too little: {reads} reads");
    assert_eq!(stale, 0, "invariant violated: strict reads are never stale");

    let file = File::make().await;
    let eventual = builder(&file).eventual().time_to_live(TIME_TO_LIVE).build(MemoryCache::new()).await;
    let (reads, stale) = watch(&file, eventual.expect("build"), 300).await;
    println!("eventual: {reads} reads, {stale} stale");
    assert!(stale > 0, "the harness does not see what strict mode is for");
}

#[tokio::test]
async fn many_rows_in_one_write_and_one_read() {
    let file = File::make().await;
    let notes = handle(&file).await;
    let all = (0..1_500).fold(Changes::new(), |changes, id| changes.put(note(id, "n")));
    assert_eq!(notes.write(all).await.expect("write").len(), 1_500);
    let keys: Vec<i64> = (0..1_501).rev().collect();
    let found = notes.get_many(&keys).await.expect("get_many");
    assert!(found[0].is_none() && found[1..].iter().all(Option::is_some));
}
