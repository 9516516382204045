//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};

/// How often a port may be snatched between the look and the server's own bind before we stop believing in chance.
pub(super) const ATTEMPTS: usize = 8;

/// A port that was free a moment ago. Whoever starts a server on it must be ready to hear "address in use".
pub(super) fn free() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback interface")?;
    Ok(listener.local_addr()?.port())
}
