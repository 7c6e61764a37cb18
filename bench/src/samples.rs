//! Percentiles by nearest rank: a figure that is printed was measured, and is no
//! interpolation between two that were.

/// Figures in order, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Sorts the figures; none when there are none.
    pub(crate) fn new(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        (!figures.is_empty()).then_some(Self(figures))
    }

    /// The smallest figure that at least `percent` of all do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (percent.min(100) * self.0.len()).div_ceil(100).max(1);
        self.0[rank - 1]
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The middle one, and the larger of two: what a round of latencies or costs, of few
    /// rounds, must not be told better than.
    pub(crate) fn upper_median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub(crate) fn min(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// The median of figures, or none of none.
pub(crate) fn median(figures: Vec<f64>) -> Option<f64> {
    Samples::new(figures).map(|samples| samples.median())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_sample_of_the_nearest_rank() {
        let samples = Samples::new((1..=200).rev().map(f64::from).collect()).unwrap();

        assert_eq!(samples.median(), 100.0);
        assert_eq!(samples.percentile(99), 198.0);
        assert_eq!(samples.percentile(100), 200.0);
        assert_eq!(samples.percentile(0), 1.0);
        assert_eq!((samples.min(), samples.max(), samples.count()), (1.0, 200.0, 200));
    }

    #[test]
    fn the_p99_of_few_samples_is_the_worst() {
        let samples = Samples::new(vec![3.0, 1.0, 2.0]).unwrap();

        assert_eq!(samples.percentile(99), 3.0);
        assert_eq!(samples.median(), 2.0);
    }

    #[test]
    fn the_upper_median_of_an_even_number_is_the_larger_of_two() {
        let of = |figures: &[f64]| Samples::new(figures.to_vec()).unwrap().upper_median();

        assert_eq!([of(&[1.0]), of(&[2.0, 1.0]), of(&[3.0, 1.0, 2.0])], [1.0, 2.0, 2.0]);
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_no_samples() {
        let samples = Samples::new(vec![7.0]).unwrap();

        assert_eq!((samples.percentile(1), samples.median(), samples.percentile(99)), (7.0, 7.0, 7.0));
        assert_eq!(Samples::new(Vec::new()), None);
    }
}
