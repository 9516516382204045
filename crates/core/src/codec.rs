//! Rows to bytes and back. JSON, because a person can read it in `redis-cli` and an unknown field does not break an old reader.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// What a cached row must be able to do.
pub trait Row: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Row for T {}

/// The payload of a row.
///
/// # Errors
/// `Invalid` if the row's own `Serialize` refuses.
pub fn encode(row: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(row).map_err(|e| Error::invalid("the row cannot be serialised").with_source(e))
}

/// The row of a payload, or `None` if it holds no such row: then it is damage.
pub fn decode<R: DeserializeOwned>(payload: &[u8]) -> Option<R> {
    serde_json::from_slice(payload).ok()
}

/// Encodes, decodes and encodes again; gives the encoding, and the row as it will be read. A row that does not survive that (a
/// field that is written but not read back, or the other way round, a number that JSON lacks) would come back from the cache as
/// something SQL never held.
///
/// # Errors
/// `Invalid` if the two encodings differ by more than the order of an object's fields, or the first cannot be decoded.
pub fn check_round_trip<R: Row>(row: &R) -> Result<(Vec<u8>, R)> {
    let first = encode(row)?;
    if let Some(read) = decode::<R>(&first) {
        let again = encode(&read)?;
        let unordered = |bytes: &[u8]| decode::<serde_json::Value>(bytes);
        if again == first || unordered(&again) == unordered(&first) {
            return Ok((first, read));
        }
    }
    Err(Error::invalid("the row does not survive serialising and deserialising: check its serde attributes"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Serialize, Deserialize)]
    struct Good {
        id: i64,
        note: Option<String>,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Emptied {
        id: i64,
        #[serde(skip_serializing)]
        note: String,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Lossy {
        #[serde(serialize_with = "half")]
        id: i64,
    }
    fn half<S: serde::Serializer>(id: &i64, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_i64(id / 2)
    }

    #[test]
    fn types_that_lose_something_are_refused() {
        assert!(check_round_trip(&Good { id: 1, note: None }).is_ok());
        let emptied = Emptied { id: 1, note: "x".into() };
        assert!(check_round_trip(&emptied).is_err(), "{} is not written", emptied.note);
        assert!(check_round_trip(&Lossy { id: 8 }).is_err());
        assert!(check_round_trip(&f64::NAN).is_err());
    }
}
