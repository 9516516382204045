//! The cache contract over Redis.

use std::env;
use std::sync::Arc;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use writeway_core::cache::{BoxFuture, Bytes};
use writeway_core::redis::Redis;
use writeway_core::runtime::Tokio;
use writeway_testkit::contract::{self, CacheSubject, Raw};

/// A connection past the adapter, which knows the adapter's prefix.
struct Beneath {
    connection: MultiplexedConnection,
    prefix: String,
}

impl Beneath {
    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), b":", key].concat()
    }
}

impl Raw for Beneath {
    fn put_raw<'a>(&'a self, key: &'a [u8], bytes: &'a [u8]) -> BoxFuture<'a, ()> {
        let put = async move { self.connection.clone().set(self.key(key), bytes).await };
        Box::pin(async move { put.await.expect("the server is there") })
    }

    fn get_raw<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Option<Bytes>> {
        let get = async move { self.connection.clone().get(self.key(key)).await };
        Box::pin(async move { get.await.expect("the server is there") })
    }

    fn expires<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, bool> {
        let ttl = async move { self.connection.clone().pttl::<_, i64>(self.key(key)).await };
        Box::pin(async move { ttl.await.expect("the server is there") >= 0 })
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let (Ok(url), Ok(prefix)) = (env::var("REDIS_URL"), env::var("WRITEWAY_PREFIX")) else {
        return contract::not_run("cache contract over Redis", "needs REDIS_URL");
    };
    let prefix = format!("{prefix}.contract");
    let client = redis::Client::open(url.as_str()).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await.expect("the server is there");
    let cache = Redis::builder(url).prefix(&prefix).connect().await.expect("the server is there");
    let subject = CacheSubject::new(cache, Arc::new(Tokio)).raw(Beneath { connection, prefix });
    let ran = contract::cache("Redis", &subject).await;
    ran.assert_held();
    assert!(ran.left_out.is_empty(), "{ran}");
}
