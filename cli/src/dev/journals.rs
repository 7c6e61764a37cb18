//! Waits for the workspace agents of a `dev` that was killed: each holds its journal until it has ended its
//! tools, some seconds longer than its `dev` lived.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::dev::{DevError, error::failed};

/// Twice what a role takes at most whose `dev` was killed.
const LET_GO_TIME_MAX: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A process number.
const HOLDER_BYTES_MAX: u64 = 64;

/// Waits until nobody holds a journal of these workspaces' directories, or gives up. Dropping the wait loses
/// nothing.
pub(crate) async fn let_go(workspaces: &[PathBuf]) -> Result<(), DevError> {
    let_go_within(LET_GO_TIME_MAX, workspaces).await
}

async fn let_go_within(time: Duration, workspaces: &[PathBuf]) -> Result<(), DevError> {
    let deadline = Instant::now() + time;
    loop {
        let held = workspaces.iter().map(|dir| held_in(dir)).find_map(Result::transpose).transpose()?;
        match held {
            None => return Ok(()),
            Some(Held { journal, holder }) if Instant::now() >= deadline => {
                return Err(DevError::AgentLeft { journal, holder });
            }
            Some(_) => sleep(LOOK_EVERY).await,
        }
    }
}

struct Held {
    journal: PathBuf,
    holder: String,
}

/// The first journal below a workspace's directory that somebody holds.
fn held_in(workspace: &Path) -> Result<Option<Held>, DevError> {
    let entries = match fs::read_dir(workspace) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("list", workspace)(error)),
    };
    for entry in entries {
        let journal = entry.map_err(failed("list", workspace))?.path();
        let path = journal.join("lock");
        // A journal that was never finished has no lock, and what is no journal is none of our business.
        let Ok(mut lock) = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) else {
            continue;
        };
        if is_held(&lock).map_err(failed("lock", &path))? {
            let mut holder = String::new();
            // A holder that has not written its number yet is a holder all the same.
            let _ = (&mut lock).take(HOLDER_BYTES_MAX).read_to_string(&mut holder);
            return Ok(Some(Held { journal, holder: holder.trim().to_owned() }));
        }
    }
    Ok(None)
}

fn is_held(lock: &File) -> std::io::Result<bool> {
    match lock.try_lock() {
        // Closing is not enough: a child of ours between its fork and its exec still has the file.
        Ok(()) => lock.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_journal_that_is_held_is_waited_for_and_its_holder_named() {
        let workspace = tempfile::tempdir().unwrap();
        let journal = workspace.path().join("journal");
        fs::create_dir(&journal).unwrap();
        fs::write(journal.join("lock"), "4711\n").unwrap();
        let workspaces = [workspace.path().to_owned(), workspace.path().join("missing")];
        let agent = File::open(journal.join("lock")).unwrap();
        agent.lock().unwrap();

        let refusal = let_go_within(Duration::ZERO, &workspaces).await.unwrap_err().to_string();
        let mut wait = Box::pin(let_go(&workspaces));
        let waits = futures::poll!(&mut wait).is_pending();
        agent.unlock().unwrap();

        assert!(refusal.contains("process 4711"), "{refusal}");
        assert!(waits);
        wait.await.unwrap();
    }
}
