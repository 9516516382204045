//! A fault proxy in front of Redis or PostgreSQL: real bytes over real sockets, faults chosen by the test at run time.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use writeway_testkit::proxy::{Proxy, Rule};
//!
//! let proxy = Proxy::start("127.0.0.1:5432").await?;
//! let url = format!("postgres://test@127.0.0.1:{}/test", proxy.port());
//! proxy.once(Rule::cut_after("COMMIT"));      // it is committed, and nobody is told
//! # Ok(()) }
//! ```

mod pump;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to bytes under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    #[default]
    Pass,
    /// New connections are closed at once; those there are go on.
    Refuse,
    /// Nothing moves, in either direction, as with a stopped process. What was held back moves on when the rule changes: late.
    Stall,
    /// Requests pass, replies are held back until the rule changes.
    Mute,
    /// Every chunk of bytes waits that long, in both directions.
    Delay(Duration),
    /// Replies come byte by byte, with such a pause after each.
    Trickle(Duration),
    /// The request that contains these bytes does not reach the server: the connection is cut before.
    CutBefore(Arc<[u8]>),
    /// The request that contains these bytes reaches the server; the connection is cut as soon as the server replies, before the
    /// client sees any of it.
    CutAfter(Arc<[u8]>),
    /// The next reply reaches the client up to so many bytes; then the connection is cut.
    CutReply(usize),
}

impl Rule {
    /// See [`Rule::CutBefore`].
    #[must_use]
    pub fn cut_before(bytes: impl AsRef<[u8]>) -> Self {
        Rule::CutBefore(bytes.as_ref().into())
    }

    /// See [`Rule::CutAfter`].
    #[must_use]
    pub fn cut_after(bytes: impl AsRef<[u8]>) -> Self {
        Rule::CutAfter(bytes.as_ref().into())
    }
}

/// A running proxy. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    // Owns the accepting task, which owns the connections.
    _accepting: JoinSet<()>,
}

/// What the handle and the connections share.
#[derive(Debug)]
struct Shared {
    rule: watch::Sender<Active>,
    /// Counts up with every `kill_all`.
    killed: watch::Sender<u64>,
    /// Counts up with every `silence_all`.
    silenced: watch::Sender<u64>,
    /// Where new connections lead.
    server: Mutex<String>,
    connections: AtomicU64,
    cuts: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Active {
    rule: Rule,
    /// Falls back to `Pass` after its first cut.
    once: bool,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `server`.
    ///
    /// # Errors
    /// If it cannot listen. A server that is not there shows when a client connects: its connection is closed.
    pub async fn start(server: impl ToString) -> io::Result<Proxy> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            rule: watch::Sender::default(),
            killed: watch::Sender::default(),
            silenced: watch::Sender::default(),
            server: Mutex::new(server.to_string()),
            connections: AtomicU64::default(),
            cuts: AtomicU64::default(),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, shared.clone()));
        Ok(Proxy { port, shared, _accepting: accepting })
    }

    /// Where clients connect, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, also for the connections there are.
    pub fn set(&self, rule: Rule) {
        self.shared.rule.send_replace(Active { rule, once: false });
    }

    /// As [`set`](Proxy::set), but only until its first cut.
    pub fn once(&self, rule: Rule) {
        self.shared.rule.send_replace(Active { rule, once: true });
    }

    /// From now on new connections lead to this server, as after a failover; those there are go on with the other.
    pub fn lead_to(&self, server: impl ToString) {
        *self.shared.server.lock().unwrap_or_else(PoisonError::into_inner) = server.to_string();
    }

    /// Cuts all connections there are.
    pub fn kill_all(&self) {
        self.shared.killed.send_modify(|times| *times += 1);
    }

    /// All connections there are stay open, and nothing passes through them any more, as when somebody on the way has forgotten
    /// them. New ones work.
    pub fn silence_all(&self) {
        self.shared.silenced.send_modify(|times| *times += 1);
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many were cut by a rule: a test that counted on one asserts it.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    // An accept that fails (too many files) is tried again; the test sees its connection fail.
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        if shared.rule.borrow().rule == Rule::Refuse {
            continue;
        }
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let server = shared.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shared = shared.clone();
        connections.spawn(async move {
            let (mut killed, mut silenced) = (shared.killed.subscribe(), shared.silenced.subscribe());
            let work = async {
                let server = TcpStream::connect(server).await?;
                pump::run(client, server, &shared).await
            };
            let mut work = std::pin::pin!(work);
            // Either side is gone, or cut: both ends are closed here, whatever the reason was.
            tokio::select! {
                biased;
                _ = killed.changed() => {}
                _ = silenced.changed() => {
                    // Held open, and never looked at again.
                    let _killed = killed.changed().await;
                }
                _ = &mut work => {}
            }
        });
    }
}
