//! Starts a private PostgreSQL, prints its directory of programs and its URL, and
//! keeps it until standard input ends.

use std::{
    error::Error,
    io::{self, Read, Write},
};

use chatplane_embedded_postgres::{Postgres, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    let mut postgres = Postgres::start(Settings::temporary())?;
    let mut output = io::stdout();
    writeln!(output, "{}\n{}", postgres.bin_dir().display(), postgres.url("postgres"))?;
    output.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    postgres.stop();
    Ok(())
}
