//! Counts what ran, from libtest's own words, and says so at the end.

use std::ops::AddAssign;
use std::process::ExitStatus;
use std::time::Duration;

use crate::clock;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// What one line of a test binary's output adds: nothing, unless it is libtest's `test result:` line.
    pub(crate) fn read(line: &str) -> Self {
        let Some((_, result)) = line.split_once("test result:") else {
            return Self::default();
        };
        let number = |what: &str| {
            let before = result.split(['.', ';']).map(str::trim).find_map(|part| part.strip_suffix(what));
            before.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
        };
        Self { passed: number("passed"), failed: number("failed"), skipped: number("ignored") }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// One step of a run, ended.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
    /// Why it did not run, or what is wrong beyond the counts.
    pub(crate) remark: Option<String>,
}

impl Step {
    /// Holds counts against the exit status: tests that ended badly without libtest saying so are one failure.
    pub(crate) fn ended(name: String, mut counts: Counts, status: ExitStatus, took: Duration) -> Self {
        let mut remark = None;
        if !status.success() && counts.failed == 0 {
            counts.failed = 1;
            remark = Some(format!("ended with {status}"));
        }
        Self { name, counts, took, remark }
    }
}

/// Prints the steps and the closing line.
pub(crate) fn print(steps: &[Step]) -> Counts {
    println!("\nSummary");
    let mut total = Counts::default();
    for step in steps {
        let Counts { passed, failed, skipped } = step.counts;
        let remark = step.remark.as_ref().map(|remark| format!("  ({remark})")).unwrap_or_default();
        let word = if failed > 0 {
            "FAILED"
        } else if passed == 0 && skipped > 0 {
            "SKIPPED"
        } else {
            "ok"
        };
        println!(
            "  {word:<8}{:<44}{passed:>6} passed {failed:>4} failed {skipped:>4} skipped {:>12}{remark}",
            step.name,
            clock::human(step.took)
        );
        total += step.counts;
    }
    println!("\n{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_libtest_with_and_without_colours() {
        let plain = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s";
        assert_eq!(Counts::read(plain), Counts { passed: 12, failed: 3, skipped: 1 });
        let coloured = "test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::read(coloured), Counts { passed: 7, failed: 0, skipped: 0 });
        assert_eq!(Counts::read("test it ... ok"), Counts::default());
    }
}
