//! The write side of the port.

use redis::Value;

use super::call::{Calls, Repeat};
use super::entries::{foreign, wrong_type};
use super::script::{BEGIN, FINISH};
use super::{Redis, millis, reply};
use crate::cache::{Barriers, BeginBy, Begun, BoxFuture, Bytes, Finish, Finished, Id};
use crate::error::{Error, Result};

impl Barriers for Redis {
    fn begin<'a>(&'a self, keys: &'a [Bytes], token: Id, by: BeginBy) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let all: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let late = self.place(&all, token, by).await?;
            if late.is_empty() {
                return Ok(());
            }
            if self.shared.runtime.now() < by.not_after {
                // There is time left, so it was the clocks: the answer has told the server's, and the limit is derived anew.
                tracing::debug!(name: "redis.clock.learned", keys = late.len(), "a barrier came too late by an outdated clock");
                if self.place(&late, token, by).await?.is_empty() {
                    return Ok(());
                }
            }
            Err(Error::unavailable("the commit barrier would have come too late"))
        })
    }

    fn finish<'a>(&'a self, ends: &'a [Finish], token: Id) -> BoxFuture<'a, Result<Vec<Finished>>> {
        Box::pin(async move {
            let calls = Calls {
                script: &FINISH,
                count: ends.len(),
                call: &|n, _, cmd| {
                    cmd.arg(1).arg(self.full_key(&ends[n].key)).arg(&token.0[..]);
                    if let Some((entry, ttl)) = &ends[n].publish {
                        cmd.arg(entry).arg(millis(*ttl));
                    }
                },
                bytes: &|n| ends[n].publish.as_ref().map_or(0, |(entry, _)| entry.len()),
                repeat: Repeat::WhenBroken,
            };
            self.run(&calls).await?.into_iter().map(finished).collect()
        })
    }
}

impl Redis {
    /// Places a barrier on every key; the keys for which it came too late by the server's clock.
    async fn place<'k>(&self, keys: &[&'k [u8]], token: Id, by: BeginBy) -> Result<Vec<&'k [u8]>> {
        let within = millis(by.within);
        // Past its own limit this call has been answered, too.
        let not_after = by.not_after.min(self.deadline());
        let calls = Calls {
            script: &BEGIN,
            count: keys.len(),
            call: &|n, link, cmd| {
                cmd.arg(1).arg(self.full_key(keys[n])).arg(&token.0[..]).arg(within).arg(link.clock().not_after(not_after));
            },
            bytes: &|_| 0,
            repeat: Repeat::WhenBroken,
        };
        let answers = self.run(&calls).await?;
        let mut late = Vec::new();
        for (&key, answer) in keys.iter().zip(answers) {
            match begun(key, answer)? {
                Begun::Placed => {}
                Begun::Late => late.push(key),
                Begun::Full => return Err(Error::overloaded("too many writers are committing on one key")),
                Begun::Foreign => return Err(foreign(key)),
            }
        }
        Ok(late)
    }
}

fn begun(key: &[u8], answer: Value) -> Result<Begun> {
    if reply::is_wrong_type(&answer) {
        return Err(wrong_type(key));
    }
    let word = reply::list(answer)?.into_iter().next().ok_or_else(reply::strange)?;
    match reply::text(word)?.as_slice() {
        b"PLACED" => Ok(Begun::Placed),
        b"LATE" => Ok(Begun::Late),
        b"FULL" => Ok(Begun::Full),
        b"FOREIGN" => Ok(Begun::Foreign),
        _ => Err(reply::strange()),
    }
}

fn finished(answer: Value) -> Result<Finished> {
    if reply::is_wrong_type(&answer) {
        return Ok(Finished::Voided);
    }
    match reply::text(answer)?.as_slice() {
        b"PUBLISHED" => Ok(Finished::Published),
        b"VOIDED" => Ok(Finished::Voided),
        _ => Err(reply::strange()),
    }
}
