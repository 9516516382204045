//! What really happened in a run, seen from outside: every commit, every witnessed read and write. Moments are positions in the
//! order of all that happened.

/// A row of a table: the table's number and the key.
pub type Place = (usize, u32);

/// A change of one row that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// When.
    pub at: u64,
    /// For which operation.
    pub op: Option<u64>,
    /// Which row.
    pub place: Place,
    /// Its new value; `None`: it is gone.
    pub value: Option<u64>,
    /// False for a delete that found no row: it changed nothing.
    pub changed: bool,
}

/// A read that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// When it was asked.
    pub start: u64,
    /// When it was answered.
    pub end: u64,
    /// Of which row.
    pub place: Place,
    /// With which value.
    pub value: Option<u64>,
    /// The cache answered it, or one of the keys it was asked with.
    pub hit: bool,
}

/// What a writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Committed.
    Committed,
    /// Not committed, now or later.
    NotApplied,
    /// Either.
    Unknown,
}

/// A write, from its start to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its operation.
    pub op: u64,
    /// What it wants.
    pub changes: Vec<(Place, Option<u64>)>,
    /// When it was asked.
    pub start: u64,
    /// When it was answered, and what. `None`: its caller is gone.
    pub answer: Option<(u64, Answer)>,
}

impl Write {
    /// True if its caller does not know what became of it.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        !matches!(self.answer, Some((_, Answer::Committed | Answer::NotApplied)))
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order.
    pub commits: Vec<Commit>,
    /// In the order of their answers.
    pub reads: Vec<Read>,
    /// In the order of their starts.
    pub writes: Vec<Write>,
}
