//! The server's own time-outs: what ends a stalled transaction before the barriers of its keys lapse.
//!
//! They are read once per connection, together with the `BEGIN` of its first strict transaction. A statement that changes them
//! later for the whole session is not noticed: in a pool only `SET LOCAL` is right.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::Text;
use diesel::{ConnectionError, QueryResult};
use diesel_async::pooled_connection::PoolError;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::error::{Error, Result};
use crate::runtime::{Runtime as _, Tokio};
use crate::sql::Cached;
use crate::tasks::until;

/// The three settings, in the order in which they are read and set.
const NAMES: [&str; 3] = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];

/// How long a new connection may take to set them.
const SET_WITHIN: Duration = Duration::from_secs(5);

/// Gives every new connection of a bb8 pool the time-outs that strict writes need:
/// `Pool::builder().connection_customizer(Box::new(ServerTimeouts::default()))`.
///
/// It sets `statement_timeout`, `lock_timeout` and `idle_in_transaction_session_timeout` for the session, in one round trip per
/// new connection, which is given up if it does not answer within 5 s. All three must be shorter than the barrier's time, which is 2 s by default. Settings of the role
/// (`ALTER ROLE … SET …`) do as well and need no customizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerTimeouts {
    each: [Duration; 3],
}

impl Default for ServerTimeouts {
    /// 1,500 ms each.
    fn default() -> Self {
        ServerTimeouts { each: [Duration::from_millis(1_500); 3] }
    }
}

impl ServerTimeouts {
    /// How long one statement may run, from 1 ms; default 1,500 ms. Whole milliseconds count.
    #[must_use]
    pub fn statement(mut self, longest: Duration) -> Self {
        self.each[0] = longest;
        self
    }

    /// How long one statement may wait for a lock, from 1 ms; default 1,500 ms.
    #[must_use]
    pub fn lock(mut self, longest: Duration) -> Self {
        self.each[1] = longest;
        self
    }

    /// How long a transaction may wait for its client, from 1 ms; default 1,500 ms.
    #[must_use]
    pub fn idle_in_transaction(mut self, longest: Duration) -> Self {
        self.each[2] = longest;
        self
    }

    fn to_sql(self) -> String {
        // Zero would mean "none" to the server.
        let set = |(name, d): (&str, Duration)| format!("SET {name} = {}", d.as_millis().clamp(1, 2_147_483_647));
        NAMES.into_iter().zip(self.each).map(set).collect::<Vec<_>>().join("; ")
    }
}

impl bb8::CustomizeConnection<AsyncPgConnection, PoolError> for ServerTimeouts {
    fn on_acquire<'a>(
        &'a self,
        conn: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<(), PoolError>> + Send + 'a>> {
        Box::pin(async move {
            // bb8 waits for it without a limit, and a connection that went silent meanwhile would keep its place for good.
            let set = until(&Tokio, Tokio.now() + SET_WITHIN, conn.batch_execute(&self.to_sql())).await;
            set.map_or_else(|| Err(silent()), |set| set.map_err(PoolError::QueryError))
        })
    }
}

fn silent() -> PoolError {
    PoolError::ConnectionError(ConnectionError::BadConnection("a new connection does not answer".to_owned()))
}

/// The three settings as the server writes them, `1500ms` or `2min`.
pub(super) struct Found([String; 3]);

/// Reads what holds in this session now.
pub(super) async fn read(conn: &mut &AsyncPgConnection) -> QueryResult<Found> {
    let setting = |name: &str| sql::<Text>(&format!("current_setting('{name}')"));
    let [statement, lock, idle] = NAMES.map(setting);
    let rows: Vec<(String, String, String)> = Cached(diesel::select((statement, lock, idle))).load(conn).await?;
    let (statement, lock, idle) = rows.into_iter().next().ok_or(diesel::result::Error::NotFound)?;
    Ok(Found([statement, lock, idle]))
}

impl Found {
    /// The longest of the three.
    ///
    /// # Errors
    /// `Invalid`, with what to run, if one is missing or not below `limit`.
    pub(super) fn check(&self, limit: Duration) -> Result<Duration> {
        let each = self.0.each_ref().map(|text| milliseconds(text).map(Duration::from_millis));
        let good = |found: &Option<Duration>| found.is_some_and(|d| d > Duration::ZERO && d < limit);
        if each.iter().all(good) {
            return Ok(each.into_iter().flatten().max().unwrap_or(limit));
        }
        let found = NAMES.iter().zip(&self.0).map(|(name, text)| format!("{name} is {text}")).collect::<Vec<_>>().join(", ");
        let three_quarters = (limit.as_millis() * 3 / 4).max(1);
        let role = NAMES.map(|name| format!("ALTER ROLE CURRENT_USER SET {name} = {three_quarters};")).join(" ");
        Err(Error::invalid(format!(
            "the server must end a stalled transaction within {} ms, but {found} (0 is never). Either give the pool \
             `.connection_customizer(Box::new(ServerTimeouts::default()))`, or accept it by name (`allow_unbounded_commits()`, in \
             write-back `allow_unbounded_flushes()`), or run: {role}",
            limit.as_millis(),
        )))
    }
}

/// Reads PostgreSQL's notation of a time: a whole number and a unit, `0` without one.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn times_are_read_as_the_server_writes_them() {
        for (text, ms) in [("0", 0), ("1500ms", 1_500), ("2s", 2_000), ("3min", 180_000), ("1h", 3_600_000), ("1d", 86_400_000)] {
            assert_eq!(milliseconds(text), Some(ms));
        }
        for text in ["", "ms", "-1ms", "1 fortnight", "99999999999999999999s"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_or_long_timeout_is_refused_with_what_to_run() {
        let check = |a: &str, b: &str, c: &str| Found([a, b, c].map(str::to_owned)).check(Duration::from_secs(2));
        assert!(check("1500ms", "1s", "1999ms").is_ok());
        for (a, b, c) in [("0", "1s", "1s"), ("1s", "0", "1s"), ("1s", "1s", "0"), ("2s", "1s", "1s"), ("1s", "1s", "?")] {
            let error = check(a, b, c).expect_err("must be refused");
            assert_eq!(error.kind(), Kind::Invalid);
            let text = error.to_string();
            assert!(
                text.contains("ALTER ROLE CURRENT_USER SET lock_timeout = 1500;") && text.contains("ServerTimeouts"),
                "{text}"
            );
        }
    }

    #[test]
    fn none_is_never_what_is_set() {
        let sql = ServerTimeouts::default().lock(Duration::ZERO).statement(Duration::MAX).to_sql();
        assert_eq!(
            sql,
            "SET statement_timeout = 2147483647; SET lock_timeout = 1; SET idle_in_transaction_session_timeout = 1500"
        );
    }
}
