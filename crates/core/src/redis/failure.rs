//! What a failed command means: for the caller, for the connection it used, and for the breaker.

use redis::{ErrorKind, RedisError};

use crate::error::{Error, Kind};

/// The meaning of one error of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// What the caller should do.
    pub(super) kind: Kind,
    /// What becomes of the connection.
    pub(super) link: Fate,
    /// The words for the caller: no key, no value, no address.
    pub(super) text: &'static str,
}

/// What becomes of the connection on which a command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is sound: the server answered.
    Keep,
    /// It is gone. The same command may succeed on another one.
    Leave,
    /// The server behind it is no longer a master: leave every connection to it.
    LeaveServer,
}

/// Several of these errors arrive without a kind of their own, so the server's code decides where there is one.
pub(super) fn classify(error: &RedisError) -> Meaning {
    match error.code() {
        Some(code) => answered(code, error.detail().unwrap_or_default()),
        None => unanswered(error),
    }
}

/// The server's own words.
fn answered(code: &str, detail: &str) -> Meaning {
    let (kind, link, text) = match code {
        "LOADING" => (Kind::Unavailable, Fate::Keep, "the cache server is still loading its data"),
        "BUSY" => (Kind::Unavailable, Fate::Keep, "the cache server is busy with a script"),
        "TRYAGAIN" | "CLUSTERDOWN" => (Kind::Unavailable, Fate::Keep, "the cache cluster is being changed"),
        "MASTERDOWN" => (Kind::Unavailable, Fate::LeaveServer, "the cache server has lost its master"),
        "READONLY" => (Kind::Unavailable, Fate::LeaveServer, "the cache server is a replica"),
        "OOM" => (Kind::Unavailable, Fate::Keep, "the cache server is out of memory"),
        "MISCONF" => (Kind::Unavailable, Fate::Keep, "the cache server cannot save and refuses writes"),
        "NOREPLICAS" => (Kind::Unavailable, Fate::Keep, "the cache server has too few replicas and refuses writes"),
        "NOSCRIPT" => (Kind::Unavailable, Fate::Keep, "the cache server keeps forgetting its scripts"),
        "NOAUTH" | "WRONGPASS" => (Kind::Invalid, Fate::Leave, "the cache server refused the user or password"),
        "NOPERM" => (Kind::Invalid, Fate::Keep, "the user lacks a permission on the cache server"),
        "WRONGTYPE" => (Kind::Invalid, Fate::Keep, "a cache key holds another kind of data"),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            (Kind::Invalid, Fate::Keep, "the cache server is a node of a cluster, which this connection cannot follow")
        }
        "ERR" if out_of_clients(detail) => (Kind::Unavailable, Fate::Leave, "the cache server has too many clients"),
        "ERR" => (Kind::Invalid, Fate::Keep, "the cache server refused the command"),
        _ => (Kind::Unavailable, Fate::Keep, "the cache server answered with an error"),
    };
    Meaning { kind, link, text }
}

/// No word of the server: the connection, or the driver.
fn unanswered(error: &RedisError) -> Meaning {
    let (kind, link, text) = match error.kind() {
        ErrorKind::AuthenticationFailed if out_of_clients(error.detail().unwrap_or_default()) => {
            (Kind::Unavailable, Fate::Leave, "the cache server has too many clients")
        }
        ErrorKind::AuthenticationFailed => (Kind::Invalid, Fate::Leave, "the cache server refused the user or password"),
        ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
            (Kind::Invalid, Fate::Leave, "the connection's options are wrong")
        }
        _ if certificate_refused(error) => (Kind::Invalid, Fate::Leave, "the cache server's certificate was refused"),
        ErrorKind::Parse => (Kind::Unavailable, Fate::Leave, "the cache server's answer was not understood"),
        ErrorKind::UnexpectedReturnType => (Kind::Unavailable, Fate::Keep, "the cache server's answer was of another type"),
        ErrorKind::Io if error.is_timeout() => (Kind::Unavailable, Fate::Keep, "the cache server did not answer in time"),
        _ => (Kind::Unavailable, Fate::Leave, "the connection to the cache server failed"),
    };
    Meaning { kind, link, text }
}

fn out_of_clients(detail: &str) -> bool {
    detail.contains("max number of clients")
}

/// A wrong certificate is a matter of set-up, although it arrives as a failed connection.
#[cfg(feature = "tls-rustls")]
fn certificate_refused(error: &RedisError) -> bool {
    use std::error::Error as StdError;
    let refused = |e: &(dyn StdError + 'static)| {
        matches!(e.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
            || e.downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref)
                .is_some_and(|e| matches!(e.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
    };
    // The driver shares its cause, so the link of the chain is the shared pointer and not what it points to.
    let shared = error.source().and_then(|e| e.downcast_ref::<std::sync::Arc<dyn StdError + Send + Sync>>());
    shared.is_some_and(|e| refused(&**e))
}

#[cfg(not(feature = "tls-rustls"))]
fn certificate_refused(_: &RedisError) -> bool {
    false
}

/// The caller's form. For SQL nothing has happened, whatever did in the cache.
pub(super) fn to_error(error: RedisError) -> Error {
    let Meaning { kind, text, .. } = classify(&error);
    let ours = if kind == Kind::Invalid { Error::invalid(text) } else { Error::unavailable(text) };
    ours.with_source(error)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    fn from_server(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error line");
        value.extract_error().expect_err("an error")
    }

    #[test]
    fn every_answer_of_the_server_has_its_meaning() {
        use Fate::{Keep, Leave, LeaveServer};
        let rows = [
            ("LOADING Redis is loading the dataset in memory", Kind::Unavailable, Keep),
            ("BUSY Redis is busy running a script.", Kind::Unavailable, Keep),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Kind::Unavailable, Keep),
            ("CLUSTERDOWN The cluster is down", Kind::Unavailable, Keep),
            ("MASTERDOWN Link with MASTER is down", Kind::Unavailable, LeaveServer),
            ("READONLY You can't write against a read only replica.", Kind::Unavailable, LeaveServer),
            ("OOM command not allowed when used memory > 'maxmemory'.", Kind::Unavailable, Keep),
            ("MISCONF Redis is configured to save RDB snapshots", Kind::Unavailable, Keep),
            ("NOREPLICAS Not enough good replicas to write.", Kind::Unavailable, Keep),
            ("NOSCRIPT No matching script.", Kind::Unavailable, Keep),
            ("NOAUTH Authentication required.", Kind::Invalid, Leave),
            ("WRONGPASS invalid username-password pair", Kind::Invalid, Leave),
            ("NOPERM this user has no permissions", Kind::Invalid, Keep),
            ("WRONGTYPE Operation against a key", Kind::Invalid, Keep),
            ("MOVED 3999 127.0.0.1:6381", Kind::Invalid, Keep),
            ("ASK 3999 127.0.0.1:6381", Kind::Invalid, Keep),
            ("CROSSSLOT Keys in request don't hash to the same slot", Kind::Invalid, Keep),
            ("ERR max number of clients reached", Kind::Unavailable, Leave),
            ("ERR unknown command 'EVALSHA'", Kind::Invalid, Keep),
            ("NEWWORD of a later release", Kind::Unavailable, Keep),
        ];
        for (line, kind, link) in rows {
            let meaning = classify(&from_server(line));
            assert_eq!((meaning.kind, meaning.link), (kind, link), "{line}");
        }
    }

    #[test]
    fn a_failed_connection_is_left_and_a_slow_one_kept() {
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused] {
            let meaning = classify(&io::Error::from(kind).into());
            assert_eq!((meaning.kind, meaning.link), (Kind::Unavailable, Fate::Leave), "{kind}");
        }
        let slow = classify(&io::Error::from(io::ErrorKind::TimedOut).into());
        assert_eq!((slow.kind, slow.link), (Kind::Unavailable, Fate::Keep));
        let parse = redis::parse_redis_value(b"?\r\n").expect_err("no reply");
        assert_eq!((classify(&parse).kind, classify(&parse).link), (Kind::Unavailable, Fate::Leave));
        let auth = RedisError::from((ErrorKind::AuthenticationFailed, "no"));
        assert_eq!(classify(&auth).kind, Kind::Invalid);
    }

    #[test]
    fn the_drivers_words_stay_in_the_source() {
        let error = to_error(from_server("ERR secret"));
        assert!(!format!("{error} {error:?}").contains("secret"));
        assert!(error.source().is_some());
    }
}
