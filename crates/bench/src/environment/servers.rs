//! What the two servers tell of themselves.

use anyhow::{Context, Result};
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use redis::aio::MultiplexedConnection;

use super::{Facts, Group, UNKNOWN};
use crate::place::{SQL_POOL, Servers};

/// # Errors
/// If a server does not answer; what it keeps to itself is unknown.
pub(crate) async fn facts(servers: &mut Servers) -> Result<Facts> {
    let mut warnings = Vec::new();
    if is_local(&servers.redis_url) || is_local(&servers.database_url) {
        let shared = "client and servers share this machine's cores: they take time from each other, most so with 64 tasks";
        warnings.push(shared.to_owned());
    }
    Ok(Facts {
        parts: vec![
            Group { name: "Redis", facts: redis_settings(&mut servers.redis).await? },
            Group { name: "PostgreSQL", facts: sql_settings(&mut servers.admin).await? },
        ],
        client: vec![
            ("sql pool", format!("{SQL_POOL} connections, shared by all subjects, without a query per checkout")),
            ("redis", "raw: 1 multiplexed connection; writeway: 1, its default".to_owned()),
            ("sql loads at once", "writeway: 8, its default; others: the pool".to_owned()),
        ],
        warnings,
    })
}

async fn redis_settings(redis: &mut MultiplexedConnection) -> Result<Vec<(&'static str, String)>> {
    let info: String = redis::cmd("INFO").query_async(redis).await.context("INFO")?;
    let of = |name: &str| {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned());
        info.lines().find_map(value).unwrap_or_else(|| UNKNOWN.to_owned())
    };
    // Managed services forbid it.
    let fsync: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(redis).await.unwrap_or_default();
    let aof = match of("aof_enabled").as_str() {
        "1" => format!("on, fsync {}", fsync.get(1).map_or(UNKNOWN, String::as_str)),
        "0" => "off".to_owned(),
        _ => UNKNOWN.to_owned(),
    };
    Ok(vec![("version", of("redis_version")), ("AOF", aof), ("maxmemory-policy", of("maxmemory_policy"))])
}

async fn sql_settings(conn: &mut AsyncPgConnection) -> Result<Vec<(&'static str, String)>> {
    let mut settings = Vec::new();
    for (name, setting) in [
        ("version", "server_version"),
        ("fsync", "fsync"),
        ("synchronous_commit", "synchronous_commit"),
        ("full_page_writes", "full_page_writes"),
        ("shared_buffers", "shared_buffers"),
    ] {
        let value: String = diesel::select(diesel::dsl::sql::<Text>(&format!("current_setting('{setting}')")))
            .get_result(conn)
            .await
            .with_context(|| format!("reading {setting}"))?;
        settings.push((name, value));
    }
    Ok(settings)
}

/// True if the URL leads to this machine, as far as its host says.
fn is_local(url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let loopback = ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local));
    // Without a host it is a socket file.
    loopback || host.is_empty() || scheme.contains("unix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_whether_it_leads_to_this_machine() {
        for local in
            ["redis://127.0.0.1:6379", "postgres://a:b@localhost/db", "redis+unix:///tmp/x", "redis://[::1]:1", "postgres:///db"]
        {
            assert!(is_local(local), "{local}");
        }
        for remote in ["redis://cache:6379/0", "postgres://localhost:secret@db.example/localhost"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
