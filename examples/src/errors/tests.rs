//! Every kind and outcome has its status; what is unknown is tried again once.

use std::io::{Read, Write};

use axum::body::to_bytes;
use writeway_testkit::double::{Act, Script, ScriptedStore};
use writeway_through::{MemoryCache, MemoryStore};

use super::*;

type Users = WriteThrough<ScriptedStore<MemoryStore<i64, User>>>;

async fn users(script: &Script) -> Users {
    let table = ScriptedStore::new(MemoryStore::new(|user: &User| user.id), script);
    WriteThrough::builder(table).namespace("users").build(MemoryCache::new()).await.unwrap()
}

async fn answer(failure: Failure) -> (u16, Option<String>, String) {
    let response = failure.into_response();
    let retry = response.headers().get(RETRY_AFTER).map(|seconds| seconds.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1_000).await.unwrap();
    (status, retry, String::from_utf8(body.to_vec()).unwrap())
}

fn refused(violation: Violation) -> Error {
    Error::rejected("no").with_source(Diesel::DatabaseError(violation, Box::new("Key (name)=(canary)".to_owned())))
}

#[test]
fn every_kind_and_outcome_has_its_status() {
    let kinds = [
        (Error::closed(), 503, Some(1)),
        (Error::fenced(), 503, Some(1)),
        (Error::unavailable("x"), 503, Some(1)),
        (Error::overloaded("x"), 503, Some(2)),
        (Error::rejected("x"), 500, None),
        (Error::invalid("x"), 500, None),
    ];
    for (error, expected, seconds) in kinds {
        assert_eq!((status(&error).as_u16(), retry_after(&error)), (expected, seconds), "{error:?}");
        for outcome in [Outcome::Applied, Outcome::Unknown] {
            let error = error.clone().with_outcome(outcome);
            assert_eq!((status(&error).as_u16(), retry_after(&error)), (500, None), "{error:?}");
        }
    }
}

#[test]
fn a_constraint_is_the_clients_matter() {
    use Violation as Is;
    let conflicts = [Is::UniqueViolation, Is::ForeignKeyViolation, Is::RestrictViolation, Is::ExclusionViolation];
    assert!(conflicts.into_iter().all(|violation| status(&refused(violation)) == StatusCode::CONFLICT));
    let wrong = [Is::NotNullViolation, Is::CheckViolation];
    assert!(wrong.into_iter().all(|violation| status(&refused(violation)) == StatusCode::UNPROCESSABLE_ENTITY));
    assert_eq!(status(&refused(Is::Unknown)), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_statement_of_ones_own_is_told_apart_as_the_librarys_are() {
    let said = |violation, text: &str| Failure::from(Diesel::DatabaseError(violation, Box::new(text.to_owned())));
    assert_eq!(answer(said(Violation::UniqueViolation, "canary")).await.0, 409);
    assert_eq!(answer(said(Violation::ClosedConnection, "canary")).await.0, 503);
    assert_eq!(answer(said(Violation::Unknown, "deadlock detected")).await.0, 503);
    assert_eq!(answer(said(Violation::Unknown, "canary")).await.0, 500);
    assert_eq!(answer(Diesel::NotFound.into()).await.0, 404);
}

#[tokio::test]
async fn bodies_hold_words_of_our_own() {
    let (status, retry, body) = answer(refused(Violation::UniqueViolation).into()).await;
    assert_eq!((status, retry, body.as_str()), (409, None, r#"{"error":"rejected","outcome":"not_applied"}"#));
    let (status, retry, body) = answer(Error::unavailable("secret").into()).await;
    assert_eq!((status, retry.as_deref()), (503, Some("1")));
    assert_eq!(body, r#"{"error":"unavailable","outcome":"not_applied"}"#);
    let (status, retry, body) = answer(Error::unknown("secret").into()).await;
    assert_eq!((status, retry, body.as_str()), (500, None, r#"{"error":"unavailable","outcome":"unknown"}"#));
    assert_eq!(answer(Failure::Missing).await.0, 404);
}

#[tokio::test]
async fn what_is_unknown_is_put_once_more() {
    let script = Script::new();
    let users = users(&script).await;
    let put = || replace(State(users.clone()), Path(7), Json(Draft { name: "Ada".into() }));
    script.on("commit", Act::LoseAnswer(|| Error::unknown("lost")));
    let e = put().await.expect_err("lost twice");
    assert_eq!((answer(e).await.0, script.count("commit")), (500, 2));

    script.on("commit", Act::Fail(|| Error::unavailable("away")));
    let e = put().await.expect_err("refused once, and not tried again");
    assert_eq!((answer(e).await.0, script.count("commit")), (503, 3));

    script.on("commit", Act::Pass);
    assert_eq!(put().await.unwrap().0.unwrap().name, "Ada");
    assert_eq!(show(State(users), Path(7)).await.unwrap().0.name, "Ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_drains_before_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let users = users(&Script::new()).await;
    let handle = users.clone();
    let server = serve(listener, users, async move { drop(stopped.await) });
    let ask = move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /users/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let client = async {
        let text = tokio::task::spawn_blocking(ask).await.unwrap();
        stop.send(()).unwrap();
        text
    };
    let (left, text) = tokio::join!(server, client);
    assert!(text.starts_with("HTTP/1.1 404") && text.ends_with(r#"{"error":"missing"}"#), "{text}");
    assert_eq!(left.unwrap(), 0);
    assert_eq!(handle.get(&7).await.expect_err("closed").kind(), Kind::Closed);
}
