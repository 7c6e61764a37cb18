//! From what each round has read to one figure a measure.
//!
//! Machines are noisy, and noise comes in spells: the median of the rounds is robust
//! against one that fell into such a spell, and the spread of the rounds shows it.

use crate::{
    measure::Measure,
    samples::{Samples, median},
};

/// With fewer samples in a round its median is chance, so that of all rounds together is
/// taken. The p99 is of all rounds in any case: the tail is where the spells of noise are, and
/// a round that was chosen by its median says nothing of them.
const ROUND_SAMPLES_MIN: usize = 200;

/// What one round has read of one measure.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) measure: &'static Measure,
    /// Single events, or one value.
    pub(crate) figures: Vec<f64>,
    /// What the primitives alone would take, measured in this round.
    pub(crate) floor: Option<f64>,
    /// How far over its bound a value may be that cannot be counted exactly.
    pub(crate) tolerance: f64,
    /// What a reader should know of this round.
    pub(crate) notes: Vec<String>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) measure: &'static Measure,
    pub(crate) value: f64,
    pub(crate) p99: Option<f64>,
    pub(crate) floor: Option<f64>,
    pub(crate) is_met: bool,
    /// How many figures there are in all.
    pub(crate) samples: usize,
    /// The smallest and the largest median of a round.
    pub(crate) spread: (f64, f64),
    /// The smallest and the largest p99 of a round.
    pub(crate) p99_spread: Option<(f64, f64)>,
    /// Notes of the last round.
    pub(crate) notes: Vec<String>,
}

impl Line {
    /// How many times its floor the figure is.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.floor.filter(|floor| *floor > 0.0).map(|floor| self.value / floor)
    }
}

/// One line for each measure that was read, in the order in which they first were.
pub(crate) fn summarize(readings: &[Reading]) -> Vec<Line> {
    let mut measures: Vec<&'static Measure> = Vec::new();
    for reading in readings {
        if !measures.contains(&reading.measure) {
            measures.push(reading.measure);
        }
    }
    let of =
        |measure| -> Vec<&Reading> { readings.iter().filter(|reading| reading.measure == measure).collect() };
    measures.into_iter().filter_map(|measure| line(measure, &of(measure))).collect()
}

fn line(measure: &'static Measure, readings: &[&Reading]) -> Option<Line> {
    let rounds: Vec<Samples> =
        readings.iter().filter_map(|reading| Samples::new(reading.figures.clone())).collect();
    let all = Samples::new(readings.iter().flat_map(|reading| reading.figures.clone()).collect())?;
    // Of two in the middle the worse: few rounds must not flatter.
    let middle = |samples: &Samples| match measure.unit.is_yield() {
        true => samples.median(),
        false => samples.upper_median(),
    };
    let medians = Samples::new(rounds.iter().map(middle).collect())?;
    let tails = Samples::new(rounds.iter().map(|round| round.percentile(99)).collect())?;
    let has_large_rounds = rounds.iter().all(|round| round.count() >= ROUND_SAMPLES_MIN);
    let value = middle(if has_large_rounds { &medians } else { &all });
    let has_tail = measure.unit.has_tail();
    let p99 = has_tail.then(|| all.percentile(99));
    let tolerance = readings.iter().map(|reading| reading.tolerance).fold(0.0, f64::max);
    Some(Line {
        measure,
        value,
        p99,
        floor: median(readings.iter().filter_map(|reading| reading.floor).collect()),
        is_met: measure.budget.is_met(value, p99, tolerance),
        samples: all.count(),
        spread: (medians.min(), medians.max()),
        p99_spread: has_tail.then(|| (tails.min(), tails.max())),
        notes: readings.last().map(|reading| reading.notes.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{PICK_UP, THROUGHPUT};

    fn reading(measure: &'static Measure, figures: Vec<f64>, floor: f64) -> Reading {
        Reading { measure, figures, floor: Some(floor), tolerance: 0.0, notes: Vec::new() }
    }

    #[test]
    fn with_many_samples_the_median_is_of_the_rounds_and_the_tail_of_all() {
        let round = |scale: f64| reading(&PICK_UP, (1..=200).map(|i| f64::from(i) * scale).collect(), scale);

        let lines = summarize(&[round(3.0), round(1.0), round(2.0)]);

        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].value, lines[0].p99), (202.0, Some(582.0)));
        assert_eq!(lines[0].p99_spread, Some((198.0, 594.0)));
        assert_eq!(lines[0].floor, Some(2.0));
        assert_eq!(lines[0].spread, (101.0, 303.0));
        assert_eq!(lines[0].samples, 600);
        assert!(!lines[0].is_met, "p50 is 202 ms");
    }

    #[test]
    fn few_samples_of_all_rounds_are_taken_together() {
        let lines =
            summarize(&[reading(&PICK_UP, vec![0.1, 9.0], 0.1), reading(&PICK_UP, vec![0.2, 0.3], 0.1)]);

        assert_eq!((lines[0].value, lines[0].p99, lines[0].samples), (0.3, Some(9.0), 4));
        assert_eq!(lines[0].p99_spread, Some((0.3, 9.0)));
    }

    #[test]
    fn a_value_has_no_tail() {
        let lines = summarize(&[
            reading(&THROUGHPUT, vec![1100.0], 5000.0),
            reading(&THROUGHPUT, vec![900.0], 5000.0),
            reading(&THROUGHPUT, vec![1200.0], 5000.0),
        ]);

        assert_eq!((lines[0].value, lines[0].p99, lines[0].is_met), (1100.0, None, true));
    }
}
