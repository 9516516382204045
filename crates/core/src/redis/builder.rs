//! The options of a handle, and the address behind its URL.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion};

use super::declared::Declared;
use super::failure::to_error;
use super::journal::Confirms;
use super::pool::Connector;
use super::stats::Counts;
use super::{Limits, Redis, Shared};
use crate::breaker;
use crate::error::{Error, Result};
use crate::key::check_name;
use crate::options::bound;
use crate::runtime::{Runtime, Tokio};

/// The options of a [`Redis`] handle.
#[must_use]
pub struct RedisBuilder {
    url: String,
    prefix: String,
    ca: Option<Vec<u8>>,
    limits: Limits,
    runtime: Arc<dyn Runtime>,
}

impl RedisBuilder {
    pub(super) fn new(url: String) -> Self {
        let limits = Limits {
            connections: 1,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(250),
            checkout_timeout: Duration::from_millis(250),
            breaker: breaker::Limits { failures: 5, open_for: Duration::from_millis(500) },
        };
        RedisBuilder { url, prefix: "writeway".to_owned(), ca: None, limits, runtime: Arc::new(Tokio) }
    }

    /// What every key starts with, before a `:`. Defaults to `writeway`; 1 to 64 of `a-z A-Z 0-9 _ . -`.
    #[doc(alias = "key_prefix")]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How many connections all tasks share. Defaults to 1; 1 to 64. Requests of many tasks leave together on one connection; on
    /// two, half as many do, and both sides spend more on system calls (measured with 64 tasks: a sixth less throughput). More
    /// help where one connection's task is saturated, or where long values must not hold up short ones.
    #[doc(alias = "max_size")]
    pub fn connections(mut self, connections: u32) -> Self {
        self.limits.connections = connections;
        self
    }

    /// How long making one connection may take, TLS and checks included. Defaults to 1 s; 1 ms to 60 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect_timeout = limit;
        self
    }

    /// How long a pipeline of commands may wait for its answers. Defaults to 250 ms; 1 ms to 60 s.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.limits.response_timeout = limit;
        self
    }

    /// How long a call may wait for a connection. Defaults to 250 ms; 1 ms to 60 s.
    pub fn checkout_timeout(mut self, limit: Duration) -> Self {
        self.limits.checkout_timeout = limit;
        self
    }

    /// After `failures` calls in a row without an answer, calls are refused at once for `open_for` (± a quarter); then one call
    /// probes. Defaults to 5 and 500 ms; 1 to 1000, and 1 ms to 60 s.
    #[doc(alias = "circuit_breaker")]
    pub fn breaker(mut self, failures: u32, open_for: Duration) -> Self {
        self.limits.breaker = breaker::Limits { failures, open_for };
        self
    }

    /// Certificates (PEM) of the authorities that may vouch for the server, instead of the system's. Needs `rediss://`.
    #[doc(alias = "root_cert")]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Time and chance; it must be the clock by which the strategies count their deadlines. Defaults to [`Tokio`].
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Connects: all connections are made and checked here, and again whenever one is lost. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// `Invalid` for options or a URL out of their bounds, a refused password or certificate, or a server older than Redis 7.0;
    /// `Unavailable` if the server cannot be reached in time or is a replica.
    ///
    /// # Cancel safety
    /// Dropped before its end, it leaves nothing.
    pub async fn connect(self) -> Result<Redis> {
        self.check()?;
        let client = self.client()?;
        let RedisBuilder { prefix, limits, runtime, .. } = self;
        let counts = Counts::new(&prefix);
        let prefix = format!("{prefix}:").into_bytes();
        let connector = Connector::new(client, &limits, runtime.clone(), Declared::new(&prefix));
        let pool = connector.pool(limits.connections, limits.checkout_timeout).await?;
        let breaker = breaker::Shared::new(limits.breaker);
        Ok(Redis {
            shared: Arc::new(Shared { prefix, limits, runtime, breaker, counts, connector, pool, confirms: Confirms::default() }),
        })
    }

    fn check(&self) -> Result<()> {
        check_name("prefix", &self.prefix)?;
        let Limits { connections, connect_timeout, response_timeout, checkout_timeout, breaker } = self.limits;
        bound("connections", connections, 1..=64)?;
        bound("the breaker's failures", breaker.failures, 1..=1000)?;
        let times = [
            ("connect_timeout", connect_timeout),
            ("response_timeout", response_timeout),
            ("checkout_timeout", checkout_timeout),
            ("the breaker's open_for", breaker.open_for),
        ];
        times.into_iter().try_for_each(|(name, time)| bound(name, time, Duration::from_millis(1)..=Duration::from_secs(60)))
    }

    fn client(&self) -> Result<Client> {
        if !cfg!(feature = "tls-rustls") && (self.url.starts_with("rediss:") || self.url.starts_with("valkeys:")) {
            return Err(Error::invalid("rediss:// needs the feature tls-rustls"));
        }
        // The driver's error may quote the URL, and with it the password: it is not kept.
        let info = self.url.as_str().into_connection_info();
        let info = info.map_err(|_| Error::invalid("the URL must be redis://[user[:password]@]host[:port][/database]"))?;
        let tls = match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(Error::invalid("the server's certificate is always verified: #insecure is refused"));
            }
            ConnectionAddr::TcpTls { .. } => true,
            _ => false,
        };
        // One form of answers, and no waiting for a packet to fill up.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let info = info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match (&self.ca, tls) {
            (None, false) => Client::open(info).map_err(to_error),
            (Some(_), false) => Err(Error::invalid("ca_certificate needs a rediss:// URL")),
            (ca, true) => open_tls(info, ca.clone()),
        }
    }
}

#[cfg(feature = "tls-rustls")]
fn open_tls(info: redis::ConnectionInfo, root_cert: Option<Vec<u8>>) -> Result<Client> {
    // Without one, a process in which several libraries bring a provider along would have none at all.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Refused only if somebody installed one in between: then that is the one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let pem = root_cert.as_deref().unwrap_or(b"-----BEGIN CERTIFICATE-----");
    if !pem.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") {
        return Err(Error::invalid("ca_certificate holds no certificate in PEM form"));
    }
    let certificates = redis::TlsCertificates { client_tls: None, root_cert };
    Client::build_with_tls(info, certificates).map_err(|e| Error::invalid("ca_certificate cannot be read").with_source(e))
}

#[cfg(not(feature = "tls-rustls"))]
fn open_tls(_: redis::ConnectionInfo, _: Option<Vec<u8>>) -> Result<Client> {
    Err(Error::invalid("rediss:// needs the feature tls-rustls"))
}

/// Without the URL: it may hold a password.
impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder").field("prefix", &self.prefix).field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    async fn refused(builder: RedisBuilder) -> String {
        let error = builder.connect().await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        error.to_string()
    }

    #[tokio::test]
    async fn bad_options_are_refused_before_any_connection() {
        let good = || Redis::builder("redis://127.0.0.1:1");
        refused(good().prefix("a:b")).await;
        refused(good().connections(0)).await;
        refused(good().connections(65)).await;
        refused(good().response_timeout(Duration::ZERO)).await;
        refused(good().checkout_timeout(Duration::from_secs(61))).await;
        refused(good().connect_timeout(Duration::ZERO)).await;
        refused(good().breaker(0, Duration::from_secs(1))).await;
        refused(good().breaker(1, Duration::ZERO)).await;
        refused(good().ca_certificate("x")).await;
        for url in ["", "localhost", "http://localhost", "redis://", "redis://h/x", "rediss://localhost/#insecure"] {
            refused(Redis::builder(url)).await;
        }
        if !cfg!(feature = "tls-rustls") {
            assert!(refused(Redis::builder("rediss://localhost")).await.contains("tls-rustls"));
        } else {
            refused(Redis::builder("rediss://localhost").ca_certificate("x")).await;
        }
    }

    #[tokio::test]
    async fn no_text_holds_the_password() {
        for url in ["redis://ada:secret@127.0.0.1:1", "redis://ada:secret@127.0.0.1:1/x", "http://ada:secret@127.0.0.1"] {
            let builder = Redis::builder(url);
            assert!(!format!("{builder:?} {builder:#?}").contains("secret"));
            let error = builder.connect().await.expect_err("nobody listens there");
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(!format!("{error} {error:?} {source}").contains("secret"));
        }
    }
}
