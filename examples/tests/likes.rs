//! The likes, embedded: what an acknowledgement is worth, when the process is told to end and when it is killed.

#[path = "checks/http.rs"]
mod http;
#[path = "../likes.rs"]
#[expect(dead_code, reason = "its `main` and its servers")]
mod likes;

use std::env;
use std::io::{BufRead as _, BufReader, stdin};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use http::call;
use likes::{App, OnSqlite, SqliteCounts, embedded, router};
use serde_json::json;
use tokio::task::JoinSet;
use writeway_back::CountTable as _;
use writeway_back::sql::Sqlite;

/// Longer than the test: nothing is flushed that is not asked for.
const NEVER: Duration = Duration::from_secs(3_600);
/// Where the file of the process that is going to be killed lies.
const FILE: &str = "WRITEWAY_LIKES_FILE";
const JOB: &str = "WRITEWAY_LIKES_JOB";

type Likes = App<OnSqlite>;

/// As SQL has it: the table's own function, past the handle.
async fn in_sql(file: &Path, post: i64) -> (i64, i64) {
    let pools = Sqlite::open_shared(file).await.expect("nobody has it alone any more");
    let mut conn = pools.readers().get().await.expect("a connection");
    let rows = SqliteCounts::fetch(&mut conn, &[post]).await.expect("read");
    rows.first().map_or((0, 0), |(_, counts)| (counts.likes, counts.views))
}

async fn opened(file: &Path, max_delay: Duration) -> Arc<Likes> {
    let app = embedded(file, max_delay).await.expect("built");
    for id in 0..3 {
        let (status, _) = call(&router(app.clone()), "PUT", &format!("/posts/{id}"), Some(json!({ "title": "Hello" }))).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    app
}

/// Presses a button so often, and says how many presses were told that they count.
async fn press(app: Arc<Likes>, method: &'static str, path: String, times: i64) -> i64 {
    let (app, mut accepted) = (router(app), 0);
    for _ in 0..times {
        let (status, _) = call(&app, method, &path, None).await;
        accepted += i64::from(status == StatusCode::ACCEPTED);
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_press_is_seen_at_once_and_many_are_one_change_of_a_row() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = opened(&directory.path().join("likes.db"), NEVER).await;
    let http = router(app.clone());
    assert_eq!(press(app.clone(), "POST", "/posts/1/likes".into(), 50).await, 50);
    assert_eq!(press(app.clone(), "POST", "/posts/1/views".into(), 60).await, 60);
    assert_eq!(press(app.clone(), "DELETE", "/posts/1/likes".into(), 1).await, 1);
    let seen = json!({ "post": 1, "title": "Hello", "likes": 49, "views": 60 });
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1, seen, "invariant violated: what was acknowledged is seen");
    app.counts.flush().await.expect("flushed");
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1, seen);
    let stats = call(&http, "GET", "/stats", None).await.1;
    assert_eq!((&stats["accepted"], &stats["rows_written_to_sql"], &stats["on_their_way"]), (&json!(111), &json!(1), &json!(0)));
    assert_eq!(call(&http, "POST", "/posts/9/likes", None).await.0, StatusCode::NOT_FOUND);

    // The title is another namespace's, and the counters are not its.
    call(&http, "PUT", "/posts/1", Some(json!({ "title": "Again" }))).await;
    let seen = json!({ "post": 1, "title": "Again", "likes": 49, "views": 60 });
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1, seen, "invariant violated: neither overwrites what is the other's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_sql_after_a_shutdown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("likes.db");
    let app = opened(&file, Duration::from_millis(5)).await;
    let mut clients = JoinSet::new();
    for client in 0..9 {
        clients.spawn(press(app.clone(), "POST", format!("/posts/{}/likes", client % 3), 100));
    }
    for accepted in clients.join_all().await {
        assert_eq!(accepted, 100);
    }
    let drained = app.counts.shutdown(Duration::from_secs(30)).await.expect("drained");
    assert_eq!(drained.left, 0);
    assert_eq!(press(app.clone(), "POST", "/posts/1/likes".into(), 1).await, 0, "closed");
    drop(app);
    for post in 0..3 {
        assert_eq!(in_sql(&file, post).await, (300, 0), "invariant violated: an acknowledged like is in sql, once");
    }
}

/// The test starts itself twice as a process of its own, and kills it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_what_was_flushed_is_there() {
    if let Some(file) = env::var_os(FILE) {
        return work(Path::new(&file)).await;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("likes.db");
    start_and_kill(&file, "flush");
    start_and_kill(&file, "accept");

    let app = embedded(&file, NEVER).await.expect("the lock of a process that is dead is gone, and the handle opens again");
    let stats = app.counts.stats().await.expect("stats");
    assert!(stats.loss_possible > 0, "invariant violated: a possible loss is reported");
    assert_eq!((stats.dirty, stats.dead), (0, 0));
    let http = router(app.clone());
    let likes = async |post: i64| call(&http, "GET", &format!("/posts/{post}"), None).await.1["likes"].clone();
    assert_eq!(likes(1).await, json!(100), "invariant violated: what was flushed stays");
    assert_eq!(likes(2).await, json!(0), "what was accepted only is lost with an embedded journal");
    assert_eq!(press(app.clone(), "POST", "/posts/2/likes".into(), 100).await, 100);
    assert_eq!(likes(2).await, json!(100), "invariant violated: it goes on where it was");
    assert_eq!(app.counts.shutdown(Duration::from_secs(30)).await.expect("drained").left, 0);
}

/// A process that likes a hundred times and says when that is done: SIGKILL, at that moment.
fn start_and_kill(file: &Path, job: &str) {
    let mut command = Command::new(env::current_exe().expect("we are running"));
    // Two threads: with one, libtest begins a line before the test does.
    command.args(["--exact", "after_a_kill_what_was_flushed_is_there", "--quiet", "--nocapture", "--test-threads=2"]);
    let command = command.env(FILE, file).env(JOB, job).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("a line") == "done"), "the process ended before it was killed");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// In that process, which ends with its parent at the latest. (What is accepted after a flush may be taken along by it: hence two
/// processes.)
async fn work(file: &Path) {
    let app = opened(file, NEVER).await;
    if env::var(JOB).expect("a job") == "flush" {
        assert_eq!(press(app.clone(), "POST", "/posts/1/likes".into(), 100).await, 100);
        app.counts.flush().await.expect("flushed");
    } else {
        assert_eq!(press(app.clone(), "POST", "/posts/2/likes".into(), 100).await, 100);
    }
    println!("done");
    let _ended = stdin().read_line(&mut String::new());
}
