//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

use crate::chunks::CHUNK_BYTES_MIN;

/// Measures chatplane's budgets on real processes, and what the machine's primitives
/// take in the same run.
///
/// The table, or the JSON, goes to standard output and progress to standard error. The
/// exit code is 0 when everything was measured, whether or not it is within its budget;
/// 1 when something could not be measured, and then what could be is printed.
/// Run nothing else on the machine meanwhile.
#[derive(Clone, Debug, Parser)]
#[command(max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print a list of rows as JSON instead of the table.
    #[arg(long)]
    pub(crate) json: bool,

    /// Which rows of the budgets to measure; `interrupt` stops answers, `trips` counts round trips
    /// to PostgreSQL, and `library` lists, searches and watches many chats.
    #[arg(long, value_delimiter = ',', value_name = "ROWS",
          default_values_t = [Row::R1, Row::R2, Row::R3, Row::R4, Row::R5, Row::R8, Row::R9, Row::R10,
                              Row::R11, Row::R12, Row::R13, Row::Interrupt, Row::Trips, Row::Library])]
    pub(crate) rows: Vec<Row>,

    /// Measure little and shortly: shows that everything works, and no figure to quote.
    #[arg(long)]
    pub(crate) quick: bool,

    /// How often every row is measured; the median round is reported. By default 3, and 1 with --quick.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: Option<u32>,

    /// The `chatplane` binary to measure. By default it is built first, as this one was.
    #[arg(long, value_name = "FILE")]
    pub(crate) chatplane: Option<PathBuf>,

    /// Directory of PostgreSQL's `initdb` and `postgres`. By default the newest installed ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) postgres_bin_dir: Option<PathBuf>,

    /// A variable for `serve`, to try a setting out; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) serve_env: Vec<(String, String)>,

    /// How many workers share the turns of row 5.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,

    /// Milliseconds that the model server of row 3 takes to its first chunk.
    #[arg(long, value_name = "MS", default_value = "5", value_parser = milliseconds)]
    pub(crate) first_chunk_after: Duration,

    /// Milliseconds between the chunks of row 4.
    #[arg(long, value_name = "MS", default_value = "5", value_parser = milliseconds)]
    pub(crate) chunk_every: Duration,

    /// Bytes of a chunk.
    #[arg(long, value_name = "BYTES", default_value_t = 32,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(CHUNK_BYTES_MIN as u64..=65536))]
    pub(crate) chunk_bytes: usize,

    /// Chats of the large database that `library` measures. By default 100000, and 2000 with --quick.
    #[arg(long, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2_000..=10_000_000))]
    pub(crate) library_chats: Option<usize>,

    /// Messages of them all; a chat has four at least. By default 2000000, and 40000 with --quick.
    #[arg(long, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(8_000..=100_000_000))]
    pub(crate) library_messages: Option<usize>,

    /// Be the floor of row 8: an idle process with a gRPC server and a database connection.
    #[arg(long, hide = true, value_name = "URL")]
    pub(crate) floor_process: Option<String>,
}

/// A row of the budgets, or the count of round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    #[value(name = "1")]
    R1,
    #[value(name = "2")]
    R2,
    #[value(name = "3")]
    R3,
    #[value(name = "4")]
    R4,
    #[value(name = "5")]
    R5,
    #[value(name = "8")]
    R8,
    #[value(name = "9")]
    R9,
    #[value(name = "10")]
    R10,
    #[value(name = "11")]
    R11,
    #[value(name = "12")]
    R12,
    #[value(name = "13")]
    R13,
    #[value(name = "interrupt")]
    Interrupt,
    #[value(name = "trips")]
    Trips,
    #[value(name = "library")]
    Library,
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::R1 => "1",
            Self::R2 => "2",
            Self::R3 => "3",
            Self::R4 => "4",
            Self::R5 => "5",
            Self::R8 => "8",
            Self::R9 => "9",
            Self::R10 => "10",
            Self::R11 => "11",
            Self::R12 => "12",
            Self::R13 => "13",
            Self::Interrupt => "interrupt",
            Self::Trips => "trips",
            Self::Library => "library",
        })
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let count: u16 = text.parse().map_err(|_| "expected a number of milliseconds".to_owned())?;
    Ok(Duration::from_millis(count.into()))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn rows_are_named_as_in_the_budgets() {
        let parse = |rows| Arguments::try_parse_from(["chatplane-bench", "--rows", rows]);

        assert_eq!(parse("1,13,trips").unwrap().rows, [Row::R1, Row::R13, Row::Trips]);
        assert!(parse("6").is_err());
        assert_eq!(Arguments::try_parse_from(["chatplane-bench"]).unwrap().rows.len(), 14);
    }

    #[test]
    fn a_setting_for_serve_has_a_name_and_a_value() {
        let parse = |setting| Arguments::try_parse_from(["chatplane-bench", "--serve-env", setting]);

        assert_eq!(parse("A=b=c").unwrap().serve_env, [("A".to_owned(), "b=c".to_owned())]);
        assert!(parse("A").is_err());
    }
}
