//! What the tests on real servers share: a table with everything in it, and who reads and writes it under observation.
//!
//! For processes that die: [`Worker`] and [`Job`] are the two ends of one, [`Ledger`] is what SQL went through, [`Book`] what was
//! acknowledged and whether the two fit, [`Halting`] a table that stands still where dying is worst; [`Histories`] are what readers and
//! writers were told, and whether that can be told in any order, [`record`] makes some.

mod book;
mod halting;
mod ledger;
mod linear;
mod mortal;
mod process;
mod recorded;
mod schema;
mod staleness;

pub use book::{Book, DELETES, Said, Verdict, is_delete};
pub use halting::{Halting, Moment};
pub use ledger::{Applied, Ledger};
pub use linear::{Answered, Asked, Call, Histories, Shown};
pub use mortal::MortalRuntime;
pub use process::{Job, Worker, say};
pub use recorded::{Registers, Remembering, record};
pub use schema::{Given, Schema, Score, Scores, number, score, scores};
pub use staleness::{Floors, Subject, Tally, Watched, Wrote, watch};
