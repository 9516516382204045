//! One connection: a handle that tasks share, what is known about its health, and the server it leads to.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, Pipeline, RedisError, Value};

use super::clock::{Clock, Sample};
use super::failure::Fate;
use super::server::About;

/// A connection that was silent for that many calls in a row is left: it may have been cut without a word.
const SILENT_CALLS: u32 = 3;

/// A shared connection.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    health: Arc<Health>,
}

struct Health {
    /// When it was made, by the local clock.
    born: Duration,
    broken: AtomicBool,
    silent: AtomicU32,
    server: Server,
}

/// The server behind a connection, as of one generation.
#[derive(Clone)]
struct Server {
    generation: u64,
    current: Arc<AtomicU64>,
    clock: Arc<Clock>,
    identity: Arc<[u8]>,
    release: (u32, u32),
}

impl Link {
    /// Sends the commands and waits for all answers; a command that the server refused is among them.
    pub(super) async fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        ask(&mut self.connection.clone(), pipeline).await
    }

    /// The same connection.
    pub(super) fn is(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.health, &other.health)
    }

    pub(super) fn born(&self) -> Duration {
        self.health.born
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.health.server.clock
    }

    /// Of the server that it leads to; see [`About::identity`].
    pub(super) fn identity(&self) -> &[u8] {
        &self.health.server.identity
    }

    /// The first two numbers of the server's release.
    pub(super) fn release(&self) -> (u32, u32) {
        self.health.server.release
    }

    /// Not broken, and no other connection has met another server since.
    pub(super) fn is_sound(&self) -> bool {
        let Server { generation, current, .. } = &self.health.server;
        !self.health.broken.load(Ordering::Relaxed) && *generation == current.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self) {
        self.health.silent.store(0, Ordering::Relaxed);
    }

    pub(super) fn was_silent(&self) {
        if self.health.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_CALLS {
            self.settle(Fate::Leave);
        }
    }

    pub(super) fn settle(&self, fate: Fate) {
        if fate != Fate::Keep {
            self.health.broken.store(true, Ordering::Relaxed);
        }
        if fate == Fate::LeaveServer {
            let Server { generation, current, .. } = &self.health.server;
            // A connection that is itself outdated says nothing about the server in use by now.
            let _ = current.compare_exchange(*generation, generation + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// As [`Link::ask`], before there is a link.
pub(super) async fn ask(connection: &mut MultiplexedConnection, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
    let count = pipeline.len();
    let answers = connection.send_packed_commands(pipeline, 0, count).await?;
    if answers.len() == count {
        return Ok(answers);
    }
    Err((ErrorKind::Parse, "as many answers as commands were expected").into())
}

/// Which server the connections lead to. A generation ends when a connection meets another server or identity, or the server
/// turns out to be no master any more: then all connections of that generation are left.
#[derive(Default)]
pub(super) struct Identity {
    current: Arc<AtomicU64>,
    /// With its run id.
    known: Mutex<Option<(String, Server)>>,
}

impl Identity {
    /// A link to this server, whose clock was just looked at.
    pub(super) fn link(&self, connection: MultiplexedConnection, about: &About, sample: Sample) -> Link {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = about.identity();
        let server = match &*known {
            Some((_, server)) if *server.identity == identity && server.generation == self.current.load(Ordering::Relaxed) => {
                server.clock.learn(sample);
                server.clone()
            }
            _ => {
                let generation = self.current.fetch_add(1, Ordering::Relaxed) + 1;
                let clock = Arc::new(Clock::new(sample));
                let (current, release) = (self.current.clone(), about.release);
                let server = Server { generation, current, clock, identity: identity.into(), release };
                *known = Some((about.run_id.clone(), server.clone()));
                server
            }
        };
        let health = Health { born: sample.received, broken: AtomicBool::new(false), silent: AtomicU32::new(0), server };
        Link { connection, health: Arc::new(health) }
    }

    /// The server in use says so of itself: true if it is what it was. Otherwise its connections are left.
    pub(super) fn is_still(&self, about: &About) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, server)) = &*known else { return true };
        let same = *server.identity == about.identity() && !about.replica;
        if !same {
            self.end(server);
        }
        same
    }

    /// The server with this run id is a replica: leave it, if it is the one in use.
    pub(super) fn demoted(&self, run_id: &str) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, server)) = &*known
            && id == run_id
        {
            self.end(server);
        }
    }

    fn end(&self, server: &Server) {
        let next = server.generation + 1;
        let _ = self.current.compare_exchange(server.generation, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}
