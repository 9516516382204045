//! Which keys are asked for: Zipf's law over a fixed set, with the popular keys spread over the table.

use anyhow::{Context, Result};
use rand::Rng;
use rand::distr::Distribution;
use rand_distr::Zipf;

/// The exponent that YCSB uses, too.
pub(crate) const EXPONENT: f64 = 0.99;

/// Prime, and greater than any table, so that `rank * STRIDE` visits every key once.
const STRIDE: i64 = 2_147_483_647;

/// Keys `1..=count`, the k-th most popular asked for in proportion to `1 / k^0.99`.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    count: i64,
    ranks: Zipf<f64>,
}

impl Keys {
    /// # Errors
    /// If there are no keys, or too many to be spread.
    pub(crate) fn new(count: u32) -> Result<Self> {
        anyhow::ensure!(i64::from(count) < STRIDE, "at most {STRIDE} keys");
        let ranks = Zipf::new(f64::from(count), EXPONENT).context("zipf over the keys")?;
        Ok(Keys { count: i64::from(count), ranks })
    }

    pub(crate) fn count(&self) -> i64 {
        self.count
    }

    /// Popularity, from 1, the most popular.
    #[expect(clippy::cast_possible_truncation, reason = "zipf gives whole numbers from 1 to the count")]
    pub(crate) fn rank(&self, random: &mut impl Rng) -> i64 {
        self.ranks.sample(random) as i64
    }

    /// The key of a rank: neighbours in popularity are not neighbours in the table.
    pub(crate) fn of_rank(&self, rank: i64) -> i64 {
        (rank % self.count) * (STRIDE % self.count) % self.count + 1
    }

    pub(crate) fn pick(&self, random: &mut impl Rng) -> i64 {
        self.of_rank(self.rank(random))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn every_key_has_one_rank() {
        for count in [1, 2, 20_000, 65_537] {
            let keys = Keys::new(count).expect("some keys");
            let seen: HashSet<i64> = (1..=i64::from(count)).map(|rank| keys.of_rank(rank)).collect();
            assert_eq!(seen.len(), count as usize);
            assert!(seen.iter().all(|key| (1..=i64::from(count)).contains(key)));
        }
        assert!(Keys::new(0).is_err());
    }

    #[test]
    fn draws_stay_within_bounds_and_follow_the_law() {
        let keys = Keys::new(1_000).expect("some keys");
        let mut random = SmallRng::seed_from_u64(7);
        let mut drawn = vec![0_u32; 1_001];
        for _ in 0..200_000 {
            let rank = keys.rank(&mut random);
            drawn[usize::try_from(rank).expect("positive")] += 1;
        }
        assert_eq!(drawn[0], 0);
        // The share of the first of n ranks is 1 / sum(1 / k^0.99).
        let harmonic: f64 = (1..=1_000).map(|k| f64::from(k).powf(-EXPONENT)).sum();
        for (rank, &times) in (0_u32..).zip(&drawn).take(11).skip(1) {
            let expected = 200_000.0 / harmonic * f64::from(rank).powf(-EXPONENT);
            assert!((f64::from(times) / expected - 1.0).abs() < 0.1, "rank {rank}: {times} against {expected}");
        }
    }
}
