//! The choices of one run: a list of (taken, of how many), counted up like an odometer, drawn from a seed, or given.

use std::fmt::Write;

/// How often a random run leaves the ordinary course. An exhaustive run visits every way, whatever its odds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odds {
    /// Every way is as likely.
    Even,
    /// A run whose every call fails gets nowhere.
    Fault,
    /// A run that dies early shows little.
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    taken: usize,
    /// 0 in a path that was read from text: any number fits.
    of: usize,
}

/// What this run chose so far, and how it chooses on.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    path: Vec<Choice>,
    at: usize,
    dice: Option<Dice>,
}

impl Choices {
    /// The first run of an odometer: always the first way.
    pub(super) fn first() -> Self {
        Choices { path: Vec::new(), at: 0, dice: None }
    }

    /// A run drawn from a seed.
    pub(super) fn random(seed: u64) -> Self {
        Choices { dice: Some(Dice::new(seed)), ..Self::first() }
    }

    /// The run of a printed path; what the path does not say takes the first way.
    pub(super) fn replay(path: &str) -> Option<Self> {
        let taken = path.split('.').filter(|part| !part.is_empty()).map(str::parse);
        let path = taken.map(|taken| Some(Choice { taken: taken.ok()?, of: 0 })).collect::<Option<_>>()?;
        Some(Choices { path, ..Self::first() })
    }

    /// One of `of` ways; 0 is the ordinary one. A single way is no choice.
    pub(super) fn pick(&mut self, of: usize, odds: Odds) -> usize {
        if of <= 1 {
            return 0;
        }
        if self.at == self.path.len() {
            let taken = self.dice.as_mut().map_or(0, |dice| dice.draw(of, odds));
            self.path.push(Choice { taken, of });
        }
        let choice = &mut self.path[self.at];
        if choice.of == 0 {
            choice.of = of;
        }
        assert!(
            choice.of == of && choice.taken < of,
            "the scenario is not deterministic, or the path is of another one: choice {} had {} ways, now it has {of}",
            self.at,
            choice.of,
        );
        self.at += 1;
        choice.taken
    }

    /// Turns to the next run of the odometer; false after the last.
    pub(super) fn advance(&mut self) -> bool {
        self.path.truncate(self.at);
        self.at = 0;
        while let Some(last) = self.path.last_mut() {
            last.taken += 1;
            if last.taken < last.of {
                return true;
            }
            self.path.pop();
        }
        false
    }

    /// The same run again.
    pub(super) fn again(&self) -> Self {
        Choices { at: 0, ..self.clone() }
    }

    /// The path as text, without the ordinary choices at its end.
    pub(super) fn text(&self) -> String {
        let taken = self.path[..self.at.min(self.path.len())].iter().map(|choice| choice.taken).collect::<Vec<_>>();
        let end = taken.iter().rposition(|&taken| taken != 0).map_or(0, |at| at + 1);
        let mut out = String::new();
        for (n, taken) in taken[..end].iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{taken}", if n == 0 { "" } else { "." });
        }
        out
    }
}

/// SplitMix64: small, and the same on every machine and in every release.
#[derive(Clone, Debug)]
struct Dice {
    state: u64,
    fault: u64,
    crash: u64,
}

impl Dice {
    /// The odds vary with the seed: some runs are nearly clean, some are rough.
    fn new(seed: u64) -> Self {
        let mut dice = Dice { state: seed, fault: 8, crash: 32 };
        let rough = dice.below(3);
        dice.fault = 4 << rough;
        dice.crash = 16 << rough;
        dice
    }

    fn draw(&mut self, of: usize, odds: Odds) -> usize {
        let one_in = match odds {
            Odds::Even => return self.index(of),
            Odds::Fault => self.fault,
            Odds::Crash => self.crash,
        };
        if self.below(one_in) == 0 { 1 + self.index(of - 1) } else { 0 }
    }

    fn index(&mut self, of: usize) -> usize {
        // Below `of`, hence a usize.
        usize::try_from(self.below(of as u64)).unwrap_or(0)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shape: impl Fn(&mut Choices) -> Vec<usize>) -> Vec<Vec<usize>> {
        let mut choices = Choices::first();
        let mut seen = Vec::new();
        loop {
            seen.push(shape(&mut choices));
            if !choices.advance() {
                return seen;
            }
        }
    }

    #[test]
    fn the_odometer_visits_every_path_once() {
        // The second choice exists only after one way of the first.
        let seen = all(|c| if c.pick(2, Odds::Even) == 1 { vec![1, c.pick(3, Odds::Even)] } else { vec![0] });
        assert_eq!(seen, [vec![0], vec![1, 0], vec![1, 1], vec![1, 2]]);
    }

    #[test]
    fn a_path_is_replayed_from_its_text() {
        let mut random = Choices::random(7);
        let shape = |c: &mut Choices| (0..20).map(|n| c.pick(2 + n % 3, Odds::Even)).collect::<Vec<_>>();
        let drawn = shape(&mut random);
        let mut replayed = Choices::replay(&random.text()).expect("a path");
        assert_eq!(shape(&mut replayed), drawn);
        assert_eq!(shape(&mut Choices::random(7)), drawn);
        assert!(Choices::replay("1.x").is_none());
    }

    #[test]
    fn rare_ways_are_rare() {
        let mut dice = Dice::new(1);
        dice.fault = 8;
        let faults = (0..8_000).filter(|_| dice.draw(4, Odds::Fault) != 0).count();
        assert!((800..1_200).contains(&faults), "{faults}");
    }
}
