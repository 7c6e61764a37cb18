//! The lines as JSON: a list of objects with exactly `id`, `name`, `unit`, `value`,
//! `p99`, `floor`, `budget` and `met`. Numbers are in the unit, and null where there
//! is none.

use serde_json::{Value, json};

use crate::summary::Line;

/// The lines as one JSON document.
pub(crate) fn json(lines: &[Line]) -> String {
    let rows: Vec<Value> = lines.iter().map(row).collect();
    serde_json::to_string_pretty(&rows).expect("numbers and text can always be written")
}

fn row(line: &Line) -> Value {
    json!({
        "id": line.measure.id,
        "name": line.measure.name,
        "unit": line.measure.unit.symbol(),
        "value": rounded(line.value),
        "p99": line.p99.map(rounded),
        "floor": line.floor.map(rounded),
        "budget": line.measure.budget.number(),
        "met": line.is_met,
    })
}

/// To a nanosecond, or a byte: more digits would be noise.
fn rounded(figure: f64) -> f64 {
    const STEPS: f64 = 1e6;
    (figure * STEPS).round() / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::{PICK_UP, THROUGHPUT},
        summary::{Reading, summarize},
    };

    #[test]
    fn a_row_has_exactly_the_fields_that_were_promised() {
        let lines = summarize(&[
            Reading {
                measure: &PICK_UP,
                figures: vec![0.5],
                floor: Some(0.25),
                tolerance: 0.0,
                notes: vec!["x".to_owned()],
            },
            Reading {
                measure: &THROUGHPUT,
                figures: vec![2000.0],
                floor: None,
                tolerance: 0.0,
                notes: Vec::new(),
            },
        ]);

        let rows: Value = serde_json::from_str(&json(&lines)).unwrap();

        let expected = json!([
            {"id": "1", "name": PICK_UP.name, "unit": "ms", "value": 0.5, "p99": 0.5, "floor": 0.25,
             "budget": 1.0, "met": true},
            {"id": "5", "name": THROUGHPUT.name, "unit": "turns/s", "value": 2000.0, "p99": null, "floor": null,
             "budget": 1000.0, "met": true},
        ]);
        assert_eq!(rows, expected);
    }
}
