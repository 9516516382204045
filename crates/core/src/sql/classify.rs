//! What a diesel error means: what to do about it, and what it says of the statement. Pure.
//!
//! diesel tells apart the constraint violations (SQLSTATE 235xx), 40001 and 25006, and hides the SQLSTATE of everything else.
//! The rest is told apart by the server's English message texts. With another `lc_messages` a deadlock or a time-out is therefore
//! called `Rejected` instead of `Unavailable`; the outcome is right in either case, because it does not rest on texts. SQLite
//! speaks English only.

use bb8::RunError;
use diesel::result::{DatabaseErrorKind, Error as Diesel};
use diesel_async::pooled_connection::PoolError;

use crate::error::{Error, Kind};

/// A diesel error, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    kind: Kind,
    message: &'static str,
    pub(super) standing: Standing,
}

/// What an error says of the statement, and of the connection it was sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The statement, be it COMMIT, was refused or never sent.
    Refused,
    /// The server answered with an error; the session may have ended with it.
    Answered,
    /// The connection is of no more use.
    Lost,
    /// The error arose on this side, before the statement or while its answer was read.
    OurSide,
}

impl Fault {
    const fn new(kind: Kind, standing: Standing, message: &'static str) -> Self {
        Fault { kind, message, standing }
    }

    pub(super) fn kind(self) -> Kind {
        self.kind
    }

    /// With the outcome `NotApplied`, which holds for whatever runs before a COMMIT.
    pub(super) fn into_error(self, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
        let error = match self.kind {
            Kind::Invalid => Error::invalid(self.message),
            Kind::Rejected => Error::rejected(self.message),
            _ => Error::unavailable(self.message),
        };
        error.with_source(cause)
    }
}

/// Why the pool gave no connection.
pub(super) fn classify_checkout(cause: RunError<PoolError>) -> Error {
    let message = match &cause {
        RunError::TimedOut => "the SQL pool gave no connection in time",
        RunError::User(_) => "the SQL pool could not connect",
    };
    Error::unavailable(message).with_source(cause)
}

/// What the error of a statement of one's own means, as if this crate had sent it, in a transaction that was opened with `begin` and
/// is given up for it: nothing of it is committed, so the outcome is `NotApplied`.
///
/// ```
/// use writeway_core::diesel::result::{DatabaseErrorKind, Error};
/// use writeway_core::error::Kind;
/// use writeway_core::sql::statement_failed;
///
/// let deadlock = Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new("deadlock detected".to_owned()));
/// assert_eq!(statement_failed(deadlock).kind(), Kind::Unavailable);
/// ```
#[must_use]
pub fn statement_failed(cause: Diesel) -> Error {
    classify(&cause).into_error(cause)
}

/// What the error of a statement means.
pub(super) fn classify(cause: &Diesel) -> Fault {
    use Kind::{Invalid, Rejected, Unavailable};
    use Standing::{Lost, OurSide, Refused};
    match cause {
        Diesel::DatabaseError(kind, information) => by_kind(kind, information.message()),
        Diesel::RollbackErrorOnCommit { .. } => Fault::new(Unavailable, Lost, "the transaction could not be rolled back"),
        Diesel::BrokenTransactionManager => Fault::new(Unavailable, Lost, "the SQL connection broke before"),
        Diesel::InvalidCString(_) => Fault::new(Rejected, Refused, "a text holds a NUL byte, which SQL cannot store"),
        Diesel::RollbackTransaction => Fault::new(Rejected, OurSide, "the table's own code asked for a rollback"),
        Diesel::QueryBuilderError(_) | Diesel::SerializationError(_) => {
            Fault::new(Invalid, OurSide, "the table's own code made a statement that cannot be sent")
        }
        Diesel::DeserializationError(_) | Diesel::IntegerConversion(_) => {
            Fault::new(Invalid, OurSide, "a column does not hold what the table's own code expects")
        }
        Diesel::NotFound => Fault::new(Invalid, OurSide, "the table's own code expected a row where there was none"),
        _ => Fault::new(Invalid, OurSide, "the table's own code and diesel disagree"),
    }
}

fn by_kind(kind: &DatabaseErrorKind, text: &str) -> Fault {
    use DatabaseErrorKind as Is;
    use Kind::{Rejected, Unavailable};
    use Standing::{Lost, Refused};
    match kind {
        Is::UniqueViolation => Fault::new(Rejected, Refused, "SQL refused a row: a unique constraint"),
        Is::ForeignKeyViolation => Fault::new(Rejected, Refused, "SQL refused a row: a foreign key"),
        Is::NotNullViolation => Fault::new(Rejected, Refused, "SQL refused a row: a column must not be null"),
        Is::CheckViolation => Fault::new(Rejected, Refused, "SQL refused a row: a check constraint"),
        Is::RestrictViolation => Fault::new(Rejected, Refused, "SQL refused a row: others refer to it"),
        Is::ExclusionViolation => Fault::new(Rejected, Refused, "SQL refused a row: an exclusion constraint"),
        Is::SerializationFailure => Fault::new(Unavailable, Refused, "SQL could not serialise this with other transactions"),
        Is::ReadOnlyTransaction => Fault::new(Unavailable, Refused, "SQL is read-only: is this still the primary?"),
        Is::ClosedConnection => Fault::new(Unavailable, Lost, "the SQL connection was lost"),
        Is::UnableToSendCommand => by_driver_text(text),
        _ => by_server_text(text),
    }
}

/// The driver's own words, in English whatever the server speaks.
fn by_driver_text(text: &str) -> Fault {
    const NEVER_SENT: [&str; 3] = ["error encoding message to server", "error serializing parameter", "expected "];
    if NEVER_SENT.iter().any(|start| text.starts_with(start)) {
        let message = "a statement cannot be sent: more than 65,535 parameters? `bulk_upsert!` has no such bound";
        return Fault::new(Kind::Invalid, Standing::Refused, message);
    }
    Fault::new(Kind::Unavailable, Standing::Lost, "the SQL connection was lost")
}

/// What the server says where diesel hides the SQLSTATE: the start of the text, and what it means.
const SERVER_TEXTS: [(&str, Standing, &str); 26] = [
    ("deadlock detected", Standing::Answered, "SQL chose this transaction to end a deadlock"),
    ("canceling statement due to", Standing::Answered, "SQL cancelled a statement: a time-out, or on request"),
    ("could not obtain lock", Standing::Answered, "a row is locked by another transaction"),
    ("could not serialize", Standing::Answered, "SQL could not serialise this with other transactions"),
    ("out of memory", Standing::Answered, "SQL is out of memory"),
    ("out of shared memory", Standing::Answered, "SQL is out of memory"),
    ("could not extend file", Standing::Answered, "SQL is out of disk space"),
    // A prepared statement from before the table was altered: only a new connection helps.
    ("cached plan must not change", Standing::Lost, "the table was altered since this connection was opened"),
    ("terminating connection", Standing::Lost, "SQL closed the connection"),
    ("the database system is", Standing::Lost, "SQL is starting or stopping"),
    ("sorry, too many clients", Standing::Lost, "SQL has no room for another connection"),
    ("too many connections for", Standing::Lost, "SQL has no room for another connection"),
    ("remaining connection slots", Standing::Lost, "SQL has no room for another connection"),
    ("server closed the connection", Standing::Lost, "SQL closed the connection"),
    ("unexpected EOF", Standing::Lost, "SQL closed the connection"),
    // SQLite's.
    ("database is locked", Standing::Answered, "somebody else is writing to SQLite's file"),
    ("database table is locked", Standing::Answered, "somebody else is writing to SQLite's file"),
    ("attempt to write a readonly", Standing::Answered, "SQLite's file, or this connection, is read-only"),
    ("disk I/O error", Standing::Lost, "SQLite cannot read or write its file"),
    ("database or disk is full", Standing::Answered, "SQLite is out of disk space"),
    ("unable to open database", Standing::Lost, "SQLite cannot open its file"),
    ("database disk image is", Standing::Lost, "SQLite's file is damaged"),
    ("file is not a database", Standing::Lost, "SQLite's file is damaged, or no database"),
    ("locking protocol", Standing::Answered, "somebody else is writing to SQLite's file"),
    ("cannot start a transaction within", Standing::Lost, "a transaction was left open on the SQL connection"),
    // Our own.
    (
        "writeway: too late",
        Standing::Answered,
        "the commit came later than three quarters of commit_within after the transaction's last statement",
    ),
];

/// Our own: increments whose row is missing.
pub(super) const NO_ROW: &str = "writeway: no row to add to";

const ABORTED: &str = "a statement of this transaction had failed before, so nothing is committed";

fn by_server_text(text: &str) -> Fault {
    if let Some(&(_, standing, message)) = SERVER_TEXTS.iter().find(|(start, ..)| text.starts_with(start)) {
        return Fault::new(Kind::Unavailable, standing, message);
    }
    if text.starts_with("current transaction is aborted") {
        return Fault::new(Kind::Rejected, Standing::Answered, ABORTED);
    }
    if text.starts_with("writeway: aborted") {
        return Fault::new(Kind::Rejected, Standing::Refused, ABORTED);
    }
    if text == NO_ROW {
        let message = "the row to which was to be added is missing, and the table's `add` does not make one: insert it and \
            redrive the dead letter, or discard that";
        return Fault::new(Kind::Rejected, Standing::OurSide, message);
    }
    if text.starts_with("too many SQL variables") {
        let message = "a statement has more than 32,766 parameters, the limit of SQLite: send fewer keys or rows at once";
        return Fault::new(Kind::Invalid, Standing::Answered, message);
    }
    if text.contains("can only be used in transaction blocks") || text.ends_with("no transaction is active") {
        let message = "the transaction was ended through its connection, not by `commit`";
        return Fault::new(Kind::Invalid, Standing::Answered, message);
    }
    Fault::new(Kind::Rejected, Standing::Answered, "SQL refused a statement")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(kind: DatabaseErrorKind, text: &str) -> Fault {
        classify(&Diesel::DatabaseError(kind, Box::new(text.to_owned())))
    }

    #[test]
    fn constraint_violations_are_refusals() {
        use DatabaseErrorKind as Is;
        for kind in [
            Is::UniqueViolation,
            Is::ForeignKeyViolation,
            Is::NotNullViolation,
            Is::CheckViolation,
            Is::RestrictViolation,
            Is::ExclusionViolation,
        ] {
            let fault = database(kind, "deadlock detected");
            assert_eq!((fault.kind, fault.standing), (Kind::Rejected, Standing::Refused));
        }
    }

    #[test]
    fn what_passes_by_itself_is_unavailable() {
        use DatabaseErrorKind as Is;
        let fault = database(Is::SerializationFailure, "");
        assert_eq!((fault.kind, fault.standing), (Kind::Unavailable, Standing::Refused));
        let fault = database(Is::ReadOnlyTransaction, "");
        assert_eq!((fault.kind, fault.standing), (Kind::Unavailable, Standing::Refused));
        for (kind, text) in [(Is::ClosedConnection, ""), (Is::UnableToSendCommand, "connection closed")] {
            let fault = database(kind, text);
            assert_eq!((fault.kind, fault.standing), (Kind::Unavailable, Standing::Lost));
        }
        let fault = classify(&Diesel::BrokenTransactionManager);
        assert_eq!((fault.kind, fault.standing), (Kind::Unavailable, Standing::Lost));
    }

    #[test]
    fn server_texts_tell_what_diesel_hides() {
        for (start, standing, _) in SERVER_TEXTS {
            let fault = database(DatabaseErrorKind::Unknown, &format!("{start} …"));
            assert_eq!((fault.kind, fault.standing), (Kind::Unavailable, standing), "{start}");
        }
        for (text, kind) in [
            ("current transaction is aborted, commands ignored until end of transaction block", Kind::Rejected),
            ("SAVEPOINT can only be used in transaction blocks", Kind::Invalid),
            ("Verklemmung entdeckt", Kind::Rejected),
            ("invalid byte sequence for encoding \"UTF8\": 0x00", Kind::Rejected),
        ] {
            let fault = database(DatabaseErrorKind::Unknown, text);
            assert_eq!((fault.kind, fault.standing), (kind, Standing::Answered), "{text}");
        }
    }

    #[test]
    fn what_was_never_sent_is_the_callers_fault_and_certain() {
        let fault = database(DatabaseErrorKind::UnableToSendCommand, "error encoding message to server: value too large");
        assert_eq!((fault.kind, fault.standing), (Kind::Invalid, Standing::Refused));
    }

    #[test]
    fn errors_of_the_tables_own_code_are_invalid() {
        for cause in [
            Diesel::NotFound,
            Diesel::QueryBuilderError("x".into()),
            Diesel::SerializationError("x".into()),
            Diesel::DeserializationError("x".into()),
            Diesel::AlreadyInTransaction,
            Diesel::NotInTransaction,
        ] {
            let fault = classify(&cause);
            assert_eq!((fault.kind, fault.standing), (Kind::Invalid, Standing::OurSide), "{cause:?}");
        }
        assert_eq!(classify(&Diesel::RollbackTransaction).kind, Kind::Rejected);
    }

    #[test]
    fn the_message_quotes_nothing_and_the_cause_is_kept() {
        let cause = Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, Box::new("Key (name)=(canary)".to_owned()));
        let error = classify(&cause).into_error(cause);
        assert!(!format!("{error} {error:?} {error:#?}").contains("canary"));
        let source = std::error::Error::source(&error).and_then(|s| s.downcast_ref::<Diesel>());
        assert!(matches!(source, Some(Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, _))));
    }
}
