//! The ledger, embedded.

#[path = "checks/ledger.rs"]
mod checks;
#[path = "checks/http.rs"]
mod http;
#[path = "../ledger.rs"]
#[expect(dead_code, reason = "its `main` and its servers")]
mod ledger;

use ledger::SqliteAccounts;
use tempfile::TempDir;
use writeway_through::MemoryCache;
use writeway_through::sql::{AsyncSqliteConnection, Pools, Sqlite};

async fn opened() -> (TempDir, Pools<AsyncSqliteConnection>) {
    let directory = tempfile::tempdir().expect("a directory");
    let pools = Sqlite::open(directory.path().join("ledger.db")).await.expect("opened");
    (directory, pools)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers() {
    let (_directory, pools) = opened().await;
    checks::answers::<SqliteAccounts>(pools, MemoryCache::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cent_is_lost() {
    let (_directory, pools) = opened().await;
    checks::no_cent_is_lost::<SqliteAccounts>(pools, MemoryCache::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_moves_once() {
    let (_directory, pools) = opened().await;
    checks::one_id_moves_once::<SqliteAccounts>(pools, MemoryCache::new()).await;
}
