//! What happens without anybody's call: an eviction, an expiry, somebody who does not take part.

/// Somebody who may act between any two steps, as often as the scenario's `evictions` allow.
pub trait Adversary: Send + Sync {
    /// How many things it could do now.
    fn ways(&self, now_ms: u64) -> usize;
    /// Does one of them, and says what it was.
    fn act(&self, way: usize, now_ms: u64) -> String;
}
