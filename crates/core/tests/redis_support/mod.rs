//! What the Redis suites share: servers, raw connections, and waiting that is bounded.
#![expect(dead_code, reason = "every suite is a crate of its own and uses a part of this")]

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Value};
use writeway_core::cache::{Ask, Barriers, BeginBy, Bytes, Entries, Fill, Finish, Finished, Hold, Id, Lease, Lookup};
use writeway_core::entry::{FORMAT, MAGIC, VALUE};
use writeway_core::error::{Error, Result};
use writeway_core::redis::Redis;
use writeway_core::runtime::{Runtime, Tokio};
use writeway_testkit::servers;

/// Long enough for a loaded machine; what waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const HOLD: Hold = Hold { owner: Duration::from_secs(30), key: Duration::from_secs(60) };
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// The address of the server that all suites share, and a prefix of this test's own.
pub(crate) fn shared(test: &str) -> Option<(String, String)> {
    let (Ok(url), Ok(prefix)) = (std::env::var("REDIS_URL"), std::env::var("WRITEWAY_PREFIX")) else {
        println!("SKIPPED: needs REDIS_URL");
        return None;
    };
    Some((url, format!("{prefix}.{test}")))
}

/// A server of this test's own.
pub(crate) fn own() -> Option<servers::Redis> {
    let server = servers::Redis::from_env().expect("a server starts");
    if server.is_none() {
        println!("SKIPPED: needs WRITEWAY_REDIS_SERVER");
    }
    server
}

/// A connection past the adapter.
pub(crate) async fn raw(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await.expect("a server")
}

/// One command past the adapter.
pub(crate) async fn tell(raw: &mut MultiplexedConnection, words: &[&str]) -> std::result::Result<Value, RedisError> {
    let mut cmd = redis::Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd.query_async(raw).await
}

/// Looks until there is something to see; the bound is the test's, the pause between two looks only spares the processor.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let end = Tokio.now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Tokio.now() < end, "gave up on: {what}");
        Tokio.sleep(Duration::from_millis(5)).await;
    }
}

/// A value whose payload is this text.
pub(crate) fn value(text: &str) -> Bytes {
    [&[MAGIC, VALUE, FORMAT, 0, 1, 2, 3, 4, 5, 6, 7, 8], text.as_bytes()].concat()
}

pub(crate) fn key(name: impl AsRef<str>) -> Bytes {
    format!("users:{}", name.as_ref()).into_bytes()
}

pub(crate) fn id(n: u8) -> Id {
    Id([n; 16])
}

pub(crate) fn soon() -> BeginBy {
    BeginBy { within: Duration::from_secs(30), not_after: Tokio.now() + Duration::from_secs(30) }
}

pub(crate) async fn get(redis: &Redis, key: &Bytes) -> Result<Lookup> {
    Ok(redis.get(std::slice::from_ref(key)).await?.remove(0))
}

pub(crate) async fn lease(redis: &Redis, key: &Bytes, n: u8) -> Result<Lease> {
    Ok(redis.lease(&[Ask { key: key.clone(), id: id(n), discard: false }], HOLD).await?.remove(0))
}

pub(crate) async fn fill(redis: &Redis, key: &Bytes, n: u8, text: &str) -> Result<()> {
    redis.fill(&[Fill { key: key.clone(), lease: id(n), entry: value(text), ttl: TTL }]).await
}

pub(crate) async fn begin(redis: &Redis, key: &Bytes, n: u8) -> Result<()> {
    redis.begin(std::slice::from_ref(key), id(n), soon()).await
}

pub(crate) async fn finish(redis: &Redis, key: &Bytes, n: u8, publish: Option<&str>) -> Result<Finished> {
    let publish = publish.map(|text| (value(text), TTL));
    Ok(redis.finish(&[Finish { key: key.clone(), publish }], id(n)).await?.remove(0))
}

/// One write of one key, as a strategy would do it.
pub(crate) async fn write(redis: &Redis, key: &Bytes, text: &str) -> Result<Finished> {
    begin(redis, key, 9).await?;
    finish(redis, key, 9, Some(text)).await
}

pub(crate) fn hit(text: &str) -> Lookup {
    Lookup::Hit(value(text))
}

/// The error of a call that had to fail.
pub(crate) fn refused<T: Debug>(result: Result<T>) -> Error {
    result.expect_err("this had to be refused")
}
