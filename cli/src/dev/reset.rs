//! `--reset`: deletes what `dev` itself has made in its data directory, and says what.
//!
//! The directory is locked by us, so no other `dev` uses it. A PostgreSQL that a killed one left is ended
//! first, and its agents are waited for. Whatever else lies in the directory is somebody's, and stays.

use std::{fs, io::ErrorKind, path::Path};

use chatplane_embedded_postgres::Postgres;
use tokio::{select, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    dev::{DevError, data_dir::DataDir, error::failed, journals},
    exit::say,
};

/// Deletes the database, the tokens, the journals and the logs. Cut short, it leaves what the next start can
/// go on from.
pub(crate) async fn reset(data: &DataDir, shutdown: &CancellationToken) -> Result<(), DevError> {
    select! {
        result = remove_all(data) => result,
        () = shutdown.cancelled() => Err(DevError::Interrupted),
    }
}

async fn remove_all(data: &DataDir) -> Result<(), DevError> {
    journals::let_go(&data.agents_of_all()?).await?;
    let postgres = data.postgres();
    // Ending a server that was left behind takes as long as it takes, and has its own deadlines.
    let erased = spawn_blocking(move || Postgres::erase(&postgres)).await;
    let erased = erased.map_err(|error| DevError::ResetFailed(Box::new(error)))?;
    let mut removed = Vec::new();
    if erased.map_err(|error| DevError::ResetFailed(Box::new(error)))? {
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
