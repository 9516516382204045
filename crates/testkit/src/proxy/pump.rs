//! One connection's bytes, in both directions, under the rule of the moment.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use writeway_core::runtime::{Runtime, Tokio};

use super::{Active, Rule, Shared};

/// For how long a cut waits for the server's reply: it is the sign that the request was carried out.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// Ends when either side is gone, or the rule cuts.
pub(super) async fn run(client: TcpStream, server: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // True from the moment the request that is to be cut was seen: no reply passes any more.
    let muted = watch::Sender::new(false);
    let replied = watch::Sender::new(false);
    let up = Up { from: from_client, to: to_server, shared, muted: &muted, replied: replied.subscribe() };
    tokio::select! {
        biased;
        done = up.run() => done,
        done = replies(from_server, to_client, shared, muted.subscribe(), &replied) => done,
    }
}

struct Up<'c> {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: &'c Shared,
    muted: &'c watch::Sender<bool>,
    replied: watch::Receiver<bool>,
}

impl Up<'_> {
    async fn run(mut self) -> io::Result<()> {
        let mut rule = self.shared.rule.subscribe();
        let mut buffer = vec![0; 1 << 16];
        let mut tail = Tail::default();
        loop {
            let n = self.from.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            let bytes = &buffer[..n];
            while rule.borrow_and_update().rule == Rule::Stall && rule.changed().await.is_ok() {}
            let active = rule.borrow_and_update().clone();
            match &active.rule {
                Rule::Delay(pause) => Tokio.sleep(*pause).await,
                Rule::CutBefore(what) if tail.completes(what, bytes) => {
                    count_cut(self.shared, &active);
                    return Ok(());
                }
                Rule::CutAfter(what) if tail.completes(what, bytes) => {
                    self.muted.send_replace(true);
                    self.to.write_all(bytes).await?;
                    let answered = async { self.replied.wait_for(|replied| *replied).await.is_ok() };
                    let deadline = Tokio.now() + REPLY_WITHIN;
                    writeway_core::tasks::until(&Tokio, deadline, answered).await;
                    count_cut(self.shared, &active);
                    return Ok(());
                }
                _ => {}
            }
            tail.keep(bytes);
            self.to.write_all(bytes).await?;
        }
    }
}

fn count_cut(shared: &Shared, active: &Active) {
    shared.cuts.fetch_add(1, Ordering::Relaxed);
    shared.rule.send_if_modified(|now| {
        let ends = active.once && now.rule == active.rule;
        if ends {
            *now = Active::default();
        }
        ends
    });
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    muted: watch::Receiver<bool>,
    replied: &watch::Sender<bool>,
) -> io::Result<()> {
    let mut rule = shared.rule.subscribe();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = from.read(&mut buffer).await?;
        let bytes = &buffer[..n];
        if *muted.borrow() {
            replied.send_replace(true);
            // The other direction cuts.
            return std::future::pending().await;
        }
        if n == 0 {
            return Ok(());
        }
        while matches!(rule.borrow_and_update().rule, Rule::Stall | Rule::Mute) && rule.changed().await.is_ok() {}
        let active = rule.borrow_and_update().clone();
        match active.rule {
            Rule::Delay(pause) => Tokio.sleep(pause).await,
            Rule::Trickle(pause) => {
                for byte in bytes {
                    to.write_all(&[*byte]).await?;
                    Tokio.sleep(pause).await;
                }
                continue;
            }
            Rule::CutReply(most) => {
                to.write_all(&bytes[..bytes.len().min(most)]).await?;
                count_cut(shared, &active);
                return Ok(());
            }
            _ => {}
        }
        to.write_all(bytes).await?;
    }
}

/// The end of what has passed: a request may arrive in pieces.
#[derive(Default)]
struct Tail(Vec<u8>);

/// Longer than any pattern in use.
const LONGEST: usize = 1 << 10;

impl Tail {
    /// True if `bytes` end the first occurrence of `what`, or hold it.
    fn completes(&self, what: &[u8], bytes: &[u8]) -> bool {
        let keep = self.0.len().min(what.len().saturating_sub(1));
        let joined = [&self.0[self.0.len() - keep..], bytes].concat();
        !what.is_empty() && joined.windows(what.len()).any(|window| window == what)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(LONGEST)..]);
        let surplus = self.0.len().saturating_sub(LONGEST);
        self.0.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_across_pieces_and_only_once() {
        let mut tail = Tail::default();
        assert!(tail.completes(b"COMMIT", b"xxCOMMITxx"));
        tail.keep(b"xxCOM");
        assert!(!tail.completes(b"COMMIT", b"xMIT"));
        assert!(tail.completes(b"COMMIT", b"MITxx"));
        tail.keep(b"MITxx");
        assert!(!tail.completes(b"COMMIT", b"more"), "it has passed");
        assert!(!tail.completes(b"", b"more"));
        tail.keep(&[0; 5_000]);
        assert_eq!(tail.0.len(), LONGEST);
    }
}
