//! Removing what the cache holds, whatever SQL holds: for rows that somebody changed who does not take part.

use crate::cache::Bytes;
use crate::error::Result;
use crate::read::{Reads, late};
use crate::store::Store;
use crate::tasks::until;

impl<S: Store> Reads<S> {
    /// Removes the keys' values from the cache.
    ///
    /// # Errors
    /// `Unavailable`: the old values may still be there.
    pub async fn invalidate(&self, keys: &[S::Key]) -> Result<()> {
        let at = keys.iter().map(|key| self.keys.encode(key)).collect::<Result<Vec<_>>>()?;
        self.invalidate_at(&at).await
    }

    /// Removes every value of the namespace from the cache, page by page; each page has the call's deadline. Says how many keys
    /// it went through. What is filled meanwhile may stay.
    ///
    /// # Errors
    /// `Unavailable`: some may be gone, others not; repeat it.
    pub async fn invalidate_all(&self) -> Result<u64> {
        let mut seen = 0;
        for stem in self.keys.stems() {
            let mut cursor = 0;
            loop {
                let page = until(&*self.runtime, self.deadline(), self.cache.scan(stem, cursor)).await;
                let (next, keys) = page.unwrap_or_else(|| Err(late()))?;
                self.invalidate_at(&keys).await?;
                seen += keys.len() as u64;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(seen)
    }

    async fn invalidate_at(&self, at: &[Bytes]) -> Result<()> {
        if at.is_empty() {
            return Ok(());
        }
        until(&*self.runtime, self.deadline(), self.cache.invalidate(at)).await.unwrap_or_else(|| Err(late()))
    }
}
