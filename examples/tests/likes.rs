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
use likes::{App, LikesTable as _, SqliteLikes, embedded, router};
use serde_json::json;
use tokio::task::JoinSet;

/// Longer than the test: nothing is flushed that is not asked for.
const NEVER: Duration = Duration::from_secs(3_600);
/// Where the file of the process that is going to be killed lies.
const FILE: &str = "WRITEWAY_LIKES_FILE";
const JOB: &str = "WRITEWAY_LIKES_JOB";

async fn in_sql(app: &App<SqliteLikes>, post: i64) -> i64 {
    SqliteLikes::count(&mut *app.pools.readers().get().await.expect("a connection"), post).await.expect("counted")
}

/// Presses the button once for each of the users, and says how many were told that it counts.
async fn press(app: Arc<App<SqliteLikes>>, method: &'static str, post: i64, users: std::ops::Range<i64>) -> usize {
    let (app, mut accepted) = (router(app), 0);
    for user in users {
        let (status, _) = call(&app, method, &format!("/posts/{post}/likes/{user}"), None).await;
        accepted += usize::from(status == StatusCode::ACCEPTED);
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_seen_at_once_and_counted_when_it_is_flushed() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = embedded(&directory.path().join("likes.db"), NEVER).await.expect("built");
    let http = router(app.clone());
    for _ in 0..5 {
        assert_eq!(press(app.clone(), "PUT", 1, 0..10).await, 10);
    }
    assert_eq!(call(&http, "GET", "/posts/1/likes/7", None).await.1, json!({ "liked": true }));
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1, json!({ "post": 1, "likes": 0 }), "on its way");
    app.likes.flush().await.expect("flushed");
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1, json!({ "post": 1, "likes": 10 }), "pressed five times, liked once");
    assert_eq!(press(app.clone(), "DELETE", 1, 7..8).await, 1);
    assert_eq!(call(&http, "GET", "/posts/1/likes/7", None).await.1, json!({ "liked": false }));
    app.likes.flush().await.expect("flushed");
    assert_eq!(call(&http, "GET", "/posts/1", None).await.1, json!({ "post": 1, "likes": 9 }));
    let stats = call(&http, "GET", "/stats", None).await.1;
    assert_eq!((&stats["accepted"], &stats["rows_written_to_sql"], &stats["on_their_way"]), (&json!(51), &json!(11), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_in_sql_after_a_shutdown() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = embedded(&directory.path().join("likes.db"), Duration::from_millis(5)).await.expect("built");
    let mut clients = JoinSet::new();
    for client in 0..8 {
        // Three posts; of each four clients press for the same users.
        clients.spawn(press(app.clone(), "PUT", client % 3, 0..100));
    }
    for accepted in clients.join_all().await {
        assert_eq!(accepted, 100);
    }
    let drained = app.likes.shutdown(Duration::from_secs(30)).await.expect("drained");
    assert_eq!(drained.left, 0);
    for post in 0..3 {
        assert_eq!(in_sql(&app, post).await, 100, "invariant violated: an acknowledged like is in sql");
    }
    assert_eq!(press(app, "PUT", 1, 0..1).await, 0, "closed");
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
    assert_eq!(in_sql(&app, 1).await, 100, "invariant violated: what was flushed stays");
    assert_eq!(in_sql(&app, 2).await, 0, "what was accepted only is lost with an embedded journal");
    let stats = app.likes.stats().await.expect("stats");
    assert!(stats.loss_possible > 0, "invariant violated: a possible loss is reported");
    assert_eq!((stats.dirty, stats.dead), (0, 0));
    let http = router(app.clone());
    assert_eq!(call(&http, "GET", "/posts/1/likes/1", None).await.1, json!({ "liked": true }));
    assert_eq!(call(&http, "GET", "/posts/2/likes/1", None).await.1, json!({ "liked": false }), "reads say what is there");
    assert_eq!(press(app.clone(), "PUT", 2, 0..100).await, 100);
    assert_eq!(app.likes.shutdown(Duration::from_secs(30)).await.expect("drained").left, 0);
    assert_eq!((in_sql(&app, 1).await, in_sql(&app, 2).await), (100, 100), "invariant violated: it goes on where it was");
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
    let app = embedded(file, NEVER).await.expect("built");
    if env::var(JOB).expect("a job") == "flush" {
        assert_eq!(press(app.clone(), "PUT", 1, 0..100).await, 100);
        app.likes.flush().await.expect("flushed");
    } else {
        assert_eq!(press(app.clone(), "PUT", 2, 0..100).await, 100);
    }
    println!("done");
    let _ended = stdin().read_line(&mut String::new());
}
