//! From errors to HTTP: what a handler answers, and what it does where nobody knows what became of a write.

use std::error::Error as _;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use diesel::result::{DatabaseErrorKind as Violation, Error as Diesel};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use writeway_through::sql::statement_failed;
use writeway_through::store::Store;
use writeway_through::{CacheEffect, Error, Kind, Outcome, WriteThrough};

/// What a handler fails with; `?` makes it of every error of the family.
#[derive(Debug)]
pub enum Failure {
    /// There is no such row.
    Missing,
    /// The cache or SQL did not do what was asked.
    Of(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Of(error)
    }
}

/// From a statement of one's own, after `begin`. The transaction is dropped with it: nothing is committed.
impl From<Diesel> for Failure {
    fn from(cause: Diesel) -> Self {
        match cause {
            Diesel::NotFound => Failure::Missing,
            cause => Failure::Of(statement_failed(cause)),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure::Of(error) = self else {
            return (StatusCode::NOT_FOUND, Json(json!({ "error": "missing" }))).into_response();
        };
        let status = status(&error);
        log(&error, status);
        let body = Json(json!({ "error": kind(&error), "outcome": outcome(&error) }));
        match retry_after(&error) {
            Some(seconds) => (status, [(RETRY_AFTER, seconds.to_string())], body).into_response(),
            None => (status, body).into_response(),
        }
    }
}

/// The status of an error.
#[must_use]
pub fn status(error: &Error) -> StatusCode {
    match (error.outcome(), error.kind()) {
        // Not 502 to 504: proxies and clients repeat these by themselves.
        (Outcome::Applied | Outcome::Unknown, _) => StatusCode::INTERNAL_SERVER_ERROR,
        (Outcome::NotApplied, Kind::Closed | Kind::Fenced | Kind::Overloaded | Kind::Unavailable) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (Outcome::NotApplied, Kind::Rejected) => refusal(error),
        // `Invalid`, and what later releases may add.
        (Outcome::NotApplied, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status of a refusal. Only a constraint is known to speak of what the client sent.
fn refusal(error: &Error) -> StatusCode {
    match error.source().and_then(|cause| cause.downcast_ref()) {
        Some(Diesel::DatabaseError(Violation::NotNullViolation | Violation::CheckViolation, _)) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Some(Diesel::DatabaseError(
            Violation::UniqueViolation
            | Violation::ForeignKeyViolation
            | Violation::RestrictViolation
            | Violation::ExclusionViolation,
            _,
        )) => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// After how many seconds the same request may be sent again: only where nothing was changed, and time helps.
#[must_use]
pub fn retry_after(error: &Error) -> Option<u32> {
    match (error.outcome(), error.kind()) {
        (Outcome::NotApplied, Kind::Overloaded) => Some(2),
        // Another instance answers what a closed handle does not.
        (Outcome::NotApplied, Kind::Closed | Kind::Fenced | Kind::Unavailable) => Some(1),
        _ => None,
    }
}

/// For the body: words of our own, so that nothing of an error's text gets out.
fn kind(error: &Error) -> &'static str {
    match error.kind() {
        Kind::Closed => "closed",
        Kind::Overloaded => "overloaded",
        Kind::Rejected => "rejected",
        Kind::Fenced | Kind::Unavailable => "unavailable",
        _ => "internal",
    }
}

fn outcome(error: &Error) -> &'static str {
    match error.outcome() {
        Outcome::Applied => "applied",
        Outcome::NotApplied => "not_applied",
        Outcome::Unknown => "unknown",
    }
}

/// An error's text holds no key and no value. Its `source` may, so it is in no line that is always written.
fn log(error: &Error, status: StatusCode) {
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(%error, "request failed"),
        StatusCode::SERVICE_UNAVAILABLE => tracing::warn!(%error, "request not served"),
        _ => tracing::info!(%error, "request refused"),
    }
    tracing::trace!(source = ?error.source(), "cause");
}

/// The cached row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its key.
    pub id: i64,
    /// How it is called.
    pub name: String,
}

/// What a client may set.
#[derive(Debug, Serialize, Deserialize)]
pub struct Draft {
    /// How it is called.
    pub name: String,
}

/// `GET /users/{id}`
///
/// # Errors
/// `Missing`, or what the read fails with.
pub async fn show<S>(State(users): State<WriteThrough<S>>, Path(id): Path<i64>) -> Result<Json<User>, Failure>
where
    S: Store<Key = i64, Row = User>,
{
    users.get(&id).await?.map(Json).ok_or(Failure::Missing)
}

/// `PUT /users/{id}`: the whole row.
///
/// # Errors
/// What the write fails with.
pub async fn replace<S>(
    State(users): State<WriteThrough<S>>,
    Path(id): Path<i64>,
    Json(draft): Json<Draft>,
) -> Result<Json<Option<User>>, Failure>
where
    S: Store<Key = i64, Row = User>,
{
    let user = User { id, name: draft.name };
    let written = match users.put(user.clone()).await {
        // The whole row twice is the same row: a second try is harmless, and its answer says what SQL holds.
        Err(e) if e.outcome() == Outcome::Unknown => users.put(user).await,
        answered => answered,
    }?;
    if let CacheEffect::Lapses { within } = written.cache {
        tracing::warn!(?within, "committed, and not told to the cache");
    }
    // The row as SQL returned it: another read might miss, or in eventual mode see the old row.
    Ok(Json(written.row))
}

/// The routes.
pub fn routes<S>(users: WriteThrough<S>) -> Router
where
    S: Store<Key = i64, Row = User>,
{
    Router::new().route("/users/{id}", get(show).put(replace)).with_state(users)
}

/// Serves until `stop` ends: first no more requests, then no more writes.
///
/// # Errors
/// Those of the listener.
pub async fn serve<S>(
    listener: TcpListener,
    users: WriteThrough<S>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<usize>
where
    S: Store<Key = i64, Row = User>,
{
    axum::serve(listener, routes(users.clone())).with_graceful_shutdown(stop).await?;
    Ok(users.shutdown(Duration::from_secs(5)).await)
}

#[cfg(test)]
mod tests;
