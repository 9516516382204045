//! How the namespaces are written: recorded beside their entries, and checked on every new connection, which may lead to a server
//! that knows nothing of it.

use std::sync::{Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::failure::to_error;
use super::link::ask;
use super::reply;
use super::server::About;
use crate::cache::{Bytes, Declaration};
use crate::error::{Error, Result};
use crate::options::Mode;

/// Whether it is the mode of a namespace whose changes are accepted here first.
pub(super) fn is_journal(mode: &str) -> bool {
    [Mode::WriteBack, Mode::Counters].iter().any(|known| known.name() == mode)
}

/// The namespaces of one handle.
pub(super) struct Declared {
    prefix: Bytes,
    known: Mutex<Vec<Declaration>>,
}

impl Declared {
    pub(super) fn new(prefix: &[u8]) -> Self {
        Declared { prefix: prefix.to_vec(), known: Mutex::default() }
    }

    /// From now on every new connection checks it.
    pub(super) fn remember(&self, declaration: &Declaration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| other.namespace != declaration.namespace);
        known.push(declaration.clone());
    }

    /// What a new connection does before it is used.
    pub(super) async fn verify_all(&self, connection: &mut MultiplexedConnection, about: &About) -> Result<()> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_empty() {
            return Ok(());
        }
        for declaration in &known {
            about.check(declaration).map_err(|e| e.during("declare", &declaration.namespace.as_str().into()))?;
        }
        let found = ask(connection, &self.look(&known)).await.map_err(to_error)?;
        let mut missing = Vec::new();
        for (declaration, found) in known.iter().zip(found) {
            if !is_recorded(declaration, found)? {
                missing.push(declaration.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let raced = ask(connection, &self.record(&missing)).await.map_err(to_error)?;
        missing.iter().zip(raced).try_for_each(|(declaration, found)| is_recorded(declaration, found).map(|_| ()))
    }

    /// Asks what is recorded. A full server would refuse to write, even what it has already.
    pub(super) fn look(&self, declarations: &[Declaration]) -> Pipeline {
        let mut pipeline = redis::pipe();
        for declaration in declarations {
            pipeline.cmd("GET").arg(self.key(declaration));
        }
        pipeline
    }

    /// Records what is not recorded yet; answers what another process recorded in between.
    pub(super) fn record(&self, declarations: &[Declaration]) -> Pipeline {
        let mut pipeline = redis::pipe();
        for declaration in declarations {
            pipeline.cmd("SET").arg(self.key(declaration)).arg(declaration.mode).arg("NX").arg("GET");
        }
        pipeline
    }

    fn key(&self, declaration: &Declaration) -> Bytes {
        [&self.prefix, declaration.namespace.as_bytes()].concat()
    }
}

/// True if the answer is this declaration's mode, false if nothing is recorded.
///
/// # Errors
/// `Invalid` if something else is.
pub(super) fn is_recorded(declaration: &Declaration, found: Value) -> Result<bool> {
    let Declaration { namespace, mode, .. } = declaration;
    let other = if reply::is_wrong_type(&found) { Some(Bytes::new()) } else { reply::optional(found)? };
    let recorded = match other.as_deref() {
        None => return Ok(false),
        Some(recorded) if recorded == mode.as_bytes() => return Ok(true),
        Some(b"strict") => "as strict",
        Some(b"eventual") => "as eventual",
        Some(b"write-back") => "as write-back",
        Some(b"counters") => "as counters",
        Some(_) => "by something else",
    };
    Err(Error::invalid(format!(
        "namespace {namespace} is recorded {recorded}, this process would write it as {mode}: all its writers must agree"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn another_mode_is_refused_by_name() {
        let strict = Declaration { namespace: "users".into(), mode: "strict", no_eviction: true, persistence: false };
        let recorded = |text: &str| is_recorded(&strict, Value::BulkString(text.into()));
        assert_eq!(recorded("strict").ok(), Some(true));
        assert_eq!(is_recorded(&strict, Value::Nil).ok(), Some(false));
        let refused = recorded("eventual").expect_err("another mode");
        assert_eq!(refused.kind(), Kind::Invalid);
        assert!(refused.to_string().contains("users is recorded as eventual"), "{refused}");
        assert!(recorded("write-back").expect_err("another mode").to_string().contains("as write-back"));
        assert!(!recorded("secret").expect_err("a value").to_string().contains("secret"));
    }
}
