//! Whether what was accepted is still there to be confirmed.

use super::ShardState;
use crate::error::{Error, Result};
use crate::journal::Identity;

impl ShardState {
    /// The shard goes on, on this server, and since it was in that incarnation it has lost nothing.
    ///
    /// # Errors
    /// `Fenced` if it is not installed here, or is in another incarnation by now.
    pub fn stands(&self, identity: &Identity, inc: Option<u64>) -> Result<()> {
        let meta = self.ready(identity)?;
        if inc.is_none_or(|inc| inc == meta.inc) { Ok(()) } else { Err(Error::fenced()) }
    }
}
