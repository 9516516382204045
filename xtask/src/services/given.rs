//! Servers that somebody else runs: `REDIS_URL`, `DATABASE_URL`. We use a corner of our own and clear it out afterwards.
//!
//! Clearing out is a run of `cargo xtask clear` in the end of a watchdog, so it happens also after SIGKILL. The URLs go there
//! by environment, because they may hold passwords and everybody can read a command line.

use std::env;

use anyhow::{Context as _, Result, bail};
use postgres::{Client, NoTls};
use writeway_testkit::servers::{Resp, Watchdog};

/// A key prefix in a given Redis.
pub(crate) struct Prefix {
    pub(crate) url: String,
    pub(crate) name: String,
    _clears: Watchdog,
}

/// A database of its own in a given PostgreSQL.
pub(crate) struct Database {
    pub(crate) url: String,
    _clears: Watchdog,
}

impl Prefix {
    pub(crate) fn new(url: String, name: &str) -> Result<Self> {
        let pinged = connect(&url).and_then(|mut redis| redis.call(&["PING"]));
        pinged.context("REDIS_URL was given, and nobody useful answers there")?;
        Ok(Self { url, name: name.to_owned(), _clears: clear_at_the_end("--redis-prefix", name)? })
    }
}

impl Database {
    pub(crate) fn new(url: &str, name: &str) -> Result<Self> {
        let mut client = Client::connect(url, NoTls).context("DATABASE_URL was given, and nobody useful answers there")?;
        // First the one who clears: a name that was never created is dropped without complaint.
        let clears = clear_at_the_end("--database", name)?;
        client.batch_execute(&format!("CREATE DATABASE {name}")).context("create a database for this run")?;
        Ok(Self { url: with_database(url, name)?, _clears: clears })
    }
}

fn clear_at_the_end(what: &str, name: &str) -> Result<Watchdog> {
    let me = env::current_exe().context("find our own binary")?;
    Watchdog::new("TERM", &[me.into_os_string(), "clear".into(), what.into(), name.into()])
}

/// The hidden command `clear`: what the watchdogs run.
pub(crate) fn clear(prefix: Option<&str>, database: Option<&str>) -> Result<()> {
    if let Some(name) = database {
        let mut client = Client::connect(&env::var("DATABASE_URL")?, NoTls)?;
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?;
    }
    if let Some(name) = prefix {
        let mut redis = connect(&env::var("REDIS_URL")?)?;
        let mut cursor = "0".to_owned();
        loop {
            // The prefix is random, so it may be looked for anywhere in a key: behind a brace, for instance.
            let mut page = redis.call(&["SCAN", &cursor, "MATCH", &format!("*{name}*"), "COUNT", "1000"])?.into_iter();
            cursor = page.next().context("an empty answer to SCAN")?;
            for key in page {
                redis.call(&["UNLINK", &key])?;
            }
            if cursor == "0" {
                break;
            }
        }
    }
    Ok(())
}

/// `redis://[[user]:password@]host[:port][/database]`
fn connect(url: &str) -> Result<Resp> {
    let Some(rest) = url.strip_prefix("redis://") else {
        bail!("REDIS_URL must start with redis://");
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let mut redis = Resp::connect(&if has_port { host.to_owned() } else { format!("{host}:6379") })?;
    if let Some((user, password)) = user.map(|user| user.split_once(':').unwrap_or(("", user))) {
        let user = if user.is_empty() { "default" } else { user };
        redis.call(&["AUTH", user, &unescape(password)])?;
    }
    if !database.is_empty() {
        redis.call(&["SELECT", database])?;
    }
    Ok(redis)
}

/// Percent-decoding, for passwords with an `@` in them.
fn unescape(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same URL with another database name.
fn with_database(url: &str, name: &str) -> Result<String> {
    let (scheme, rest) = url.split_once("://").context("DATABASE_URL must be of the form postgres://user@host/database")?;
    let (rest, options) = rest.split_once('?').map_or((rest, String::new()), |(rest, options)| (rest, format!("?{options}")));
    let authority = rest.split('/').next().unwrap_or(rest);
    Ok(format!("{scheme}://{authority}/{name}{options}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        let named = |url| with_database(url, "x").unwrap();
        assert_eq!(named("postgres://me:p@host:1/old"), "postgres://me:p@host:1/x");
        assert_eq!(named("postgres://me@host"), "postgres://me@host/x");
        assert_eq!(named("postgresql://host/old?sslmode=disable"), "postgresql://host/x?sslmode=disable");
        assert!(with_database("host=localhost", "x").is_err());
    }

    #[test]
    fn passwords_are_unescaped() {
        assert_eq!(unescape("p%40ss%2Fw%C3%A9"), "p@ss/wé");
        assert_eq!(unescape("100%"), "100%");
    }
}
