//! What every measurement has at hand.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use chatplane_embedded_postgres::Postgres;
use tokio::sync::Mutex;

use crate::{arguments::Arguments, library::Library, scale::Scale};

/// What every measurement has at hand.
pub(crate) struct Bench<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) scale: Scale,
    /// The binary that is measured.
    pub(crate) chatplane: &'a Path,
    /// A private, durable PostgreSQL.
    pub(crate) postgres: &'a Postgres,
    /// A directory for logs and data, gone with us.
    pub(crate) scratch: &'a Path,
    /// The large database, from the first round that needs it on; it goes with PostgreSQL.
    pub(crate) library: Mutex<Option<Library>>,
    number: AtomicU32,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(
        arguments: &'a Arguments,
        chatplane: &'a Path,
        postgres: &'a Postgres,
        scratch: &'a Path,
    ) -> Self {
        let mut scale = match arguments.quick {
            true => Scale::quick(arguments.rounds),
            false => Scale::full(arguments.rounds),
        };
        scale.library_chats = arguments.library_chats.unwrap_or(scale.library_chats);
        scale.library_messages = arguments.library_messages.unwrap_or(scale.library_messages);
        let (library, number) = (Mutex::new(None), AtomicU32::new(0));
        Self { arguments, scale, chatplane, postgres, scratch, library, number }
    }

    /// A name that nothing else of this run has.
    pub(crate) fn new_name(&self) -> String {
        format!("bench_{}", self.number.fetch_add(1, Ordering::Relaxed))
    }

    /// A path in the scratch directory that nothing else of this run has.
    pub(crate) fn new_path(&self) -> PathBuf {
        self.scratch.join(self.new_name())
    }
}

/// One line of progress, for people.
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
