//! From a table and options to a handle.

use std::sync::Arc;

use writeway_core::cache::Barriers;
use writeway_core::error::Result;
use writeway_core::namespace::{Namespace, Policy};
use writeway_core::options::{Mode, Options};
use writeway_core::store::Store;

use crate::handle::WriteThrough;

/// The options of a write-through namespace. Made by [`WriteThrough::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before build"]
pub struct WriteThroughBuilder<S> {
    store: S,
    options: Options,
}

impl<S: Store> WriteThroughBuilder<S> {
    pub(crate) fn new(store: S) -> Self {
        WriteThroughBuilder { store, options: Options::new(Mode::Strict) }
    }

    writeway_core::option_setters!();
    writeway_core::look_aside_setters!();

    /// Checks the options and the servers, and records the namespace's mode beside its entries.
    ///
    /// # Errors
    /// `Invalid`: an option is out of its bounds, another mode is recorded for the namespace, or, in strict mode, the cache may
    /// evict barriers or SQL lacks the server-side time-outs; the message says what to change. `Unavailable`: a server did not
    /// answer within the `call_timeout`.
    pub async fn build(self, cache: impl Barriers) -> Result<WriteThrough<S>> {
        let namespace = Namespace::open(self.store, Arc::new(cache), self.options, Policy::Publish).await?;
        Ok(WriteThrough { namespace })
    }
}
