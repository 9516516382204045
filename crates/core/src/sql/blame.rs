//! Whose fault a failed flush is, by what diesel tells. Pure.
//!
//! diesel hides the SQLSTATE of most errors, so what is not a constraint is told apart by the server's English texts: with another
//! `lc_messages`, a missing table or right looks like a bad row. Then rows are set aside where they should wait, no more than
//! `max_dead`, to be driven again; or the application says better with `classify`.

use diesel::result::{DatabaseErrorKind as Is, Error as Diesel};

use super::classify::{NO_ROW, classify};
use crate::error::Kind;
use crate::store::Blame;

/// How texts end of what fails whatever the rows are (SQLSTATE 42xxx and SQLite's own).
const TABLE_ENDS: [&str; 2] = ["is ambiguous", "no transaction is active"];
/// What is named by a text that ends with "does not exist"; a trigger may say that of anything.
const MISSING: [&str; 9] = ["relation", "column", "function", "schema", "type", "operator", "role", "database", "collation"];
/// How they start.
const TABLE_STARTS: [&str; 10] = [
    "permission denied",
    "prepared statement",
    "must be owner",
    "syntax error",
    "there is no unique or exclusion constraint",
    "current transaction is aborted",
    "writeway: aborted",
    "no such ",
    "near \"",
    "not authorized",
];
/// What they hold.
const TABLE_HOLDS: [&str; 4] = [
    " but expression is of type ",
    " has no column named ",
    "ON CONFLICT clause does not match",
    "can only be used in transaction blocks",
];

/// What no row is to blame for, besides what `classify` knows: files, catalogues, other sessions, a pooler.
const SERVER_STARTS: [&str; 6] =
    ["could not ", "cache lookup failed", "tuple concurrently", "query_wait_timeout", "no more connections", "pgbouncer"];

/// Of a flush's error.
pub(super) fn blame(cause: &Diesel) -> Blame {
    match cause {
        Diesel::DatabaseError(Is::ForeignKeyViolation | Is::RestrictViolation, _) => Blame::Parent,
        // Somebody may be about to insert it.
        Diesel::DatabaseError(Is::Unknown, information) if information.message() == NO_ROW => Blame::Parent,
        Diesel::DatabaseError(Is::Unknown, information) if is_of_the_table(information.message()) => Blame::Table,
        Diesel::DatabaseError(Is::Unknown, information) if is_of_the_server(information.message()) => Blame::Server,
        // More rows than a statement can carry, or one that cannot be sent at all.
        Diesel::DatabaseError(..) if classify(cause).kind() == Kind::Invalid => Blame::Row,
        Diesel::SerializationError(_) => Blame::Row,
        _ => Blame::by_kind(classify(cause).kind()),
    }
}

fn is_of_the_server(text: &str) -> bool {
    SERVER_STARTS.iter().any(|start| text.starts_with(start))
}

fn is_of_the_table(text: &str) -> bool {
    TABLE_STARTS.iter().any(|start| text.starts_with(start))
        || TABLE_ENDS.iter().any(|end| text.ends_with(end))
        || (text.ends_with("does not exist") && MISSING.iter().any(|what| text.starts_with(what)))
        || TABLE_HOLDS.iter().any(|part| text.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Is, text: &str) -> Blame {
        blame(&Diesel::DatabaseError(kind, Box::new(text.to_owned())))
    }

    #[test]
    fn constraints_and_values_are_the_rows_fault() {
        for kind in [Is::UniqueViolation, Is::NotNullViolation, Is::CheckViolation, Is::ExclusionViolation] {
            assert_eq!(of(kind, ""), Blame::Row, "{kind:?}");
        }
        for text in ["value too long for type character varying(3)", "integer out of range", "customer 5 does not exist"] {
            assert_eq!(of(Is::Unknown, text), Blame::Row, "{text}");
        }
        assert_eq!(blame(&Diesel::InvalidCString(std::ffi::CString::new(vec![0]).expect_err("a NUL byte"))), Blame::Row);
        assert_eq!(blame(&Diesel::SerializationError("x".into())), Blame::Row);
        assert_eq!(of(Is::UnableToSendCommand, "error encoding message to server: value too large"), Blame::Row);
        assert_eq!(of(Is::Unknown, "too many SQL variables"), Blame::Row, "half of them may do");
    }

    #[test]
    fn what_another_row_may_mend_is_told_apart() {
        assert_eq!(of(Is::ForeignKeyViolation, ""), Blame::Parent);
        assert_eq!(of(Is::RestrictViolation, ""), Blame::Parent);
        assert_eq!(of(Is::Unknown, NO_ROW), Blame::Parent);
    }

    #[test]
    fn what_no_row_could_pass_is_the_tables_fault() {
        for text in [
            "relation \"scores\" does not exist",
            "column \"note\" of relation \"scores\" does not exist",
            "permission denied for table scores",
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
            "column \"points\" is of type integer but expression is of type text",
            "no such table: scores",
            "table scores has no column named note",
        ] {
            assert_eq!(of(Is::Unknown, text), Blame::Table, "{text}");
        }
        assert_eq!(blame(&Diesel::DeserializationError("x".into())), Blame::Table);
        assert_eq!(blame(&Diesel::NotFound), Blame::Table);
    }

    #[test]
    fn what_passes_by_itself_is_the_servers_fault() {
        for text in [
            "deadlock detected",
            "canceling statement due to lock timeout",
            "could not extend file",
            "could not write to file",
            "database is locked",
        ] {
            assert_eq!(of(Is::Unknown, text), Blame::Server, "{text}");
        }
        assert_eq!(of(Is::SerializationFailure, ""), Blame::Server);
        assert_eq!(of(Is::ReadOnlyTransaction, ""), Blame::Server);
        assert_eq!(of(Is::ClosedConnection, ""), Blame::Server);
        assert_eq!(blame(&Diesel::BrokenTransactionManager), Blame::Server);
    }
}
