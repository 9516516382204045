//! Connections: how they are made, checked and handed out.
//!
//! The connections are multiplexed: a task borrows one from the pool for the instant in which it clones the shared handle. So a
//! few connections carry any number of tasks, and the pool's part is their lifecycle: once lent, a handle is cloned from hand to
//! hand, and the pool is asked again when a connection was left. There is no `PING` at checkout: whether a
//! connection is sound is known from its last answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bb8::{ManageConnection, Pool, RunError};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Value};
use tokio::sync::watch;

use super::Limits;
use super::clock::Sample;
use super::declared::Declared;
use super::failure::to_error;
use super::link::{Identity, Link, ask};
use super::reply;
use super::server::{About, SECTIONS};
use crate::error::{Error, Result};
use crate::runtime::Runtime;
use crate::tasks::until;

/// Makes connections to one address.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    client: Client,
    connect_timeout: Duration,
    runtime: Arc<dyn Runtime>,
    identity: Identity,
    declared: Declared,
    in_hand: InHand,
    /// The last attempt that failed, so that those who wait for a connection need not wait out their limit.
    failed: watch::Sender<Option<Error>>,
}

impl Connector {
    pub(super) fn new(client: Client, limits: &Limits, runtime: Arc<dyn Runtime>, declared: Declared) -> Self {
        Connector(Arc::new(Shared {
            client,
            connect_timeout: limits.connect_timeout,
            runtime,
            identity: Identity::default(),
            declared,
            in_hand: InHand::of(limits.connections),
            failed: watch::Sender::new(None),
        }))
    }

    pub(super) fn declared(&self) -> &Declared {
        &self.0.declared
    }

    /// What the server in use says of itself now: true if it is what it was.
    pub(super) fn is_still(&self, about: &About) -> bool {
        self.0.identity.is_still(about)
    }

    /// A pool with all its connections: a wrong address, password or certificate shows here.
    pub(super) async fn pool(&self, connections: u32, checkout_timeout: Duration) -> Result<Pool<Connector>> {
        Pool::builder()
            .max_size(connections)
            .min_idle(connections)
            .connection_timeout(checkout_timeout)
            // Whoever waits hears of the failure at once; the breaker decides when to try again.
            .retry_connection(false)
            .test_on_check_out(true)
            .max_lifetime(None)
            .idle_timeout(None)
            .build(self.clone())
            .await
    }

    /// A sound connection that the pool has lent before: no lock is waited for and no timer is armed.
    pub(super) fn in_hand(&self) -> Option<Link> {
        self.0.in_hand.next()
    }

    /// A sound connection from the pool, or why there is none.
    pub(super) async fn checkout(&self, pool: &Pool<Connector>) -> Result<Link> {
        let mut failed = self.0.failed.subscribe();
        tokio::select! {
            biased;
            got = pool.get() => match got {
                Ok(link) => Ok(self.0.in_hand.keep(&link)),
                Err(RunError::User(e)) => Err(e),
                Err(RunError::TimedOut) => Err(Error::unavailable("no connection to the cache server in time")),
            },
            // The sender lives in `self`, so this ends with a failure only.
            _ = failed.changed() => {
                let last = failed.borrow().clone();
                Err(last.unwrap_or_else(|| Error::unavailable("no connection to the cache server")))
            }
        }
    }

    async fn open(&self) -> Result<Link> {
        let Shared { client, runtime, identity, declared, .. } = &*self.0;
        // Limits are this crate's, on its own clock.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(to_error)?;
        let (about, sample) = greet(&mut connection, &**runtime).await?;
        about.check_release()?;
        if about.replica {
            identity.demoted(&about.run_id);
        }
        about.check_role()?;
        declared.verify_all(&mut connection, &about).await?;
        Ok(identity.link(connection, &about, sample))
    }
}

/// The connections that the pool has lent, each until it is left. While one is missing, the pool is asked.
struct InHand {
    wanted: usize,
    links: RwLock<Vec<Link>>,
    turn: AtomicUsize,
}

impl InHand {
    fn of(connections: u32) -> Self {
        // At most 64: the builder's bound.
        let wanted = usize::try_from(connections).unwrap_or(usize::MAX);
        InHand { wanted, links: RwLock::default(), turn: AtomicUsize::new(0) }
    }

    fn next(&self) -> Option<Link> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        if links.len() < self.wanted {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        links.get(turn % self.wanted).filter(|link| link.is_sound()).cloned()
    }

    fn keep(&self, link: &Link) -> Link {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|held| held.is_sound() && !held.is(link));
        links.push(link.clone());
        link.clone()
    }
}

/// Who is there, and what time is it?
async fn greet(connection: &mut MultiplexedConnection, runtime: &dyn Runtime) -> Result<(About, Sample)> {
    let mut questions = redis::pipe();
    questions.cmd("TIME");
    for section in SECTIONS {
        questions.cmd("INFO").arg(section);
    }
    let sent = runtime.now();
    let answers = ask(connection, &questions).await.map_err(to_error)?;
    let received = runtime.now();
    let mut answers = answers.into_iter();
    let time = reply::whole(answers.next().unwrap_or(Value::Nil))?;
    let server = reply::time(&time).ok_or_else(reply::strange)?;
    let mut info = String::new();
    for answer in answers {
        info.push_str(&String::from_utf8_lossy(&reply::text(answer)?));
    }
    Ok((About::read(&info), Sample { server, sent, received }))
}

impl ManageConnection for Connector {
    type Connection = Link;
    type Error = Error;

    async fn connect(&self) -> Result<Link> {
        let runtime = &*self.0.runtime;
        let opened = until(runtime, runtime.now() + self.0.connect_timeout, self.open()).await;
        let opened = opened.unwrap_or_else(|| Err(Error::unavailable("connecting to the cache server took too long")));
        if let Err(e) = &opened {
            self.0.failed.send_replace(Some(e.clone()));
        }
        opened
    }

    async fn is_valid(&self, link: &mut Link) -> Result<()> {
        if link.is_sound() { Ok(()) } else { Err(Error::unavailable("this connection was left")) }
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        !link.is_sound()
    }
}
