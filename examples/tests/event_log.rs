//! The event log, embedded.

#[path = "../event_log.rs"]
#[expect(dead_code, reason = "its `main` and its servers")]
mod event_log;
#[path = "checks/http.rs"]
mod http;

use axum::http::StatusCode;
use event_log::{SqliteEvents, open, router};
use http::call;
use serde_json::{Value, json};
use writeway_around::MemoryCache;
use writeway_around::sql::Sqlite;

fn event(n: usize, text: &str) -> Value {
    json!({ "id": format!("door:{n}"), "at_ms": 1_000 + n, "text": text })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_pass_the_cache_by_and_late_reads_fill_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let pools = Sqlite::open(directory.path().join("events.db")).await.expect("opened");
    let cache = MemoryCache::new();
    let log = open::<SqliteEvents>(pools, cache.clone()).await.expect("built");
    let app = router(log.clone());

    let batch: Vec<Value> = (0..1_000).map(|n| event(n, "opened")).collect();
    for _ in 0..2 {
        let sent = call(&app, "POST", "/events", Some(json!(batch))).await;
        assert_eq!(sent, (StatusCode::OK, json!({ "committed": 1_000 })), "sent twice, it is the same events");
    }
    assert_eq!(cache.len(), 0, "nobody has read yet");
    for _ in 0..2 {
        assert_eq!(call(&app, "GET", "/events/door:77", None).await, (StatusCode::OK, event(77, "opened")));
        assert_eq!(cache.len(), 1);
    }
    call(&app, "POST", "/events", Some(json!([event(77, "put right"), event(1_000, "new")]))).await;
    assert_eq!(call(&app, "GET", "/events/door:77", None).await.1, event(77, "put right"), "the copy was removed");
    assert_eq!(call(&app, "GET", "/events/door:1000", None).await.1, event(1_000, "new"));
    assert_eq!(call(&app, "GET", "/events/door:1001", None).await.0, StatusCode::NOT_FOUND);

    let too_many: Vec<Value> = (0..1_001).map(|n| event(n, "")).collect();
    assert_eq!(call(&app, "POST", "/events", Some(json!(too_many))).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(call(&app, "POST", "/events", Some(json!([]))).await, (StatusCode::OK, json!({ "committed": 0 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_does_wrong_is_said_to_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let pools = Sqlite::open(directory.path().join("events.db")).await.expect("opened");
    let app = router(open::<SqliteEvents>(pools, MemoryCache::new()).await.expect("built"));
    let send = |id: String, text: String| {
        let app = app.clone();
        async move { call(&app, "POST", "/events", Some(json!([{ "id": id, "at_ms": 1, "text": text }]))).await.0 }
    };
    let (longest_id, longest_text) = ("{".repeat(256), "\u{1}".repeat(65_536));
    assert_eq!(send(longest_id, longest_text.clone()).await, StatusCode::OK, "escaped, both fit what the cache allows");
    let long = "a".repeat(257);
    for id in ["", "a\0", &long] {
        assert_eq!(send(id.to_owned(), String::new()).await, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(send("a".into(), "a\0".into()).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send("a".into(), longest_text + "a").await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(call(&app, "GET", "/events/a", None).await.0, StatusCode::NOT_FOUND, "nothing of it was committed");
    for id in ["a%00", &long] {
        let (status, body) = call(&app, "GET", &format!("/events/{id}"), None).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(body, json!({ "error": "an id has 1 to 256 bytes, and none of them is zero" }));
    }
}
