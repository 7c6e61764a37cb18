//! A file for each call, named by it. Everything here blocks.
//!
//! A file appears under its name by a rename, after its content is on disk, both with the start and again
//! with the end; then the directory is flushed. So what is torn is only ever a left-over `.new`, which means
//! that nothing came of it: without a file the tool has not started, and with the file of a start it has not
//! ended. A file that makes no sense all the same is a damaged disk's; by its name the call had started.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{
    call::{CallKey, Input},
    format::{self, HEAD_BYTES_MAX, Head},
    home::{Home, JournalError, failed},
    ledger::{ENTRY_BYTES_MAX, Found},
};
use crate::tools::Ended;

/// The ending of a file that is being written.
const UNFINISHED: &str = ".new";

/// What is written before a tool starts.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) key: CallKey,
    /// For which it is run.
    pub(super) workspace: Uuid,
    pub(super) input: Input,
    pub(super) tool_name: &'static str,
}

/// The files of the journal.
#[derive(Debug)]
pub(super) struct Disk {
    /// Holds the lock for as long as anybody may write.
    home: Home,
    /// To flush what became of names.
    calls: File,
}

impl Disk {
    /// Opens the directory, and says what is in it.
    pub(super) fn open(home: Home) -> Result<(Self, Vec<Found>), JournalError> {
        let path = home.calls();
        let calls = File::open(&path).map_err(failed("open", &path))?;
        let found = look_around(&path)?;
        Ok((Self { home, calls }, found))
    }

    /// Afterwards the call counts as started, whatever happens.
    pub(super) fn write_start(&self, start: &Start) -> io::Result<()> {
        let written = self.write(start.key, beginning(start).as_bytes());
        if written.is_err() {
            // The tool is not going to run. Where this fails too, the call will be unknown after a restart.
            let _ = fs::remove_file(self.path(start.key));
        }
        written
    }

    /// Afterwards the answer of the call is this one. Gives the size of the file.
    pub(super) fn write_end(&self, start: &Start, ended: &Ended) -> io::Result<u64> {
        let content = [beginning(start), format::end(ended)].concat();
        self.write(start.key, content.as_bytes())?;
        Ok(content.len() as u64)
    }

    /// The answer that was written.
    pub(super) fn read_end(&self, key: CallKey) -> io::Result<Ended> {
        let mut file = Vec::new();
        File::open(self.path(key))?.take(ENTRY_BYTES_MAX).read_to_end(&mut file)?;
        let end = Head::parse(&file).and_then(|head| head.end);
        let ended = end.and_then(|end| end.result(&file));
        ended.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the file is damaged"))
    }

    /// Takes the call off the disk. It is not flushed: a call that comes back leaves again.
    pub(super) fn remove(&self, key: CallKey) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, key: CallKey, content: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let unfinished = path.with_added_extension(&UNFINISHED[1..]);
        let written = write_durably(&unfinished, content).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written.and_then(|()| self.calls.sync_all())
    }

    fn path(&self, key: CallKey) -> PathBuf {
        self.home.calls().join(key.to_string())
    }
}

fn beginning(start: &Start) -> String {
    format::start(start.tool_name, start.workspace, &start.input)
}

/// Writes a file that only we may read, and waits until it is on disk.
pub(super) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn look_around(calls: &Path) -> Result<Vec<Found>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(calls).map_err(failed("list", calls))? {
        let path = entry.map_err(failed("list", calls))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if let Some(key) = CallKey::parse(name) {
            found.push(look_at(key, &path).map_err(failed("read", &path))?);
        } else if name.strip_suffix(UNFINISHED).and_then(CallKey::parse).is_some() {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        } else {
            tracing::warn!(?path, "a file in the journal is not ours, and is left alone");
        }
    }
    Ok(found)
}

fn look_at(key: CallKey, path: &Path) -> io::Result<Found> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let (bytes, written) = (metadata.len(), metadata.modified()?);
    let mut beginning = Vec::with_capacity(HEAD_BYTES_MAX);
    file.take(HEAD_BYTES_MAX as u64).read_to_end(&mut beginning)?;
    let Some(Head { workspace, input, end }) = Head::parse(&beginning) else {
        tracing::warn!(call = %key, "an entry of the journal is damaged; its outcome is unknown");
        return Ok(Found { key, readable: None, has_answer: false, bytes, written });
    };
    let has_answer = end.is_some_and(|end| end.fits(bytes));
    Ok(Found { key, readable: Some((workspace, input)), has_answer, bytes, written })
}

#[cfg(test)]
mod tests;
