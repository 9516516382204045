//! The cache in Redis: [`Entries`](crate::cache::Entries), [`Barriers`](crate::cache::Barriers) and
//! [`Journal`](crate::journal::Journal) over a few shared connections.
//!
//! ```text
//! entries, barriers   the ports: what is asked, what the answers mean   journal  the same, of write-back
//!     call            one call: limits, retry, forgotten scripts      script  the scripts
//!     pool ── link    connections, their health, their server         server, declared  what a new connection checks
//!     clock           the server's time, seen from here               failure, reply    what answers mean
//!     level           what an accept level needs, and how it is asked for
//!     stats           what is counted
//! ```

mod barriers;
mod builder;
mod call;
mod clock;
mod compose;
mod declared;
mod entries;
mod failure;
mod journal;
mod level;
mod link;
mod pool;
mod reply;
mod script;
mod server;
mod stats;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bb8::Pool;

pub use self::builder::RedisBuilder;
use self::journal::Confirms;
pub use self::journal::RedisJournal;
use self::pool::Connector;
use self::stats::Counts;
pub use self::stats::RedisStats;
use crate::breaker;
use crate::cache::Bytes;
use crate::error::Result;
use crate::runtime::Runtime;

/// Keys per pipeline: enough to hide the round trip, few enough to keep the server from serving one caller only.
const PAGE: usize = 500;
/// Bytes of values per pipeline: what a slow network carries within a usual limit.
const PAGE_BYTES: usize = 4 << 20;
/// Longer times are cut to this, about 35,000 years: the scripts' numbers are exact up to 2^53.
const LONGEST: u64 = 1 << 50;

/// A Redis server, as the cache of any number of namespaces. Cheap to clone: all clones share their connections.
///
/// Every call ends by its limit: [`checkout_timeout`](RedisBuilder::checkout_timeout) and
/// [`response_timeout`](RedisBuilder::response_timeout) together, per 500 keys or 4 MiB of values. A call whose connection breaks is repeated
/// on a new one within that limit; every operation but one may arrive twice without harm, and that one, an accept of
/// write-back, is not repeated. While the server does not answer, a breaker
/// refuses calls at once. Keys that lie there as another type than a string are neither read nor overwritten.
///
/// The server must be Redis 7.0 or newer, or speak like it; a replica is refused. The user of the URL needs the commands
/// `GET`, `MGET`, `SET`, `DEL`, `SCAN`, `TIME`, `INFO`, `EVALSHA`, `EVAL` and `SCRIPT LOAD` on the keys of the prefix:
///
/// ```text
/// ACL SETUSER app on >password ~writeway:* resetchannels -@all
///     +get +mget +set +del +scan +time +info +evalsha +eval +script|load
/// ```
///
/// and `SELECT` for another database than 0. The scripts of write-back ([`RedisJournal`]) call besides, on the same keys:
///
/// ```text
/// +getrange +strlen +setrange +hget +hmget +hset +hdel +hexists +hlen +zadd +zrem +zcard +zcount +zscore +zrange
/// ```
///
/// and a namespace whose [accept level](crate::level::Level) is not `Memory` asks by `WAIT`, by `WAITAOF` (from Redis 7.2 on) or by
/// `CONFIG GET` (before that), over a connection of its own: `+wait`, `+waitaof` and `+config|get`.
///
/// # Cancel safety
/// A dropped call may still be carried out by the server. No connection is harmed, and no answer reaches another call.
///
/// # Examples
/// ```no_run
/// # async fn run() -> writeway_core::error::Result<()> {
/// use writeway_core::redis::Redis;
///
/// let cache = Redis::builder("redis://localhost:6379").prefix("prod").connect().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    /// With its `:`.
    prefix: Bytes,
    limits: Limits,
    runtime: Arc<dyn Runtime>,
    breaker: breaker::Shared,
    counts: Counts,
    connector: Connector,
    pool: Pool<Connector>,
    confirms: Confirms,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: u32,
    connect_timeout: Duration,
    response_timeout: Duration,
    checkout_timeout: Duration,
    breaker: breaker::Limits,
}

impl Redis {
    /// Connects with all options at their defaults; see [`builder`](Redis::builder).
    ///
    /// # Errors
    /// As [`RedisBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Redis> {
        Redis::builder(url).connect().await
    }

    /// The options of a handle. The URL is `redis://[user[:password]@]host[:port][/database]`, `rediss://…` for TLS, or
    /// `unix:///path`.
    pub fn builder(url: impl Into<String>) -> RedisBuilder {
        RedisBuilder::new(url.into())
    }

    /// Whether calls go out, and what became of those that did. Asks nobody.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.shared.counts.read(self.shared.breaker.is_open())
    }

    fn full_key(&self, key: &[u8]) -> Bytes {
        [&self.shared.prefix, key].concat()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = String::from_utf8_lossy(&self.shared.prefix);
        f.debug_struct("Redis").field("prefix", &prefix).field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

/// Whole milliseconds.
fn whole_millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

/// Whole milliseconds, at least one: the server refuses an expiry of nothing.
fn millis(d: Duration) -> u64 {
    whole_millis(d).max(1)
}

fn namespace_of(key: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(key.split(|&b| b == b':').next().unwrap_or_default())
}
