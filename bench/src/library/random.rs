//! Chance that is the same in every run: figures are compared between runs.

/// A generator of numbers, by Steele, Lea and Flood's SplitMix: small, fast, and good enough for words.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// One of many that have nothing to do with each other, so that data can be made in any order.
    pub(super) fn new(stream: u64) -> Self {
        let mut random = Self(stream.wrapping_mul(0xd129_0d3e_8a5b_41c7));
        random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a number, which is not 0. It is far below 2^64, so that nobody notices the rest.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let drawn = self.next() % u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(drawn).expect("it is below a usize")
    }

    /// From 0 on, below 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits are what a number has room for")]
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something happens that does so in so many of 1,000 cases.
    pub(super) fn happens(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }
}

/// Ranks from 0 on, of which each is as frequent as Zipf found words to be: the n-th has 1/n of the first's
/// share.
#[derive(Debug)]
pub(super) struct Zipf(Vec<f64>);

impl Zipf {
    pub(super) fn new(ranks: u32) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        sums.iter_mut().for_each(|share| *share /= sum);
        Self(sums)
    }

    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let drawn = random.fraction();
        self.0.partition_point(|share| *share <= drawn).min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_stream_gives_the_same_numbers_and_another_gives_others() {
        let draw = |stream| {
            let mut random = Random::new(stream);
            [random.next(), random.next(), random.next()]
        };

        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(7);

        assert!((0..1000).all(|_| random.below(3) < 3));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.fraction())));
        assert_eq!((0..1000).filter(|_| random.happens(0)).count(), 0);
        assert!((0..1000).all(|_| random.happens(1000)));
    }

    #[test]
    fn the_second_rank_is_half_as_frequent_as_the_first() {
        let (zipf, mut random) = (Zipf::new(100), Random::new(1));
        let mut counts = [0_u32; 100];

        for _ in 0..100_000 {
            counts[zipf.draw(&mut random)] += 1;
        }

        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert!(counts.iter().all(|count| *count > 0));
    }
}
