//! From what each round has read to one figure a measure.
//!
//! Machines are noisy, and noise comes in spells: the median of the rounds is robust
//! against one that fell into such a spell, and the spread of the rounds shows it.

use crate::{
    measure::Measure,
    samples::{Samples, median},
};

/// With fewer samples in a round its p99 is little more than its worst, so the samples
/// of all rounds are taken together.
const ROUND_SAMPLES_MIN: usize = 200;

/// What one round has read of one measure.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) measure: &'static Measure,
    /// Single events, or one value.
    pub(crate) figures: Vec<f64>,
    /// What the primitives alone would take, measured in this round.
    pub(crate) floor: Option<f64>,
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
    let medians = Samples::new(rounds.iter().map(Samples::median).collect())?;
    let figures = if rounds.iter().all(|round| round.count() >= ROUND_SAMPLES_MIN) {
        rounds.iter().find(|round| round.median() == medians.median())?.clone()
    } else {
        Samples::new(readings.iter().flat_map(|reading| reading.figures.clone()).collect())?
    };
    let value = figures.median();
    let p99 = measure.unit.has_tail().then(|| figures.percentile(99));
    Some(Line {
        measure,
        value,
        p99,
        floor: median(readings.iter().filter_map(|reading| reading.floor).collect()),
        is_met: measure.budget.is_met(value, p99),
        samples: rounds.iter().map(Samples::count).sum(),
        spread: (medians.min(), medians.max()),
        notes: readings.last().map(|reading| reading.notes.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{PICK_UP, THROUGHPUT};

    fn reading(measure: &'static Measure, figures: Vec<f64>, floor: f64) -> Reading {
        Reading { measure, figures, floor: Some(floor), notes: Vec::new() }
    }

    #[test]
    fn with_many_samples_the_median_round_speaks() {
        let round = |scale: f64| reading(&PICK_UP, (1..=200).map(|i| f64::from(i) * scale).collect(), scale);

        let lines = summarize(&[round(0.03), round(0.01), round(0.02)]);

        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].value, lines[0].p99), (2.0, Some(3.96)));
        assert_eq!(lines[0].floor, Some(0.02));
        assert_eq!(lines[0].spread, (1.0, 3.0));
        assert_eq!(lines[0].samples, 600);
        assert!(!lines[0].is_met, "p50 is 2 ms");
    }

    #[test]
    fn few_samples_of_all_rounds_are_taken_together() {
        let lines =
            summarize(&[reading(&PICK_UP, vec![0.1, 9.0], 0.1), reading(&PICK_UP, vec![0.2, 0.3], 0.1)]);

        assert_eq!((lines[0].value, lines[0].p99, lines[0].samples), (0.2, Some(9.0), 4));
        assert_eq!(lines[0].ratio(), Some(2.0));
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
