//! The lines as a table in Markdown, so that it can be read in a terminal and pasted
//! into a page.

use std::fmt::Write as _;

use crate::summary::Line;

const COLUMNS: usize = 11;
const HEAD: [&str; COLUMNS] = [
    "#",
    "measure",
    "p50 or value",
    "its budget",
    "its spread",
    "p99",
    "budget of p99",
    "spread of p99",
    "floor",
    "ratio",
    "met",
];
/// Where there is no figure.
const NONE: &str = "–";

/// The table, and below it what a reader should know.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(lines.iter().map(row));
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        push_row(&mut text, row, &widths);
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            push_row(&mut text, &rule, &widths);
        }
    }
    let noted: Vec<&Line> = lines.iter().filter(|line| !line.notes.is_empty()).collect();
    text.push_str(if noted.is_empty() { "" } else { "\n" });
    for line in noted {
        let (id, samples, words) = (line.measure.id, line.samples, line.notes.join("; "));
        writeln!(text, "- {id} (n = {samples}): {words}").expect("writing to a String cannot fail");
    }
    text
}

fn push_row(text: &mut String, cells: &[String], widths: &[usize]) {
    for (cell, width) in cells.iter().zip(widths) {
        write!(text, "| {cell:<width$} ").expect("writing to a String cannot fail");
    }
    text.push_str("|\n");
}

fn row(line: &Line) -> [String; COLUMNS] {
    let unit = line.measure.unit.symbol();
    let optional = |figure: Option<f64>| figure.map_or_else(|| NONE.to_owned(), number);
    let spread = |(least, most)| format!("{} … {}", number(least), number(most));
    let bound =
        |bound: Option<String>| bound.map_or_else(|| NONE.to_owned(), |bound| format!("{bound} {unit}"));
    let (of_value, of_tail) = line.measure.budget.words();
    [
        line.measure.id.to_owned(),
        line.measure.name.to_owned(),
        format!("{} {unit}", number(line.value)),
        bound(of_value),
        spread(line.spread),
        optional(line.p99),
        bound(of_tail),
        line.p99_spread.map_or_else(|| NONE.to_owned(), spread),
        optional(line.floor),
        line.ratio().map_or_else(|| NONE.to_owned(), |ratio| format!("{} ×", number(ratio))),
        if line.is_met { "met" } else { "missed" }.to_owned(),
    ]
}

/// Three digits or so: what a benchmark on a shared machine can know.
pub(crate) fn number(figure: f64) -> String {
    let decimals = match figure.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{figure:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measure::{PICK_UP, THROUGHPUT},
        summary::{Reading, summarize},
    };

    #[test]
    fn the_table_has_a_line_a_measure_and_notes_below() {
        let lines = summarize(&[
            Reading {
                measure: &PICK_UP,
                figures: vec![0.7, 6.0, 0.8],
                floor: Some(0.35),
                tolerance: 0.0,
                notes: vec!["a note".to_owned(), "another".to_owned()],
            },
            Reading {
                measure: &THROUGHPUT,
                figures: vec![1234.5],
                floor: None,
                tolerance: 0.0,
                notes: Vec::new(),
            },
        ]);

        let text = table(&lines);

        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(rows[0], HEAD);
        let value = ["1", PICK_UP.name, "0.8 ms", "≤ 1 ms", "0.8 … 0.8"];
        let tail = ["6", "≤ 5 ms", "6 … 6", "0.35", "2.29 ×", "missed"];
        assert_eq!(rows[2], [value.as_slice(), &tail].concat());
        let value = ["5", THROUGHPUT.name, "1234 turns/s", "≥ 1000 turns/s", "1234 … 1234"];
        assert_eq!(rows[3], [value.as_slice(), &["–", "–", "–", "–", "–", "met"]].concat());
        assert!(text.ends_with("|\n\n- 1 (n = 3): a note; another\n"), "{text}");
    }

    #[test]
    fn rows_are_aligned_by_characters_and_not_by_bytes() {
        let lines = summarize(&[Reading {
            measure: &PICK_UP,
            figures: vec![1.0],
            floor: None,
            tolerance: 0.0,
            notes: Vec::new(),
        }]);

        let text = table(&lines);

        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let texts = [12345.6, 99.94, 5.0, 2.345, 0.034_56, 0.0].map(number);

        assert_eq!(texts, ["12346", "99.9", "5", "2.35", "0.035", "0"]);
    }
}
