//! The few commands that starting and cleaning up a Redis takes, so that no Redis client has to be built for them.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const PATIENCE: Duration = Duration::from_secs(5);

/// One blocking connection.
pub struct Resp {
    stream: BufReader<TcpStream>,
}

/// An answer, with arrays flattened: the commands used here need no more.
type Answer = Vec<String>;

impl Resp {
    /// To `host:port`, in plaintext.
    ///
    /// # Errors
    /// Nobody answers there within five seconds.
    pub fn connect(address: &str) -> Result<Self> {
        let mut last = None;
        for socket in address.to_socket_addrs().with_context(|| format!("resolve {address}"))? {
            match TcpStream::connect_timeout(&socket, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    return Ok(Self { stream: BufReader::new(stream) });
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error).with_context(|| format!("connect to {address}")),
            None => bail!("{address} has no address"),
        }
    }

    /// Sends one command and reads its answer.
    ///
    /// # Errors
    /// The connection broke, or the server refused.
    pub fn call(&mut self, command: &[&str]) -> Result<Answer> {
        let mut request = format!("*{}\r\n", command.len());
        for part in command {
            request += &format!("${}\r\n{part}\r\n", part.len());
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        self.read(&mut answer)?;
        Ok(answer)
    }

    fn read(&mut self, answer: &mut Answer) -> Result<()> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let (kind, rest) = line.trim_end().split_at_checked(1).context("an empty line is no answer")?;
        match kind {
            "+" | ":" => answer.push(rest.to_owned()),
            "$" => answer.push(self.bulk(rest.parse()?)?),
            "*" => {
                for _ in 0..rest.parse::<i64>()? {
                    self.read(answer)?;
                }
            }
            "-" => bail!("the server refused: {rest}"),
            _ => bail!("not a Redis answer: {line:?}"),
        }
        Ok(())
    }

    fn bulk(&mut self, length: i64) -> Result<String> {
        let Ok(length) = usize::try_from(length) else {
            return Ok(String::new());
        };
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl fmt::Debug for Resp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resp").finish_non_exhaustive()
    }
}
