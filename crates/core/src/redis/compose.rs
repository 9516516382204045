//! Puts the functions that scripts share into them. The tests of the scripts, and the benchmarks, take this file as it is.

/// What scripts share. A later one may need those before it.
const SHARED: [(&str, &str); 4] = [
    ("less", include_str!("scripts/journal/shared/less.lua")),
    ("increments", include_str!("scripts/journal/shared/increments.lua")),
    ("letters", include_str!("scripts/journal/shared/letters.lua")),
    ("dissolve", include_str!("scripts/journal/shared/dissolve.lua")),
];
/// Starts the line that names, separated by commas, what a script needs of them.
const NEEDS: &str = "-- Needs: ";

/// A script with what it needs in place of the line that says so.
pub(crate) fn composed(script: &str) -> String {
    let part = |line| match str::strip_prefix(line, NEEDS) {
        Some(names) => names.trim_end().split(", ").map(shared).collect(),
        None => line.to_owned(),
    };
    script.split_inclusive('\n').map(part).collect()
}

/// Of a name that does not exist: a line that the server refuses.
fn shared(name: &str) -> &str {
    SHARED.iter().find(|(known, _)| *known == name).map_or("there is no such function", |(_, source)| source)
}
