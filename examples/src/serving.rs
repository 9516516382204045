//! What the three servers have in common, and what is not Writeway's: which servers are behind them, their log, their metrics, where
//! they listen and when they end.

use std::env::var;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use axum::http::StatusCode;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tracing::level_filters::LevelFilter;
use writeway_through::Error;

/// `REDIS_URL` and `DATABASE_URL`, or `None` if it is to be embedded.
///
/// # Errors
/// One of them is set and the other is not.
pub fn servers() -> anyhow::Result<Option<(String, String)>> {
    let get = |name: &str| var(name).ok().filter(|url| !url.is_empty());
    both_or_neither(get("REDIS_URL"), get("DATABASE_URL"))
}

fn both_or_neither(redis: Option<String>, database: Option<String>) -> anyhow::Result<Option<(String, String)>> {
    match (redis, database) {
        (Some(redis), Some(database)) => Ok(Some((redis, database))),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("REDIS_URL is set and DATABASE_URL is not: set both, or neither to run embedded"),
        (None, Some(_)) => bail!("DATABASE_URL is set and REDIS_URL is not: set both, or neither to run embedded"),
    }
}

/// Events, the library's and ours, go to stderr from the level `warn` on; `RUST_LOG` may name another level, such as `info`.
pub fn log_to_stderr() {
    let level = var("RUST_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::WARN);
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
}

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the process's recorder. Before anything is built or connected: what is built earlier reports to nobody.
///
/// # Errors
/// The process has a recorder already.
pub fn record_metrics() -> anyhow::Result<()> {
    let seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
    let rows = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0];
    // Without buckets an exporter makes quantiles of its own, which cannot be put together over several processes.
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)?;
    let handle = builder.set_buckets_for_metric(Matcher::Suffix("_rows".into()), &rows)?.install_recorder()?;
    METRICS.get_or_init(|| handle);
    Ok(())
}

/// What `GET /metrics` answers: for Prometheus.
#[expect(clippy::unused_async, reason = "a handler is async")]
pub async fn metrics() -> String {
    let Some(handle) = METRICS.get() else { return String::new() };
    handle.run_upkeep();
    handle.render()
}

/// The answer as it is. What the client is told in a few words, the log says in full: an error's text holds neither keys nor
/// values. Its `source` may, and is left out.
#[must_use]
pub fn logged(answer: (StatusCode, &'static str), error: &Error) -> (StatusCode, &'static str) {
    let (kind, outcome) = (error.kind(), error.outcome());
    if answer.0 == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(?kind, ?outcome, %error, "request failed");
    } else {
        tracing::warn!(?kind, ?outcome, %error, "request not served");
    }
    answer
}

/// At the address in `LISTEN`, or at 127.0.0.1:3000.
///
/// # Errors
/// The address is none, or somebody else listens there.
pub async fn listen() -> anyhow::Result<TcpListener> {
    let address = var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let bound = TcpListener::bind(&address).await;
    bound.with_context(|| format!("cannot listen on {address}; LISTEN names another address, as in LISTEN=127.0.0.1:3001"))
}

/// Ctrl-C, or the SIGTERM by which containers and service managers end a process.
pub async fn told_to_end() {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! { _ = terminated.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        return;
    }
    drop(tokio::signal::ctrl_c().await);
}

#[cfg(test)]
mod tests {
    use super::both_or_neither;

    #[test]
    fn half_a_set_of_servers_is_refused_and_the_missing_one_named() {
        let url = |of: &str| Some(of.to_owned());
        assert_eq!(both_or_neither(None, None).expect("embedded"), None);
        let both = both_or_neither(url("redis:"), url("postgres:")).expect("servers");
        assert_eq!(both, Some(("redis:".to_owned(), "postgres:".to_owned())));
        let refused = both_or_neither(url("redis:"), None).expect_err("half").to_string();
        assert!(refused.contains("DATABASE_URL is not"), "{refused}");
        let refused = both_or_neither(None, url("postgres:")).expect_err("half").to_string();
        assert!(refused.contains("REDIS_URL is not"), "{refused}");
    }
}
