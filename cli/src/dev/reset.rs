//! `--reset`: deletes what `dev` itself has made in its data directory, and says what.
//!
//! The directory is locked by us, so no other `dev` uses it. A PostgreSQL that a killed one left is ended
//! first. Whatever else lies in the directory is somebody's, and stays.

use std::{fs, io::ErrorKind, path::Path};

use chatplane_embedded_postgres::Postgres;
use tokio::task::spawn_blocking;

use crate::{
    dev::{DevError, data_dir::DataDir, error::failed},
    exit::say,
};

/// Deletes the database, the tokens, the journals and the logs.
pub(crate) async fn reset(data: &DataDir) -> Result<(), DevError> {
    let postgres = data.postgres();
    // Ending a server that was left behind takes as long as it takes, and has its own deadlines.
    let erased = spawn_blocking(move || Postgres::erase(&postgres)).await;
    let mut removed = Vec::new();
    if erased.map_err(|_| DevError::PostgresEnded)?? {
        removed.push("the database with all chats");
    }
    for (dir, name) in
        [(data.identity(), "the tokens"), (data.agents(), "the agents' journals"), (data.logs(), "the logs")]
    {
        if remove(&dir)? {
            removed.push(name);
        }
    }
    let dir = data.path().display();
    match removed.as_slice() {
        [] => say(&format!("There was nothing to remove in {dir} (--reset).")),
        [one] => say(&format!("Removed from {dir} (--reset): {one}.")),
        [first @ .., last] => {
            say(&format!("Removed from {dir} (--reset): {} and {last}.", first.join(", ")));
        }
    }
    Ok(())
}

/// Removes a directory of ours, where there is one. A link in its place is removed, and not followed.
fn remove(dir: &Path) -> Result<bool, DevError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", dir)(error)),
    }
}
