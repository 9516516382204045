//! Which files are opened, by whom, and with which settings.

use writeway_core::error::Kind;
use writeway_core::sql::Sqlite;
use writeway_core::store::Store;

use crate::support::{File, account, key, put};

#[tokio::test]
async fn a_file_is_opened_once() {
    let file = File::make().await;
    let path = file.directory.path().join("test.db");
    let error = Sqlite::open(&path).await.expect_err("it is open");
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("open_shared"), "{error}");
    let clone = file.pools.clone();
    let File { pools, directory } = file;
    drop(pools);
    assert!(Sqlite::open(&path).await.is_err(), "a clone lives");
    drop(clone);
    Sqlite::open(&path).await.expect("nobody has it");
    drop(directory);
}

#[tokio::test]
async fn a_shared_file_is_opened_by_several() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("shared.db");
    let (one, two) = (Sqlite::open_shared(&path).await.expect("opened"), Sqlite::open_shared(&path).await.expect("opened"));
    let mut writer = one.writers().get().await.expect("a connection");
    use writeway_core::diesel_async::SimpleAsyncConnection;
    writer.batch_execute("CREATE TABLE t (x)").await.expect("made");
    two.readers().get().await.expect("a connection").batch_execute("SELECT x FROM t").await.expect("seen");
}

#[tokio::test]
async fn a_file_is_one_by_whatever_name_and_however_it_is_opened() {
    let file = File::make().await;
    let path = file.directory.path().join("test.db");
    let refused = |opened: writeway_core::error::Result<_>| opened.map(drop).expect_err("it is open").kind();
    #[cfg(unix)]
    {
        let link = file.directory.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        assert_eq!(refused(Sqlite::open(&link).await), Kind::Invalid);
    }
    assert_eq!(refused(Sqlite::open_shared(&path).await), Kind::Invalid);
    let tx = file.accounts().begin(None).await.expect("begun");
    let File { pools, directory } = file;
    drop(pools);
    assert_eq!(refused(Sqlite::open(&path).await), Kind::Invalid, "something of it lives");
    drop(tx);
    let shared = Sqlite::open_shared(&path).await.expect("nobody has it");
    assert_eq!(refused(Sqlite::open(&path).await), Kind::Invalid, "others have it");
    drop((shared, directory));
}

#[tokio::test]
async fn a_lock_that_cannot_be_taken_is_no_lock() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("test.db-lock")).expect("in the way");
    let error = Sqlite::open(directory.path().join("test.db")).await.expect_err("no lock");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn what_survives_is_what_was_committed() {
    let file = File::make().await;
    file.accounts().apply(&[put(account(1, 1))]).await.expect("applied");
    let left_open = file.accounts().begin(None).await.expect("begun");
    let path = file.directory.path().join("test.db");
    let File { pools, directory } = file;
    drop((pools, left_open));
    let file = File { pools: Sqlite::open(&path).await.expect("nobody has it"), directory };
    assert_eq!(file.accounts().fetch(&[key(1)]).await.expect("fetched"), [account(1, 1)]);
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    for path in ["", ":memory:", "file:x?mode=memory", "sqlite://x", "x\0", "."] {
        assert_eq!(Sqlite::open(path).await.expect_err(path).kind(), Kind::Invalid);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let nowhere = directory.path().join("nowhere/test.db");
    assert_eq!(Sqlite::open(&nowhere).await.expect_err("no directory").kind(), Kind::Invalid);
    assert_eq!(Sqlite::open_shared(&nowhere).await.expect_err("no directory").kind(), Kind::Invalid);
    let garbage = directory.path().join("garbage.db");
    std::fs::write(&garbage, "this is no database, and long enough to be taken for one".repeat(40)).expect("written");
    assert_eq!(Sqlite::open(&garbage).await.expect_err("garbage").kind(), Kind::Invalid);
}

#[tokio::test]
async fn every_connection_is_durable_and_checks_foreign_keys() {
    let file = File::make().await;
    for (setting, value) in [("synchronous", 2), ("foreign_keys", 1), ("query_only", 1), ("recursive_triggers", 1)] {
        assert_eq!(file.number(&format!("SELECT {setting} FROM pragma_{setting}")).await, value, "{setting}");
    }
    assert_eq!(file.number("SELECT journal_mode = 'wal' FROM pragma_journal_mode").await, 1);
    assert_eq!(file.number("SELECT timeout FROM pragma_busy_timeout").await, 5_000);
}
