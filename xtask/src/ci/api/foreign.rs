//! Finds, in what rustdoc says of a crate, the types and traits of others.
//!
//! rustdoc leaves out what is private. In what is left, a reference to a type or trait is an object with a `path` and an `id`,
//! wherever it stands: in a signature, a field, a bound, an implementation.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

/// Part of every program.
const STANDARD: [&str; 4] = ["alloc", "core", "proc_macro", "std"];

/// `crate::Name` for what is named, `use crate::Name` for what is passed on. A path inside a crate is its own affair and left
/// out.
pub(super) fn names(api: &Value, ours: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let index = api["index"].as_object().context("rustdoc's JSON has no index")?;
    ensure!(api["paths"].is_object() && api["external_crates"].is_object(), "rustdoc's JSON has no paths or crates");
    let mut names = BTreeSet::new();
    for item in index.values().filter(|item| item["crate_id"] == 0) {
        let inner = &item["inner"];
        if let Some(import) = inner.get("use") {
            names.extend(foreign(api, import, ours).map(|name| format!("use {name}")));
        } else if !is_for_everybody(inner) {
            references(inner, &mut |reference| names.extend(foreign(api, reference, ours)));
        }
    }
    Ok(names)
}

/// An implementation that we did not write: a blanket one of another crate, or the compiler's own.
fn is_for_everybody(inner: &Value) -> bool {
    inner
        .get("impl")
        .is_some_and(|implementation| !implementation["blanket_impl"].is_null() || implementation["is_synthetic"] == true)
}

fn references(value: &Value, visit: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(object) => {
            if is_reference(object) {
                visit(value);
            }
            object.values().for_each(|value| references(value, visit));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, visit)),
        _ => {}
    }
}

fn is_reference(object: &Map<String, Value>) -> bool {
    object.get("path").is_some_and(Value::is_string) && object.contains_key("id")
}

/// The name of what is referred to, if it is another crate's.
fn foreign(api: &Value, reference: &Value, ours: &BTreeSet<String>) -> Option<String> {
    let id = match &reference["id"] {
        Value::Null => return None,
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    let target = &api["paths"][&id];
    let home = target["crate_id"].as_u64().filter(|home| *home != 0)?;
    let home = api["external_crates"][home.to_string()]["name"].as_str()?;
    if STANDARD.contains(&home) || ours.contains(home) {
        return None;
    }
    let name = target["path"].as_array().and_then(|path| path.get(1..)?.last()?.as_str());
    Some(name.map_or_else(|| home.to_owned(), |name| format!("{home}::{name}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One public item with this `inner`.
    fn found(inner: Value) -> Vec<String> {
        let api = json!({
            "index": { "7": { "crate_id": 0, "inner": inner }, "8": { "crate_id": 5, "inner": { "path": "x", "id": 1 } } },
            "paths": {
                "1": { "crate_id": 5, "kind": "struct", "path": ["bb8", "api", "Pool"] },
                "2": { "crate_id": 1, "kind": "struct", "path": ["std", "string", "String"] },
                "3": { "crate_id": 6, "kind": "struct", "path": ["our_core", "Key"] },
                "4": { "crate_id": 0, "kind": "struct", "path": ["ours", "Handle"] },
                "5": { "crate_id": 5, "kind": "module", "path": ["bb8"] },
            },
            "external_crates": { "1": { "name": "std" }, "5": { "name": "bb8" }, "6": { "name": "our_core" } },
        });
        names(&api, &BTreeSet::from(["our_core".to_owned()])).unwrap().into_iter().collect()
    }

    fn of(id: u32) -> Value {
        json!({ "resolved_path": { "path": "P", "id": id, "args": null } })
    }

    #[test]
    fn a_foreign_type_is_found_wherever_it_stands() {
        assert_eq!(found(json!({ "struct_field": of(1) })), ["bb8::Pool"]);
        let nested = json!({ "path": "Option", "id": 2, "args": { "angle_bracketed": { "args": [{ "type": of(1) }] } } });
        assert_eq!(found(json!({ "function": { "sig": { "output": { "resolved_path": nested } } } })), ["bb8::Pool"]);
        let bound = json!({ "trait_bound": { "trait": { "path": "T", "id": 1 } } });
        assert_eq!(found(json!({ "trait": { "bounds": [bound] } })), ["bb8::Pool"]);
        assert_eq!(found(json!({ "impl": { "trait": { "path": "T", "id": 1 }, "blanket_impl": null } })), ["bb8::Pool"]);
    }

    #[test]
    fn what_is_passed_on_is_told_apart() {
        assert_eq!(found(json!({ "use": { "source": "bb8::Pool", "name": "Pool", "id": 1 } })), ["use bb8::Pool"]);
        assert_eq!(found(json!({ "use": { "source": "bb8", "name": "bb8", "id": 5 } })), ["use bb8"]);
    }

    #[test]
    fn our_own_types_and_the_standard_ones_are_no_promise() {
        for id in [2, 3, 4] {
            assert_eq!(found(json!({ "struct_field": of(id) })), Vec::<String>::new());
        }
        let blanket = json!({ "impl": { "trait": { "path": "T", "id": 1 }, "blanket_impl": { "generic": "T" } } });
        assert_eq!(found(blanket), Vec::<String>::new());
    }

    #[test]
    fn json_of_another_shape_is_an_error() {
        assert!(names(&json!({ "index": [] }), &BTreeSet::new()).is_err());
    }
}
