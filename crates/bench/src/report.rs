//! Everything that a run found, as JSON.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::clock;
use crate::compare::Comparison;
use crate::environment::Environment;
use crate::keys::EXPONENT;
use crate::loss::Loss;
use crate::place::Kind;
use crate::plan::Plan;
use crate::ratios::Ratio;

/// Of the layout of the JSON. Raised when a figure changes its place or its meaning.
pub(crate) const FORMAT: u32 = 3;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    format: u32,
    /// Only what has the same kind may be compared.
    pub(crate) kind: Kind,
    pub(crate) seconds_since_1970: u64,
    pub(crate) environment: Environment,
    pub(crate) plan: Plan,
    zipf_exponent: f64,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) losses: Vec<Loss>,
    pub(crate) ratios: Vec<Ratio>,
}

impl Report {
    pub(crate) fn new(
        kind: Kind,
        environment: Environment,
        plan: Plan,
        comparisons: Vec<Comparison>,
        losses: Vec<Loss>,
        ratios: Vec<Ratio>,
    ) -> Self {
        let seconds_since_1970 = clock::seconds_since_1970();
        Report {
            format: FORMAT,
            kind,
            seconds_since_1970,
            environment,
            plan,
            zipf_exponent: EXPONENT,
            comparisons,
            losses,
            ratios,
        }
    }

    /// Writes it to `path`, or to a name of its own under `target/bench`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn save(&self, path: Option<&Path>) -> Result<PathBuf> {
        let kind = match self.kind {
            Kind::Servers => "",
            Kind::Embedded => "embedded-",
        };
        let own = || PathBuf::from(format!("target/bench/{kind}{}-{}.json", self.plan.name, self.seconds_since_1970));
        let path = path.map_or_else(own, Path::to_path_buf);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let json = serde_json::to_vec_pretty(self)?;
        std::fs::write(&path, json).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// What must not be: a strict subject was stale, or an acknowledged write is gone.
    pub(crate) fn broken(&self) -> Vec<String> {
        let columns = self.comparisons.iter().flat_map(|comparison| comparison.subjects.iter().map(move |c| (comparison, c)));
        let of = |(comparison, column): (&Comparison, _)| format!("{} under {}", named(column), comparison.workload.title());
        let lost = self
            .losses
            .iter()
            .filter(|loss| loss.must_survive && loss.lost > 0)
            .map(|loss| format!("{} under kill -9", loss.subject));
        columns.filter(|(_, column)| column.broken()).map(of).chain(lost).collect()
    }
}

fn named(column: &crate::column::Column) -> &'static str {
    column.subject
}
