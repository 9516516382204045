//! The mark of a connection whose time-outs were read: it lives exactly as long as the connection, and costs nothing to find.
//!
//! A diesel-async connection has one place for something of ours, its instrumentation. It is used only while it is empty: an
//! application's own instrumentation stays, and such a connection is simply read in every strict transaction. An instrumentation
//! set later replaces the mark, with the same effect.

use std::any::{Any, TypeId};
use std::time::Duration;

use diesel::connection::{DynInstrumentation, Instrumentation, InstrumentationEvent};
use diesel_async::{AsyncConnection, AsyncPgConnection};

struct Checked {
    longest: Duration,
}

impl Instrumentation for Checked {
    fn on_connection_event(&mut self, _: InstrumentationEvent<'_>) {}
}

/// The longest of the time-outs that were read on this connection, if they were.
pub(super) fn longest(conn: &mut AsyncPgConnection) -> Option<Duration> {
    let found: &dyn Any = conn.instrumentation();
    found.downcast_ref::<Checked>().map(|checked| checked.longest)
}

/// Keeps what was read, if there is a place for it.
pub(super) fn remember(conn: &mut AsyncPgConnection, longest: Duration) {
    let none = DynInstrumentation::none();
    let found = kind(conn.instrumentation());
    if found == kind(&*none) || found == TypeId::of::<Checked>() {
        conn.set_instrumentation(Checked { longest });
    }
}

fn kind(instrumentation: &dyn Instrumentation) -> TypeId {
    let any: &dyn Any = instrumentation;
    any.type_id()
}
