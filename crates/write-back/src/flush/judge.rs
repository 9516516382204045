//! What is to be done with a batch that was tried before. Pure.
//!
//! diesel does not tell most errors apart, so it is decided by behaviour. A batch whose rows are to blame is halved at once, and in
//! the end one change fails alone: it is held back while the others go on, tried again alone, and set aside once it has failed
//! alone often enough. What is the server's or the table's fault is tried again as it is; only after some time is a row
//! suspected, and no other one until something has landed since: while nothing lands, it is not the rows. What fails for the server's
//! sake is held back for ever if need be, and never set aside: a row that somebody else has locked is a good row.
//!
//! **Invariant.** Nothing is set aside that did not fail alone [`STRIKES`] times, while SQL answered before each of them.

use std::time::Duration;

use writeway_core::store::Blame;

/// After so many failures alone a change is set aside.
const STRIKES: u64 = 3;
/// The same where another row, or time, may mend it.
const PATIENT_STRIKES: u64 = 10;
/// So often a batch is tried as it is where nobody blames its rows; its parts, once it was halved, each once.
const TRIES: u64 = 5;
/// So many tries nobody reported the end of: whoever tries it dies of it.
const DEATHS: u64 = 3;
/// For how long a change is held back after its first failure alone. It doubles each time.
const PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The same where the failure is not counted: somebody has locked the row.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// What is known of the open batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// How often it failed this process.
    pub(super) failures: u64,
    /// Why it did so last.
    pub(super) blame: Option<Blame>,
    /// How many of its tries nobody reported the end of.
    pub(super) deaths: u64,
    /// It holds one change only.
    pub(super) alone: bool,
    /// How often that one failed alone before, for its own sake.
    pub(super) strikes: u64,
    /// It was made by halving another, and not tried yet.
    pub(super) untried: bool,
    /// It is a part of one that was halved: what fails is being looked for.
    pub(super) searching: bool,
    /// Something has landed since a row was last suspected though nobody blamed it.
    pub(super) landed: bool,
    /// There is room for another dead letter.
    pub(super) room: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try it.
    Flush,
    /// Halve it.
    Split,
    /// Hold its only change back for so long. It may count as a failure of its own.
    Delay { pause: Duration, counts: bool },
    /// Set its only change aside.
    Park,
}

pub(super) fn judge(case: Case) -> Next {
    let Case { failures, blame, deaths, alone, strikes, untried, searching, landed, room } = case;
    let is_suspect = alone && strikes > 0;
    let enough = match blame.filter(|_| failures > 0) {
        Some(Blame::Row | Blame::Parent) => true,
        Some(Blame::Table | Blame::Server) => is_suspect || (landed && (searching || failures >= TRIES)),
        None => deaths > DEATHS,
    };
    if untried || !enough {
        return Next::Flush;
    }
    if !alone {
        return Next::Split;
    }
    let limit = match blame {
        Some(Blame::Row) | None => STRIKES,
        Some(Blame::Parent) => PATIENT_STRIKES,
        Some(Blame::Table) if landed => PATIENT_STRIKES,
        // Nothing lands; or somebody holds its lock, and may do so for an hour.
        Some(Blame::Table | Blame::Server) => return Next::Delay { pause: LOCKED_PAUSE, counts: false },
    };
    if strikes + 1 >= limit && room { Next::Park } else { Next::Delay { pause: pause(strikes), counts: true } }
}

fn pause(strikes: u64) -> Duration {
    let doubled = u32::try_from(strikes).ok().and_then(|n| 2_u32.checked_pow(n)).unwrap_or(u32::MAX);
    PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case = Case {
        failures: 1,
        blame: Some(Blame::Row),
        deaths: 0,
        alone: false,
        strikes: 0,
        untried: false,
        searching: false,
        landed: true,
        room: true,
    };

    fn delay(pause: Duration) -> Next {
        Next::Delay { pause, counts: true }
    }

    #[test]
    fn a_batch_whose_rows_are_to_blame_is_halved_at_once() {
        for blame in [Blame::Row, Blame::Parent] {
            let case = Case { blame: Some(blame), ..CASE };
            assert_eq!(judge(case), Next::Split);
            assert_eq!(judge(Case { untried: true, ..case }), Next::Flush, "each half has its try");
            assert_eq!(judge(Case { failures: 0, ..case }), Next::Flush);
        }
    }

    #[test]
    fn one_that_nobody_blames_is_tried_for_some_time() {
        for blame in [Blame::Table, Blame::Server] {
            let case = Case { blame: Some(blame), ..CASE };
            assert_eq!(judge(Case { failures: TRIES - 1, ..case }), Next::Flush);
            assert_eq!(judge(Case { failures: TRIES, ..case }), Next::Split);
            assert_eq!(judge(Case { searching: true, ..case }), Next::Split, "the others wait for it");
            assert_eq!(
                judge(Case { searching: true, landed: false, ..case }),
                Next::Flush,
                "invariant violated: while nothing lands, no row is suspected"
            );
            assert_eq!(
                judge(Case { failures: 1_000_000, landed: false, ..case }),
                Next::Flush,
                "invariant violated: while nothing lands, no row is suspected"
            );
        }
    }

    #[test]
    fn what_fails_alone_is_held_back_and_set_aside_after_three_times() {
        let alone = Case { alone: true, ..CASE };
        assert_eq!(judge(alone), delay(PAUSE));
        assert_eq!(
            judge(Case { strikes: 1, ..alone }),
            delay(PAUSE * 2),
            "invariant violated: nothing is set aside before it failed alone three times"
        );
        assert_eq!(judge(Case { strikes: 2, ..alone }), Next::Park);
        assert_eq!(judge(Case { strikes: 2, room: false, ..alone }), delay(PAUSE * 4), "no room");
        assert_eq!(judge(Case { strikes: 99, room: false, ..alone }), delay(LONGEST_PAUSE));
    }

    #[test]
    fn where_a_row_is_missing_there_is_more_patience() {
        let alone = Case { alone: true, blame: Some(Blame::Parent), ..CASE };
        assert_eq!(judge(Case { strikes: PATIENT_STRIKES - 2, ..alone }), delay(PAUSE * 256));
        assert_eq!(judge(Case { strikes: PATIENT_STRIKES - 1, ..alone }), Next::Park);
    }

    #[test]
    fn what_nobody_blames_is_set_aside_only_if_others_land() {
        let waits = Next::Delay { pause: LOCKED_PAUSE, counts: false };
        let alone = Case { alone: true, blame: Some(Blame::Table), ..CASE };
        assert_eq!(judge(Case { failures: 4, ..alone }), Next::Flush);
        assert_eq!(judge(Case { failures: 5, ..alone }), delay(PAUSE));
        let suspect = Case { strikes: PATIENT_STRIKES, ..alone };
        assert_eq!(judge(suspect), Next::Park);
        assert_eq!(
            judge(Case { blame: Some(Blame::Server), ..suspect }),
            waits,
            "invariant violated: a row that others have locked is never set aside"
        );
        assert_eq!(judge(Case { landed: false, ..suspect }), waits, "invariant violated: an outage dead-letters nothing");
    }

    #[test]
    fn what_kills_whoever_tries_it_is_found() {
        let case = Case { failures: 0, blame: None, ..CASE };
        assert_eq!(judge(Case { deaths: DEATHS, ..case }), Next::Flush, "invariant violated: a takeover is no failure of a row");
        assert_eq!(judge(Case { deaths: DEATHS + 1, ..case }), Next::Split);
        let alone = Case { alone: true, ..case };
        assert_eq!(judge(Case { deaths: DEATHS + 1, ..alone }), delay(PAUSE));
        assert_eq!(judge(Case { deaths: DEATHS, strikes: 2, ..alone }), Next::Flush);
        assert_eq!(judge(Case { deaths: DEATHS + 1, strikes: 2, ..alone }), Next::Park);
    }
}
