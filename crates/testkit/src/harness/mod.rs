//! What the tests on real servers share: a table with everything in it, and who reads and writes it under observation.

mod mortal;
mod schema;
mod staleness;

pub use mortal::MortalRuntime;
pub use schema::{Given, Schema, Score, Scores, number, score, scores};
pub use staleness::{Floors, Subject, Tally, Watched, Wrote, watch};
