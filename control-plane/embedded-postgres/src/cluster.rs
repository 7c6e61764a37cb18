//! Makes the cluster: `initdb` into a directory beside the final one, then a rename.
//!
//! So `data/` is always whole: a run of `initdb` that was cut short leaves only `data.new/`, which the next
//! start throws away.

use std::fs::{self, File};
use std::time::Duration;

use crate::account::RunAs;
use crate::error::{StartError, failed};
use crate::home::{self, Home};
use crate::installation::Installation;
use crate::system::{self, Signal};
use crate::{Durability, SUPERUSER, command};

/// `initdb` takes well below a second here; this is for a slow disk.
const INITDB_TIME_MAX: Duration = Duration::from_secs(120);

/// Makes the cluster where there is none, and refuses one that the binaries cannot read.
pub(crate) fn prepare(
    home: &Home,
    installation: &Installation,
    run_as: RunAs,
    durability: Durability,
) -> Result<(), StartError> {
    let data = home.data();
    match home::data_major(&data)? {
        Some(major) if major == installation.major => Ok(()),
        Some(data_major) => {
            Err(StartError::VersionMismatch { data, data_major, binary_major: installation.major })
        }
        None => make(home, installation, run_as, durability),
    }
}

fn make(
    home: &Home,
    installation: &Installation,
    run_as: RunAs,
    durability: Durability,
) -> Result<(), StartError> {
    let new = home.dir.join("data.new");
    home::remove_tree(&new)?;
    home::make_directory(&new, run_as)?;

    let initdb = installation.program("initdb");
    let mut command = run_as.command(&initdb, &home.dir);
    command
        .arg("--pgdata")
        .arg(&new)
        .args(["--encoding=UTF8", "--locale=C", "--no-instructions"])
        .arg(format!("--username={SUPERUSER}"))
        // Whoever can open the socket is trusted: its directory is what protects it.
        .args(["--auth-local=trust", "--auth-host=reject"]);
    if durability == Durability::Throwaway {
        command.arg("--no-sync");
    }
    let log = home.new_log()?;
    command.stdout(log.try_clone().map_err(failed("share the log of", &initdb))?).stderr(log);
    system::end_with_this_thread(&mut command, Signal::Kill);

    let mut child = command.spawn().map_err(failed("run", &initdb))?;
    let status = command::finish(&mut child, INITDB_TIME_MAX).map_err(failed("wait for", &initdb))?;
    if !status.success() {
        return Err(StartError::InitFailed { log_tail: home.log_tail() });
    }

    let data = home.data();
    fs::rename(&new, &data).map_err(failed("move the new cluster to", &data))?;
    if durability == Durability::Durable {
        File::open(&home.dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", &home.dir))?;
    }
    Ok(())
}
