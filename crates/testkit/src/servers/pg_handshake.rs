//! Just enough of PostgreSQL's protocol to know that a server lets us in.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};

const PROTOCOL_3_0: u32 = 196_608;
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a session as `user` and reads until the server is ready for a query.
pub(super) fn session(port: u16, user: &str) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = format!("user\0{user}\0database\0postgres\0\0");
    let length = u32::try_from(body.len() + 8)?;
    stream.write_all(&[&length.to_be_bytes()[..], &PROTOCOL_3_0.to_be_bytes(), body.as_bytes()].concat())?;
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header)?;
        let [kind, length @ ..] = header;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes(length))?.saturating_sub(4)];
        stream.read_exact(&mut payload)?;
        match kind {
            b'Z' => return Ok(()),
            b'E' => bail!("refused: {}", String::from_utf8_lossy(&payload)),
            _ => {}
        }
    }
}
