//! The server's answers, taken apart.

use redis::Value;

use super::failure::to_error;
use crate::cache::Bytes;
use crate::error::{Error, Result};

/// An answer that no release gives.
pub(super) fn strange() -> Error {
    Error::unavailable("the cache server's answer was not understood")
}

/// The answer, unless it is the server's refusal.
pub(super) fn whole(value: Value) -> Result<Value> {
    match value {
        Value::ServerError(e) => Err(to_error(e.into())),
        value => Ok(value),
    }
}

/// The server's refusal because the key is of another type.
pub(super) fn is_wrong_type(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if e.code() == "WRONGTYPE")
}

/// A string.
pub(super) fn text(value: Value) -> Result<Bytes> {
    match whole(value)? {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(strange()),
    }
}

/// A string or nothing.
pub(super) fn optional(value: Value) -> Result<Option<Bytes>> {
    if value == Value::Nil { Ok(None) } else { text(value).map(Some) }
}

/// A list.
pub(super) fn list(value: Value) -> Result<Vec<Value>> {
    match whole(value)? {
        Value::Array(values) => Ok(values),
        _ => Err(strange()),
    }
}

/// A whole number that is not negative.
pub(super) fn number(value: Value) -> Result<u64> {
    match whole(value)? {
        Value::Int(n) => u64::try_from(n).ok(),
        Value::BulkString(text) => std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()),
        _ => None,
    }
    .ok_or_else(strange)
}

/// A list of so many.
pub(super) fn exactly<const N: usize>(value: Value) -> Result<[Value; N]> {
    list(value)?.try_into().map_err(|_| strange())
}

/// The last two of a list as seconds and microseconds: the server's clock, in microseconds.
pub(super) fn time(value: &Value) -> Option<i64> {
    let Value::Array(parts) = value else { return None };
    let [.., Value::BulkString(seconds), Value::BulkString(micros)] = parts.as_slice() else { return None };
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)
}
