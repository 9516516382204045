//! The read side of the port.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::call::{Calls, Repeat};
use super::script::{FILL, INVALIDATE, LEASE};
use super::server::{About, SECTIONS};
use super::{PAGE, Redis, declared, millis, namespace_of, reply};
use crate::cache::{Ask, BoxFuture, Bytes, Declaration, Entries, Fill, Hold, Id, Lease, Lookup};
use crate::entry::{FORMAT, MAGIC, VALUE, VALUE_HEADER};
use crate::error::{Error, Result};

impl Entries for Redis {
    fn declare<'a>(&'a self, declaration: &'a Declaration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.record(declaration))
    }

    fn get<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Lookup>>> {
        Box::pin(self.read(keys))
    }

    fn lease<'a>(&'a self, asks: &'a [Ask], hold: Hold) -> BoxFuture<'a, Result<Vec<Lease>>> {
        Box::pin(async move {
            let (owner, keep) = (millis(hold.owner), millis(hold.key));
            let calls = Calls {
                script: &LEASE,
                count: asks.len(),
                call: &|n, _, cmd| {
                    cmd.arg(1)
                        .arg(self.full_key(&asks[n].key))
                        .arg(&asks[n].id.0[..])
                        .arg(u8::from(asks[n].discard))
                        .arg(owner)
                        .arg(keep);
                },
                bytes: &|_| 0,
                repeat: Repeat::WhenBroken,
            };
            self.run(&calls).await?.into_iter().map(leased).collect()
        })
    }

    fn fill<'a>(&'a self, fills: &'a [Fill]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let calls = Calls {
                script: &FILL,
                count: fills.len(),
                call: &|n, _, cmd| {
                    cmd.arg(1)
                        .arg(self.full_key(&fills[n].key))
                        .arg(&fills[n].lease.0[..])
                        .arg(&fills[n].entry)
                        .arg(millis(fills[n].ttl));
                },
                bytes: &|n| fills[n].entry.len(),
                repeat: Repeat::WhenBroken,
            };
            let mut answers = self.run(&calls).await?.into_iter();
            // Not a string: nobody holds a lease on it.
            answers.try_for_each(|answer| if reply::is_wrong_type(&answer) { Ok(()) } else { reply::text(answer).map(drop) })
        })
    }

    fn invalidate<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let calls = Calls {
                script: &INVALIDATE,
                count: keys.len(),
                call: &|n, _, cmd| {
                    cmd.arg(1).arg(self.full_key(&keys[n]));
                },
                bytes: &|_| 0,
                repeat: Repeat::WhenBroken,
            };
            let answers = self.run(&calls).await?;
            // All keys have been tried by now; the first refusal is told.
            keys.iter().zip(answers).try_for_each(|(key, answer)| {
                if reply::is_wrong_type(&answer) {
                    return Err(wrong_type(key));
                }
                if reply::text(answer)? == b"FOREIGN" { Err(foreign(key)) } else { Ok(()) }
            })
        })
    }

    fn scan<'a>(&'a self, stem: &'a [u8], cursor: u64) -> BoxFuture<'a, Result<(u64, Vec<Bytes>)>> {
        Box::pin(self.scan_page(stem, cursor))
    }
}

impl Redis {
    pub(super) async fn record(&self, declaration: &Declaration) -> Result<()> {
        let remembered = self.shared.connector.declared();
        let one = std::slice::from_ref(declaration);
        let deadline = self.deadline();
        self.about(deadline).await?.check(declaration)?;
        let found = first(self.exchange(deadline, &|_| remembered.look(one)).await?);
        if !declared::is_recorded(declaration, found)? {
            let raced = first(self.exchange(deadline, &|_| remembered.record(one)).await?);
            declared::is_recorded(declaration, raced)?;
        }
        remembered.remember(declaration);
        Ok(())
    }

    /// What the server says of itself now.
    pub(super) async fn about(&self, deadline: Duration) -> Result<About> {
        let question = |_: &_| {
            let mut pipeline = redis::pipe();
            for section in SECTIONS {
                pipeline.cmd("INFO").arg(section);
            }
            pipeline
        };
        let mut info = String::new();
        for answer in self.exchange(deadline, &question).await? {
            info.push_str(&String::from_utf8_lossy(&reply::text(answer)?));
        }
        Ok(About::read(&info))
    }

    async fn read(&self, keys: &[Bytes]) -> Result<Vec<Lookup>> {
        if let [key] = keys {
            let get = |_: &_| {
                let mut pipeline = Pipeline::with_capacity(1);
                pipeline.cmd("GET").arg(self.full_key(key));
                pipeline
            };
            let answer = first(self.exchange(self.deadline(), &get).await?);
            return if reply::is_wrong_type(&answer) { Ok(vec![Lookup::Miss]) } else { Ok(vec![looked_up(answer)?]) };
        }
        let mut found = Vec::with_capacity(keys.len());
        for page in keys.chunks(PAGE) {
            let get = |_: &_| {
                let mut pipeline = Pipeline::with_capacity(1);
                pipeline.cmd("MGET");
                for key in page {
                    pipeline.arg(self.full_key(key));
                }
                pipeline
            };
            let answers = reply::list(first(self.exchange(self.deadline(), &get).await?))?;
            if answers.len() != page.len() {
                return Err(reply::strange());
            }
            for answer in answers {
                found.push(looked_up(answer)?);
            }
        }
        Ok(found)
    }

    pub(super) async fn scan_page(&self, stem: &[u8], cursor: u64) -> Result<(u64, Vec<Bytes>)> {
        let mut pattern = literal(&self.full_key(stem));
        pattern.push(b'*');
        let ask = |_: &_| {
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE);
            pipeline
        };
        let answer = reply::list(first(self.exchange(self.deadline(), &ask).await?))?;
        let [next, keys] = <[Value; 2]>::try_from(answer).map_err(|_| reply::strange())?;
        let next = String::from_utf8(reply::text(next)?).ok().and_then(|n| n.parse().ok()).ok_or_else(reply::strange)?;
        let mut found = Vec::new();
        for key in reply::list(keys)? {
            let key = reply::text(key)?;
            found.extend(key.strip_prefix(self.shared.prefix.as_slice()).map(<[u8]>::to_vec));
        }
        Ok((next, found))
    }
}

/// A pipeline of one command has one answer; a pipeline without one has failed before.
fn first(answers: Vec<Value>) -> Value {
    answers.into_iter().next().unwrap_or(Value::Nil)
}

/// Only what begins as a value of this format, and is long enough to be one, is a hit.
fn looked_up(value: Value) -> Result<Lookup> {
    Ok(match reply::optional(value)? {
        Some(entry) if entry.starts_with(&[MAGIC, VALUE, FORMAT]) && entry.len() >= VALUE_HEADER => Lookup::Hit(entry),
        _ => Lookup::Miss,
    })
}

/// The answer to an ask.
pub(super) fn leased(answer: Value) -> Result<Lease> {
    if reply::is_wrong_type(&answer) {
        return Ok(Lease::Bypass);
    }
    let mut parts = reply::list(answer)?.into_iter().map(reply::text);
    let word = parts.next().ok_or_else(reply::strange)??;
    match (word.as_slice(), parts.next().transpose()?) {
        (b"HIT", Some(entry)) => Ok(Lease::Hit(entry)),
        (b"DIRTY", Some(entry)) => Ok(Lease::Dirty(entry)),
        (b"GRANTED", Some(id)) => Ok(Lease::Granted(Id(id.try_into().map_err(|_| reply::strange())?))),
        (b"BUSY", None) => Ok(Lease::Busy),
        (b"BYPASS", None) => Ok(Lease::Bypass),
        _ => Err(reply::strange()),
    }
}

/// A pattern that matches these bytes and nothing else.
fn literal(bytes: &[u8]) -> Bytes {
    let mut pattern = Vec::with_capacity(bytes.len() + 1);
    for &byte in bytes {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern
}

pub(super) fn wrong_type(key: &[u8]) -> Error {
    Error::invalid(format!("a key of namespace {} holds another kind of data than a string", namespace_of(key)))
}

pub(super) fn foreign(key: &[u8]) -> Error {
    Error::rejected(format!("a key of namespace {} belongs to another strategy or a newer release", namespace_of(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_is_a_hit() {
        let look = |bytes: &[u8]| looked_up(Value::BulkString(bytes.to_vec())).ok();
        let value = [MAGIC, VALUE, FORMAT, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(look(&value), Some(Lookup::Hit(value.to_vec())));
        assert_eq!(look(&value[..11]), Some(Lookup::Miss));
        for at in 0..3 {
            let mut other = value;
            other[at] ^= 1;
            assert_eq!(look(&other), Some(Lookup::Miss));
        }
        assert_eq!(looked_up(Value::Nil).ok(), Some(Lookup::Miss));
        assert_eq!(looked_up(Value::Int(1)).ok(), None, "no string");
    }

    #[test]
    fn patterns_take_every_byte_literally() {
        assert_eq!(literal(br"p:a*b?[c]\"), br"p:a\*b\?\[c\]\\");
    }
}
