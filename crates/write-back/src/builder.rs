//! From a table and options to a handle.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use writeway_core::cache::Declaration;
use writeway_core::counts::{CountStore, Counts as _};
use writeway_core::entry::increments::MAX_NAME;
use writeway_core::error::{Error, Outcome, Result};
use writeway_core::journal::{Journal, Level, Shard};
use writeway_core::key::KeySpace;
use writeway_core::options::{Mode, Options};
use writeway_core::read::{Reads, late};
use writeway_core::read_counts::{Bases, CountReads};
use writeway_core::store::{Blame, FencedStore, Store as _, Transaction as _};
use writeway_core::tasks::until;

use crate::counters::Counters;
use crate::engine::Engine;
use crate::form::{Form, Increments, Rows};
use crate::handle::WriteBack;
use crate::settings::{Classify, Drift, Overflow, Settings};

/// The options of a write-back namespace. Made by [`WriteBack::builder`], or by [`Counters::builder`] for one that counts.
#[derive(Clone)]
#[must_use = "a builder does nothing before build"]
pub struct WriteBackBuilder<S, H = WriteBack<S>> {
    store: S,
    options: Options,
    settings: Settings,
    classify: Option<Arc<Classify>>,
    handle: PhantomData<fn() -> H>,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident = |$settings:ident $(, $arg:ident: $t:ty)?| $set:expr;)+) => { $(
        $(#[$doc])*
        pub fn $name(mut self $(, $arg: $t)?) -> Self {
            let $settings = &mut self.settings;
            $set;
            self
        }
    )+ };
}

impl<S, H> WriteBackBuilder<S, H> {
    writeway_core::option_setters!();

    setters! {
        /// Into how many shards the namespace is divided, for good: recorded in SQL when it is first opened, and read from there
        /// ever after. Defaults to 16; 1 to 1,024.
        shards = |settings, n: u16| settings.shards = n;

        /// How long a change may wait before it is flushed, together with all of its shard that came since; changes of one row that come
        /// sooner are coalesced. Defaults to 200 ms; 1 ms to 1 h.
        max_delay = |settings, d: Duration| settings.max_delay = d;

        /// How many rows one flush may hold, and how many dirty rows of a shard are flushed without waiting for the delay.
        /// Defaults to 1,000; 1 to 10,000.
        max_batch = |settings, n: usize| settings.max_batch = n;

        /// How many bytes of encoded rows one flush may hold, give or take a row, and how many of a shard are flushed without
        /// waiting for the delay. Defaults to 4 MiB; 1 byte to 16 MiB.
        max_batch_bytes = |settings, n: usize| settings.max_batch_bytes = n;

        /// How many rows may be on their way to SQL; each shard has its part, rounded up. Defaults to 50,000; 1 to 10,000,000.
        max_dirty = |settings, n: usize| settings.max_dirty = n;

        /// How many bytes of encoded rows may be on their way; each shard has its part, which must have room for the longest row:
        /// `build` refuses less. Redis holds those of the open batch twice. Defaults to 64 MiB; 1 byte to 64 GiB.
        max_dirty_bytes = |settings, n: usize| settings.max_dirty_bytes = n;

        /// While a change has waited for so long, its shard accepts no further row: SQL does not keep up. A newer change of a row
        /// that waits still replaces it, unless it is in the open batch. Defaults to 600 s; 1 s to 366 days.
        max_age = |settings, d: Duration| settings.max_age = d;

        /// How many dead letters there may be; each shard has its part, rounded up. Once they are reached, what SQL refuses is tried
        /// again and again instead of being set aside, and counts against `max_dirty`. Defaults to 1,000; 1 to 1,000,000.
        max_dead = |settings, n: usize| settings.max_dead = n;

        /// What a write does when a bound is reached. Defaults to [`Overflow::Wait`].
        on_overflow = |settings, overflow: Overflow| settings.overflow = overflow;

        /// How long one flush may take. SQL's own time-outs must be shorter, so that a flusher that stands still holds up nobody
        /// for longer. A process that dies is taken over after about as long. Defaults to 5 s; 100 ms to 60 s.
        flush_timeout = |settings, d: Duration| settings.flush_timeout = d;

        /// How long the batch log in SQL remembers what was flushed: longer than the oldest state of Redis that one would start
        /// again. What is older cannot be compared any more, and is set aside. Defaults to 1 h; 60 s to 366 days.
        batch_log_for = |settings, d: Duration| settings.batch_log = d;

        /// Lets `build` create the tables `writeway_fence` and `writeway_batch` where they are missing. Off by default: `build`
        /// says which file to run.
        migrate = |settings| settings.migrate = true;

        /// Accepts a server whose eviction policy may remove accepted changes (`allkeys-*`). They are then lost unnoticed: their
        /// tickets say that they are durable. Off by default: `build` refuses such a server.
        allow_evictable_changes = |settings| settings.evictable_changes = true;

        /// Accepts a server without an append-only file, and the journal in the process. All that is not flushed is lost when it
        /// ends. Off by default: `build` refuses such a server.
        allow_volatile_changes = |settings| settings.volatile_changes = true;

        /// What `Ok` of a write means: see [`Level`], which says what each can lose. What is accepted and not confirmed at the level by
        /// the call's deadline is `Unavailable` with `Unknown`. Defaults to [`Level::Memory`].
        accept_level = |settings, level: Level| settings.level = level;

        /// Confirms each batch at the accept level, too, before it is flushed: what SQL has is then in no state of Redis that the
        /// level leaves possible still to be flushed. It costs one confirmation per batch, and while the level is not reached
        /// nothing is flushed. Off by default: such a state is compared with the batch log.
        durable_claims = |settings| settings.durable_claims = true;

        /// How often the journal's server is asked whether it is still set up as declared: eviction, append-only file, and what the
        /// accept level needs. Defaults to 10 s; 1 s to 1 h.
        recheck_every = |settings, d: Duration| settings.recheck = d;

        /// What writes do while it is not. Defaults to [`Drift::Report`].
        on_drift = |settings, drift: Drift| settings.on_drift = drift;

        /// Accepts SQL connections without server-side time-outs below `flush_timeout`. A flusher that stands still may then hold
        /// up its shard for as long as it stands. Off by default: such a connection is refused.
        allow_unbounded_flushes = |settings| settings.unbounded_flushes = true;
    }
}

impl<S, H> WriteBackBuilder<S, H> {
    pub(crate) fn new(store: S, mode: Mode) -> Self {
        WriteBackBuilder {
            store,
            options: Options::new(mode),
            settings: Settings::default(),
            classify: None,
            handle: PhantomData,
        }
    }

    /// Says whose fault it is that a flush failed, where the store cannot know: the error's
    /// [`source`](std::error::Error::source) is what the store's driver said. `None` leaves it to the store. Called for every
    /// failure of a flush; it should neither block nor panic. Defaults to the store's own judgement: constraints, values that do
    /// not fit and whatever else SQL refuses are the row's fault; foreign keys may pass; a missing table, column or right, as far as
    /// the server's English texts tell, is the table's; deadlocks, time-outs and lost connections are the server's.
    pub fn classify(mut self, classify: impl Fn(&Error) -> Option<Blame> + Send + Sync + 'static) -> Self {
        self.classify = Some(Arc::new(classify));
        self
    }
}

impl<S: FencedStore> WriteBackBuilder<S>
where
    S::Key: Serialize + DeserializeOwned,
{
    /// Checks the options and the servers, records the namespace's mode and number of shards, starts the flusher, and waits
    /// until every shard is open: after a restart of Redis, until its contents are compared with SQL.
    ///
    /// # Errors
    /// `Invalid`: an option is out of its bounds, a shard's part of `max_dirty_bytes` is too small for one row, another mode is
    /// recorded for the namespace, the journal may lose changes that it should keep, or SQL lacks the tables or the server-side
    /// time-outs, or the journal can never reach the accept level; the message says what to change. `Unavailable`: a server did not
    /// answer within the `call_timeout`, a shard could not be opened in the time of some flushes, or the accept level was not
    /// reached in a trial: a replica may be missing.
    ///
    /// # Cancel safety
    /// Dropped before its end, there is no handle; what was recorded for the namespace by then stays, and can be built upon again.
    pub async fn build(self, journal: impl Into<Arc<dyn Journal>>) -> Result<WriteBack<S>> {
        let WriteBackBuilder { store, options, settings, classify, .. } = self;
        let plan = Plan { options, settings, classify, journal: journal.into() };
        let shards = plan.prepare(&store).await?;
        let keys = KeySpace::sharded(&shards.iter().map(|(shard, _)| shard.clone()).collect::<Vec<_>>());
        let reads = Arc::new(Reads::new(store, plan.journal.clone(), keys, &plan.options, true));
        let form = Box::new(Rows(reads.clone()));
        plan.start(reads, form, shards).await
    }
}

impl<S: CountStore> WriteBackBuilder<S, Counters<S>> {
    /// As [`build`](WriteBackBuilder::build) of a namespace of rows; one that is recorded as the other kind is refused.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn build(self, journal: impl Into<Arc<dyn Journal>>) -> Result<Counters<S>> {
        let WriteBackBuilder { store, options, settings, classify, .. } = self;
        let plan = Plan { options, settings, classify, journal: journal.into() };
        if let Some(name) = S::Counts::FIELDS.iter().find(|name| name.is_empty() || name.len() > MAX_NAME) {
            return Err(Error::invalid(format!("the counter {name:?} has a name of other than 1 to {MAX_NAME} bytes")));
        }
        let tallies = store.tallies();
        let shards = plan.prepare(&tallies).await?;
        let names: Vec<Shard> = shards.iter().map(|(shard, _)| shard.clone()).collect();
        let bases = Arc::new(Bases::new(tallies.schema(), &plan.options));
        let journal = plan.journal.clone();
        let reads = Arc::new(Reads::new(tallies, journal.clone(), KeySpace::bases(&names), &plan.options, true));
        let form = Box::new(Increments { bases: bases.clone(), key: PhantomData });
        let back = plan.start(reads.clone(), form, shards).await?;
        Ok(Counters::new(back, CountReads::new(store, reads, bases, journal, names)))
    }
}

/// What a handle is made from, whatever it holds.
struct Plan {
    options: Options,
    settings: Settings,
    classify: Option<Arc<Classify>>,
    journal: Arc<dyn Journal>,
}

impl Plan {
    fn declaration(&self) -> Declaration {
        Declaration {
            no_eviction: !self.settings.evictable_changes,
            persistence: !self.settings.volatile_changes,
            ..self.options.declaration()
        }
    }

    /// Checks everything, and says what shards there are, each with its epoch.
    async fn prepare<S: FencedStore>(&self, store: &S) -> Result<Vec<(Shard, u64)>> {
        let Plan { options, settings, journal, .. } = self;
        options.check()?;
        settings.check()?;
        let name: Arc<str> = options.namespace.as_str().into();
        let (runtime, deadline) = (options.runtime.clone(), options.runtime.now() + options.call_timeout);
        let declaration = self.declaration();
        let ready = async {
            journal.declare(&declaration).await?;
            if let Some(unmet) = journal.unmet(&declaration, settings.level).await?.into_iter().next() {
                return Err(unmet);
            }
            if let Some(within) = settings.within() {
                store.begin(Some(within)).await?.rollback().await;
            }
            store.prepare(&name, settings.shards, settings.migrate).await
        };
        let epochs = until(&*runtime, deadline, ready).await.unwrap_or_else(|| Err(late()));
        // What is made here can be made again: no change of the caller's is in doubt.
        let epochs = epochs.map_err(|e| e.with_outcome(Outcome::NotApplied).during("build", &name))?;
        let count = u16::try_from(epochs.len()).unwrap_or(u16::MAX);
        settings.check_parts(count, options.max_value_bytes)?;
        Ok((0..count).map(|number| Shard { namespace: name.clone(), number }).zip(epochs).collect())
    }

    async fn start<S: FencedStore>(
        self,
        reads: Arc<Reads<S>>,
        form: Box<dyn Form<S::Key, S::Row>>,
        shards: Vec<(Shard, u64)>,
    ) -> Result<WriteBack<S>>
    where
        S::Key: Serialize + DeserializeOwned,
    {
        let declaration = self.declaration();
        let Plan { settings, classify, journal, .. } = self;
        let handle = WriteBack::start(Engine::new(reads, form, journal, declaration, shards.into_iter(), settings, classify));
        handle.opened().await?;
        handle.engine.try_level().await?;
        Ok(handle)
    }
}

/// Without the hook.
impl<S: fmt::Debug, H> fmt::Debug for WriteBackBuilder<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriteBackBuilder { store, options, settings, .. } = self;
        let mut builder = f.debug_struct("WriteBackBuilder");
        builder.field("store", store).field("options", options).field("settings", settings).finish_non_exhaustive()
    }
}
