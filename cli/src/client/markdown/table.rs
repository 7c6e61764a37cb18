//! Tables: columns as wide as their widest cell.

use unicode_width::UnicodeWidthStr as _;

use super::inline;
use crate::client::style::{Span, Style, add};

/// What stands between two columns.
const BORDER: &str = " │ ";

/// The rows with aligned columns; as they were written when they are no table, or would be too wide.
pub(super) fn render(rows: &[String], columns: usize) -> Vec<Span> {
    let cells: Vec<Vec<Vec<Span>>> = match rows {
        [_, delimiters, ..] if is_delimiter_row(delimiters) => rows
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(at, row)| cells(row, style_of(at)))
            .collect(),
        _ => return as_written(rows),
    };
    let count = cells.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            cells.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let total = widths.iter().sum::<usize>() + BORDER.width() * count.saturating_sub(1);
    if total > columns {
        return as_written(rows);
    }
    let mut shown = Vec::new();
    for (at, row) in cells.iter().enumerate() {
        show_row(row, &widths, &mut shown);
        if at == 0 {
            let lines: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            add(&mut shown, Style::DIM, &lines.join("─┼─"));
            add(&mut shown, Style::PLAIN, "\n");
        }
    }
    shown
}

fn style_of(row: usize) -> Style {
    if row == 0 { Style::BOLD } else { Style::PLAIN }
}

fn as_written(rows: &[String]) -> Vec<Span> {
    rows.iter().map(|row| Span::plain(format!("{row}\n"))).collect()
}

fn show_row(row: &[Vec<Span>], widths: &[usize], shown: &mut Vec<Span>) {
    for (column, column_width) in widths.iter().enumerate() {
        if column > 0 {
            add(shown, Style::DIM, BORDER);
        }
        let cell = row.get(column).map(Vec::as_slice).unwrap_or_default();
        for span in cell {
            add(shown, span.style, &span.text);
        }
        if column + 1 < widths.len() {
            add(shown, Style::PLAIN, &" ".repeat(column_width.saturating_sub(width(cell))));
        }
    }
    add(shown, Style::PLAIN, "\n");
}

fn width(cell: &[Span]) -> usize {
    cell.iter().map(|span| span.text.width()).sum()
}

/// The cells of a row, rendered.
fn cells(row: &str, style: Style) -> Vec<Vec<Span>> {
    let render = |cell: &str| {
        let mut spans = Vec::new();
        inline::render_all(cell.trim(), style, &mut spans);
        spans
    };
    split(row).iter().map(|cell| render(cell)).collect()
}

/// Splits at the bars, but not at those that are escaped.
fn split(row: &str) -> Vec<String> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    let row = if row.ends_with("\\|") { row } else { row.strip_suffix('|').unwrap_or(row) };
    let mut cells = vec![String::new()];
    let mut is_escaped = false;
    for character in row.chars() {
        if character == '|' && !is_escaped {
            cells.push(String::new());
        } else if let Some(cell) = cells.last_mut() {
            if character == '|' {
                // The backslash has done its work.
                cell.pop();
            }
            cell.push(character);
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    cells
}

fn is_delimiter_row(row: &str) -> bool {
    let cells = split(row);
    cells.iter().all(|cell| {
        let cell = cell.trim();
        cell.contains('-') && cell.trim_start_matches(':').trim_end_matches(':').chars().all(|it| it == '-')
    })
}
