//! Where a shard lies, and the scripts that work on it.

use std::sync::LazyLock;

use redis::Cmd;
use writeway_core::cache::Bytes;
use writeway_core::entry::increments::base_of;
use writeway_core::journal::Shard;

use crate::compose::composed;

macro_rules! scripts {
    ($($name:literal),+) => {
        pub(crate) const NAMES: &[&str] = &[$($name),+];
        /// As they are sent to the server.
        pub(crate) static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| {
            vec![$(composed(include_str!(concat!("../../src/redis/scripts/journal/", $name, ".lua")))),+]
        });
    };
}
scripts!(
    "lease",
    "fill",
    "invalidate",
    "status",
    "accept",
    "settled",
    "lead",
    "install",
    "claim",
    "acknowledge",
    "park",
    "dirty",
    "supersede",
    "release",
    "resume",
    "dead_letters",
    "split",
    "delay",
    "redrive",
    "discard",
    "ended",
    "count"
);

/// As the server knows them.
pub(crate) static SHAS: LazyLock<Vec<String>> =
    LazyLock::new(|| SOURCES.iter().map(|source| redis::Script::new(source).get_hash().to_owned()).collect());

/// Where a shard lies.
pub(crate) struct Place {
    /// Cache keys, and as they lie in Redis.
    pub(crate) keys: Vec<Bytes>,
    pub(crate) full: Vec<Bytes>,
    /// Where the rows of counters of these keys are cached, by cache key and as they lie in Redis.
    pub(crate) bases: Vec<Bytes>,
    pub(crate) full_bases: Vec<Bytes>,
    /// `{namespace:0}:e:`
    pub(crate) stem: Bytes,
    prefix: Bytes,
    /// meta, dirty, frozen, open, dead, letters, lease, strikes
    pub(crate) parts: [Bytes; 8],
}

impl Place {
    pub(crate) fn new(prefix: &str, keys: usize) -> Place {
        let shard = Shard { namespace: "posts".into(), number: 0 };
        let stem = [shard.stem().as_slice(), b"e:"].concat();
        let keys: Vec<Bytes> = (0..keys).map(|n| [stem.as_slice(), n.to_string().as_bytes()].concat()).collect();
        let prefix = format!("{prefix}:").into_bytes();
        let full = |key: &[u8]| [prefix.as_slice(), key].concat();
        let parts = ["meta", "dirty", "frozen", "open", "dead", "letters", "lease", "strikes"];
        let parts = parts.map(|part| full(&[shard.stem().as_slice(), part.as_bytes()].concat()));
        let bases: Vec<Bytes> = keys.iter().map(|key| base_of(key)).collect();
        let all_full = |keys: &[Bytes]| keys.iter().map(|key| full(key)).collect();
        Place { full: all_full(&keys), full_bases: all_full(&bases), keys, bases, stem, prefix, parts }
    }

    pub(crate) fn full(&self, key: &[u8]) -> Bytes {
        [self.prefix.as_slice(), key].concat()
    }

    pub(crate) fn delete_all(&self) -> Cmd {
        let mut cmd = redis::cmd("DEL");
        for key in self.parts.iter().chain(&self.full).chain(&self.full_bases) {
            cmd.arg(key);
        }
        cmd
    }
}
